// Machines on which tasks cannot be started, or fail though they do not elsewhere: a task is tried
// elsewhere, such a machine is left alone.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "master/core/dispatch.h"
#include "master/core/run_core.h"

namespace cq {
namespace {

/// A task that could not be started on so many hosts ends as `error`.
constexpr uint64_t kRefusalsMax = 3;
/// The results of a host by which it is judged are about its last ones; fewer say nothing.
constexpr double kResultsKept = 64;
constexpr double kResultsNeeded = 10;
/// How improbable the errors of a host must be, if it were as the others are: e to the power of
/// minus so much.
constexpr double kImprobable = 12;

}  // namespace

/// So many tasks in a row that could not be started put a worker on probation.
bool OnProbation(const Lane& lane) { return lane.unstartable >= 3; }

// Hosts with workers that could take a task, now or soon; one for each worker that is still to
// come.
uint64_t RunCore::Candidates(ClassId of) const {
  std::set<HostIndex> hosts;
  for (const Worker& worker : workers_.all()) {
    if (MayTake(worker) && Suits(worker, of)) hosts.insert(worker.host_index);
  }
  return fleet_.expected() + hosts.size();
}

bool RunCore::Refused(const Work& open, const Worker& worker) const {
  return std::any_of(open.past->refused.begin(), open.past->refused.end(),
                     [&](const WorkerRef& refuser) { return refuser.host == worker.host_index; });
}

// Not charged, and not given to this worker again. The last report is kept, for the case that no
// other worker can do better.
void RunCore::OnUnstartable(Worker& worker, TaskResult& result, Work& open) {
  // Where others fail, too, it is the task and not the machine.
  if (open.past->refused.empty()) {
    ++lane(worker).unstartable;
  } else {
    for (const WorkerRef& refuser : open.past->refused) {
      const Worker* other = workers_.Find(refuser);
      if (other != nullptr && lane(*other).unstartable > 0) --lane(*other).unstartable;
    }
  }
  if (open.past->refused.empty() && lane(worker).unstartable == 3) {
    out_.Tell(Note::Kind::kWarning,
              fmt::format("worker {} on {} could not start 3 tasks in a row: {}", worker.number,
                          worker.host, result.details->error));
  }
  const uint32_t attempts = open.attempts;
  const bool again =
      std::any_of(open.past->refused.begin(), open.past->refused.end(),
                  [&](const WorkerRef& refuser) { return refuser.number == worker.number; });
  if (!again) open.past.Edit().refused.push_back(worker.ref());
  std::set<HostIndex> hosts;
  for (const WorkerRef& refuser : open.past->refused) hosts.insert(refuser.host);
  if (hosts.size() >=
      std::min(kRefusalsMax, std::max<uint64_t>(Candidates(tasks_.ClassOf(open.task)), 1))) {
    Finish(std::move(result), worker.ref(), attempts);
  } else {
    Acknowledge(&worker, {result.task, result.attempt});
    if (open.attempts > 0) --open.attempts;
    const TaskId task = result.task;
    refused_[task] = std::move(result);
    Release(task, open);
  }
  DrainBlackHoles();
}

// Another worker could start what these could not.
void RunCore::Refute(const Work& open) {
  for (const WorkerRef& refuser : open.past->refused) {
    if (const Worker* worker = workers_.Find(refuser)) lane(*worker).refuted = true;
  }
  DrainBlackHoles();
}

void RunCore::DrainBlackHoles() {
  for (Worker& worker : workers_.all()) {
    if (!OnProbation(lane(worker)) || !lane(worker).refuted || !worker.stays()) continue;
    const std::string reason =
        fmt::format("3 tasks in a row could not be started on {}, while others can", worker.host);
    fleet_.DrainWorker(worker, reason);
    out_.Add(AvoidHost{worker.host});
  }
}

// How a task ended is counted for its host: `elsewhere` are workers with which it had failed.
void RunCore::NoteEnd(const Worker& worker, bool ok, uint64_t tasks,
                      const std::vector<WorkerRef>& elsewhere) {
  constexpr double kEach = 1 - 1 / kResultsKept;
  const double kept = tasks == 1 ? kEach : std::pow(kEach, static_cast<double>(tasks));
  Host& host = workers_.HostOf(worker);
  host.results = host.results * kept + (1 - kept) * kResultsKept;
  host.errors = host.errors * kept + (ok ? 0 : (1 - kept) * kResultsKept);
  host.failing = !ok;
  for (const WorkerRef& before : elsewhere) {
    Host& other = workers_.HostOf(before);
    if (&other == &host) continue;
    if (ok) {
      ++other.refuted;
      LeaveAloneIfBad(other);
    } else {
      // It was the task's own fault, here as there.
      other.results = std::max(other.results - 1, 0.0);
      other.errors = std::max(other.errors - 1, 0.0);
    }
  }
  if (!ok) LeaveAloneIfBad(host);
}

// Whether so many tasks fail on a host that it cannot be chance, as they end elsewhere.
bool RunCore::IsSuspect(const Host& host) const {
  if (host.avoided || host.results < kResultsNeeded || host.errors < host.results / 2) return false;
  double results = 0;
  double errors = 0;
  for (const Host& other : workers_.hosts()) {
    if (&other == &host || other.avoided) continue;
    results += other.results;
    errors += other.errors;
  }
  if (results < kResultsNeeded) return false;
  // Chernoff's bound, with the others' rate as high as it may well be.
  const double here = host.errors / host.results;
  const double there = (errors + 1) / (results + 2);
  if (there >= here) return false;
  const double rest = here < 1 ? (1 - here) * std::log((1 - here) / (1 - there)) : 0;
  return host.results * (here * std::log(here / there) + rest) >= kImprobable;
}

// Rows that fail wherever they run may all have come to one host. So a host is left alone only if
// one of those that failed there has ended well elsewhere; without --retries a few are tried again
// for that (MayBeItsHosts).
void RunCore::LeaveAloneIfBad(Host& host) {
  if (host.refuted == 0 || !IsSuspect(host)) return;
  host.avoided = true;
  const std::string reason =
      fmt::format("{:.0f} of the last {:.0f} tasks on {} failed, and elsewhere they do not",
                  host.errors, host.results, host.name);
  const auto index = static_cast<HostIndex>(&host - workers_.hosts().data());
  for (Worker& worker : workers_.all()) {
    if (worker.host_index == index && worker.stays()) fleet_.DrainWorker(worker, reason);
  }
  out_.Add(AvoidHost{host.name});
}

bool RunCore::MayBeItsHosts(const Worker& worker, const Work& open) {
  constexpr uint64_t kTrials = 3;
  Host& host = workers_.HostOf(worker);
  if (!open.past->failed_on.empty() || host.trials == kTrials || !IsSuspect(host)) return false;
  ++host.trials;
  return true;
}

// What nobody who is left could start has failed.
void RunCore::FinishRefused() {
  if (refused_.empty() || fleet_.expected() > 0 || finished_) return;
  std::vector<TaskId> failed;
  for (const auto& [task, result] : refused_) {
    const Work* open = tasks_.Find(task);
    const ClassId of = tasks_.ClassOf(task);
    if (open == nullptr || !open->ready() || Candidates(of) == 0) continue;
    const auto& all = workers_.all();
    const bool hope = std::any_of(all.begin(), all.end(), [&](const Worker& worker) {
      return MayTake(worker) && Suits(worker, of) && !Refused(*open, worker);
    });
    if (!hope) failed.push_back(task);
  }
  for (const TaskId task : failed) {
    auto result = std::move(refused_.at(task));
    Finish(std::move(result), std::nullopt, tasks_.Find(task)->attempts + 1);
  }
}

}  // namespace cq
