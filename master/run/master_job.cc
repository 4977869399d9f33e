#include "master/run/master_job.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <random>
#include <utility>

#include "base/files.h"
#include "base/json.h"
#include "cq/error.h"
#include "master/run/pool_plan.h"
#include "schedulers/registry.h"
#include "schedulers/scheduler.h"
#include "schedulers/traits.h"

namespace cq {
namespace {

constexpr const char* kFile = "/master-job.json";
/// Longer than any submission takes.
constexpr std::chrono::hours kLong{1};

std::chrono::seconds AgeOf(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return kLong;
  return std::chrono::seconds(std::max<int64_t>(time(nullptr) - status.st_mtime, 0));
}

WorkerLaunch LaunchOf(const MasterJob& job) {
  WorkerLaunch launch;
  launch.of_master = true;
  launch.program = job.command;
  launch.run_dir = job.run_dir;
  launch.log_dir = job.run_dir;
  launch.slots = job.cpus;
  launch.set = job.set;
  return launch;
}

/// Its job lives on when we let it go.
class Left {
 public:
  Left(const std::string& scheduler, WorkerLaunch launch)
      : scheduler_(MakeScheduler(scheduler, std::move(launch))) {}
  ~Left() { scheduler_->LetGo(); }
  Left(const Left&) = delete;
  Left& operator=(const Left&) = delete;
  Scheduler* operator->() const { return scheduler_.get(); }

 private:
  std::unique_ptr<Scheduler> scheduler_;
};

struct Known {
  std::string scheduler;
  LeftSubmission submission;
};

std::optional<Known> Read(const std::string& run_dir) {
  const std::string path = run_dir + kFile;
  if (access(path.c_str(), F_OK) != 0) return std::nullopt;
  const OrderedJson file = TryParseJson(ReadStream(path));
  Known known;
  try {
    known.scheduler = file.at("scheduler").get<std::string>();
    known.submission.token = file.at("token").get<std::string>();
    // One that is known to have come does not come later.
    known.submission.age = file.at("submitted").get<bool>() ? kLong : AgeOf(path);
  } catch (const OrderedJson::exception& error) {
    throw Error(
        fmt::format("'{}' does not say which job the run's master is: {}", path, error.what()));
  }
  known.submission.workers = 1;
  return known;
}

// What `then` says of the run's job, if that waits, runs, or may still come. By its token alone:
// ids are used again.
template <class F>
std::optional<std::string> OfJob(const std::string& run_dir, const F& then) {
  const auto known = Read(run_dir);
  if (!known) return std::nullopt;
  MasterJob of;
  of.run_dir = run_dir;
  const Left scheduler(known->scheduler, LaunchOf(of));
  switch (scheduler->Adopt(known->submission)) {
    case Scheduler::Adopted::kGone:
      return std::nullopt;
    case Scheduler::Adopted::kUnknown:
      return then(scheduler,
                  WorkerJob{known->scheduler, WorkerJob::State::kPending, "it was just submitted"});
    case Scheduler::Adopted::kYes:
      break;
  }
  for (const WorkerJob& job : scheduler->Poll()) {
    if (!job.ended()) return then(scheduler, job);
  }
  return std::nullopt;
}

// `submitted`: its scheduler has said so.
void Remember(const MasterJob& job, const std::string& token, bool submitted) {
  const OrderedJson file = {
      {"scheduler", job.scheduler}, {"token", token}, {"submitted", submitted}};
  ReplaceFile(job.run_dir + kFile, JsonText(file), 0600);
}

// Its workers' scheduler, if that has jobs that live by themselves.
std::string SchedulerOf(const RunOptions& options) {
  std::vector<std::string> names = {options.scheduler};
  for (const RunPool& pool : options.pools) names.push_back(pool.scheduler);
  const auto found = std::find_if(names.begin(), names.end(), [](const std::string& name) {
    if (name.empty()) return false;
    const SchedulerTraits traits = TraitsOf(name);
    return traits.outlives_master && !traits.lends;
  });
  return found == names.end() ? "slurm" : *found;
}

}  // namespace

MasterJob PlanMasterJob(const RunOptions& options, std::string run_dir,
                        std::vector<std::string> command) {
  MasterJob job;
  job.scheduler = SchedulerOf(options);
  job.run_dir = std::move(run_dir);
  job.command = std::move(command);
  job.set = options.master_values;
  // Workers that live where it does share what it has.
  uint64_t cpus = 0;
  for (const PoolOptions& plan : PlanPools(options)) {
    const bool said = options.workers || options.slots || plan.named;
    if (!said || !TraitsOf(plan.scheduler).same_host) continue;
    cpus += plan.workers * std::max<uint64_t>(plan.slots, plan.capacity.cpus.value_or(0));
  }
  job.cpus = static_cast<unsigned>(std::clamp<uint64_t>(cpus, 1, 100'000));
  return job;
}

std::string ScriptOf(const MasterJob& job) {
  for (const char* ours : {"cq", "log_file", "workers"}) {
    if (job.set.contains(ours)) {
      throw UsageError(fmt::format("--set-master {}: that is not yours to say", ours));
    }
  }
  const Left scheduler(job.scheduler, LaunchOf(job));
  return scheduler->Script(1);
}

// Noted before it is submitted: whoever asks finds it by its token, whatever becomes of us.
std::string SubmitMasterJob(const MasterJob& job) {
  std::random_device random;
  const std::string token = fmt::format("cq-{:08x}{:08x}", random(), random());
  const Left scheduler(job.scheduler, LaunchOf(job));
  Remember(job, token, false);
  std::string id;
  try {
    id = scheduler->Submit(1, token);
  } catch (const UncertainSubmission&) {
    throw;
  } catch (const Error&) {
    ForgetMasterJob(job.run_dir);
    throw;
  }
  Remember(job, token, true);
  return fmt::format("{} {}", job.scheduler, id);
}

void ForgetMasterJob(const std::string& run_dir) { unlink((run_dir + kFile).c_str()); }

std::optional<std::string> MasterJobOf(const std::string& run_dir) {
  return OfJob(run_dir, [](const Left&, const WorkerJob& job) {
    if (!job.waits()) return job.allocation + " runs";
    const std::string why = job.reason.empty() ? "" : fmt::format(" ({})", job.reason);
    return fmt::format("{} waits{}", job.allocation, why);
  });
}

std::optional<std::string> CancelMasterJob(const std::string& run_dir) {
  return OfJob(run_dir, [&](const Left& scheduler, const WorkerJob& job) {
    scheduler->CancelAll();
    ForgetMasterJob(run_dir);
    return job.allocation;
  });
}

}  // namespace cq
