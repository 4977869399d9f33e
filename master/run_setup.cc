#include "master/run_setup.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <set>

#include "cq/error.h"
#include "master/recovery.h"
#include "protocol/files.h"

namespace cq {

uint64_t Random64() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) {
    throw Error("the system gives no random numbers");
  }
  return number == 0 ? 1 : number;
}

void MakeRoom(unsigned workers, Pool& pool) {
  RequireDescriptors(kOwnDescriptors + kDescriptorsOfWorker * workers);
  // Strangers may hold connections open without speaking: the more the better.
  pool.KeepDescriptorLimit(RaiseDescriptorLimit());
}

Transport Listen(const std::string& scheduler, Pool& pool, const RunDirectory& directory,
                 RunKeys& keys, RunObserver& observer, std::string& address) {
  Transport transport(keys.server(), keys.client_public());
  using Reach = Transport::Reach;
  auto endpoints = transport.Bind(scheduler == "local"          ? Reach::kLoopback
                                  : pool.ControllerAtLoopback() ? Reach::kLoopbackFirst
                                                                : Reach::kAll,
                                  keys.port());
  address = endpoints[0];
  keys.Write(std::move(endpoints));
  if (!keys.elsewhere().empty()) {
    observer.Warning(
        fmt::format("the file system of '{}' can keep no file private: the run's keys are in '{}'",
                    directory.path(), keys.elsewhere()));
  }
  directory.WriteOwner(address);
  return transport;
}

void TakeOver(const std::string& scheduler, Pool& pool, Database& journal, Recovered& recovered) {
  std::set<std::string> watched;
  for (const OpenAllocation& open : OpenAllocations(journal)) {
    if (open.scheduler != scheduler) continue;
    pool.Adopt(open.token, open.job, static_cast<unsigned>(open.workers));
    watched.insert(fmt::format("{} {}_", open.scheduler, open.job.substr(0, open.job.find(';'))));
  }
  for (KnownWorker& worker : recovered.workers) {
    worker.watched =
        watched.contains(worker.allocation.substr(0, worker.allocation.rfind('_') + 1));
  }
  for (const std::string& host : AvoidedHosts(journal)) pool.Avoid(host);
}

}  // namespace cq
