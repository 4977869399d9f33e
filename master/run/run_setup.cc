#include "master/run/run_setup.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <set>

#include "base/files.h"
#include "cq/error.h"
#include "master/journal/recovery.h"

namespace cq {

uint64_t Random64() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) {
    throw Error("the system gives no random numbers");
  }
  return number == 0 ? 1 : number;
}

void MakeRoom(const std::vector<PoolShare>& pools) {
  uint64_t workers = 0;
  for (const PoolShare& share : pools) workers += share.workers;
  try {
    RequireDescriptors(kOwnDescriptors + kDescriptorsOfWorker * workers, "fewer workers");
  } catch (const Error& error) {
    // Before anything has started.
    throw UsageError(error.what());
  }
  // Strangers may hold connections open without speaking: the more the better.
  const uint64_t before = RaiseDescriptorLimit();
  for (const PoolShare& share : pools) share.pool->KeepDescriptorLimit(before);
}

Transport Listen(const std::vector<PoolShare>& pools, RunDirectory& directory, RunKeys& keys,
                 RunObserver& observer, std::string& address) {
  // The transport's, the journal's, and those of the pools: libzmq would abort for want of one.
  RequireThreads(4 + pools.size(), "fewer pools");
  Transport transport(keys.server(), keys.client_public());
  using Reach = Transport::Reach;
  Reach reach = Reach::kLoopback;
  for (const PoolShare& share : pools) {
    if (share.pool->scheduler() == "local") continue;
    const bool here = share.pool->ControllerAtLoopback() || reach == Reach::kLoopbackFirst;
    reach = here ? Reach::kLoopbackFirst : Reach::kAll;
  }
  const bool local = std::any_of(pools.begin(), pools.end(), [](const PoolShare& share) {
    return share.pool->scheduler() == "local";
  });
  // Where no file can be kept private, no directory can.
  const bool keeps_private = keys.elsewhere().empty();
  std::string socket;
  if (local && keeps_private) socket = transport.BindLocal(directory.File("local"));
  auto endpoints = transport.Bind(reach, keys.port());
  address = endpoints[0];
  keys.Write(std::move(endpoints), std::move(socket));
  if (!keys.elsewhere().empty()) {
    observer.Warning(
        fmt::format("the file system of '{}' can keep no file private: the run's keys are in '{}'",
                    directory.path(), keys.elsewhere()));
  }
  directory.WriteOwner(address);
  return transport;
}

void TakeOver(const std::vector<PoolShare>& pools, Database& journal, Recovered& recovered) {
  std::set<std::string> watched;
  for (const OpenAllocation& open : OpenAllocations(journal)) {
    // Where the pools are others now: any of that scheduler can watch them.
    auto share = std::find_if(pools.begin(), pools.end(), [&](const PoolShare& p) {
      return p.pool->scheduler() == open.scheduler && p.pool->place() == open.pool;
    });
    if (share == pools.end()) {
      share = std::find_if(pools.begin(), pools.end(), [&](const PoolShare& p) {
        return p.pool->scheduler() == open.scheduler;
      });
    }
    if (share == pools.end()) continue;
    share->pool->Adopt(open);
    watched.insert(fmt::format("{} {}_", open.scheduler, open.job.substr(0, open.job.find(';'))));
  }
  for (KnownWorker& worker : recovered.workers) {
    worker.watched =
        watched.contains(worker.allocation.substr(0, worker.allocation.rfind('_') + 1));
  }
  for (const std::string& host : AvoidedHosts(journal)) {
    for (const PoolShare& share : pools) share.pool->Avoid(host);
  }
}

}  // namespace cq
