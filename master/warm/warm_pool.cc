#include "master/warm/warm_pool.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/files.h"
#include "base/proc.h"
#include "cq/error.h"
#include "master/journal/journal.h"
#include "master/journal/recovery.h"
#include "master/run/pool_plan.h"
#include "master/run/run_plan.h"
#include "master/run/run_session.h"
#include "master/warm/desk.h"
#include "master/warm/lender_loop.h"
#include "protocol/pool_file.h"

namespace cq {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void ThrowThere(const std::string& name, const std::string& whose) {
  throw UsageError(fmt::format(
      "the pool '{}' is there already{}; 'cq pool stop {}' ends it, another name is another pool",
      name, whose, name));
}

void RequireNone(const std::string& name) {
  // Two that are started at once find each other by this.
  if (HeldByMaster(PoolDirectory(name))) ThrowThere(name, "");
  const auto names = PoolNames();
  if (std::find(names.begin(), names.end(), name) == names.end()) return;
  const PoolFile file = ReadPoolFile(name);
  const std::string why = WhyUnreachable(file);
  if (why.empty()) {
    ThrowThere(name, fmt::format(" (process {})", file.pid));
  }
  if (file.host != HostName()) throw UsageError(why);
}

// With the workers of an earlier master of it.
Recovered SetUp(RunSession& session) {
  if (!session.Exists()) {
    session.Make();
    session.definition().cwd = fs::current_path().string();
    session.Publish({}, {}, {});
    return {};
  }
  session.Open();
  session.Continue({}, {}, Restart::Rerun::kNothing);
  session.CancelLeft(false);
  return Recover(*session.journal(), {}, 0);
}

}  // namespace

WarmPoolEnd KeepWarmPool(const WarmPoolOptions& options, RunObserver& observer) {
  RunOptions master = options.master;
  if (TraitsOf(master.scheduler).lends) {
    throw UsageError("--on: a pool has workers of its own, and borrows none");
  }
  RequireWorkers(master);
  RequireNone(options.name);
  master.run_dir = PoolDirectory(options.name);
  if (master.workers && *master.workers == 0) {
    throw UsageError("--workers 0: a warm pool without workers has nothing to lend");
  }
  const PoolOptions plan = PlanPool(master);
  std::error_code failed;
  const fs::path above = fs::path(plan.run_dir).parent_path();
  fs::create_directories(above, failed);
  fs::permissions(above, fs::perms::owner_all, failed);
  if (failed) throw Error(fmt::format("cannot use '{}': {}", above.string(), failed.message()));

  RunSession session(master, {plan}, observer);
  Recovered recovered;
  try {
    recovered = SetUp(session);
  } catch (const UsageError&) {
    // Another one was faster.
    RequireNone(options.name);
    throw;
  }

  LenderCore::Options core;
  core.epoch = session.epoch();
  core.lease = session.lease();
  core.explained_late = session.explains_late();
  session.FillCommon(core.text);
  // What its workers start.
  core.text.command = {{"cq"}, {"worker"}};

  Desk desk;
  LenderLoop::Options loop;
  loop.pool = {.name = options.name,
               .host = HostName(),
               .boot_id = BootId(),
               .pid = static_cast<uint64_t>(getpid()),
               .start = StartTimeOf(getpid()).value_or(0),
               .socket = desk.name(),
               .scheduler = plan.scheduler,
               .workers = plan.workers,
               .slots = plan.slots,
               .same_host = session.same_host()};
  loop.workers_least = plan.least.value_or(plan.workers);
  loop.signal_fd = master.signal_fd;
  loop.idle_timeout = options.idle_timeout;
  loop.ready = options.ready;
  loop.keep_alive = [&session] { session.directory().RenewOwner(); };
  const std::string file = session.directory().File("pool.json");
  loop.ending = [file](const std::string&) { unlink(file.c_str()); };

  Transport transport = session.Wire(recovered, true, true);
  observer.Started("", plan.workers, plan.workers, plan.slots);
  WritePoolFile(loop.pool);
  session.directory().Keep();
  LenderLoop pool(
      std::move(loop), LenderCore(std::move(core), recovered), std::move(transport),
      session.workforce(),
      [&session](RecordWriter::Callbacks callbacks) {
        auto writer =
            std::make_unique<JournalWriter>(std::move(*session.journal()), std::move(callbacks));
        session.journal().reset();
        return writer;
      },
      observer, desk);
  const LenderLoop::End end = pool.Run();
  session.Close(end.status != 0);
  // Of a pool that ended as it should nothing is left to look at.
  if (end.status == 0) fs::remove_all(session.directory().path(), failed);
  return {end.status, end.reason};
}

}  // namespace cq
