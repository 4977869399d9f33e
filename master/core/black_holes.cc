// Machines on which tasks cannot be started: a task is tried elsewhere, such a machine is left
// alone.
#include <fmt/format.h>

#include <algorithm>

#include "master/core/core.h"
#include "master/core/dispatch.h"

namespace cq {
namespace {

/// A task that so many workers could not start ends as `error`.
constexpr uint64_t kRefusalsMax = 3;

}  // namespace

/// So many tasks in a row that could not be started put a worker on probation.
bool OnProbation(const Worker& worker) { return worker.unstartable >= 3; }

// Workers that could take a task, now or soon.
uint64_t Core::Candidates() const {
  uint64_t count = expected_;
  for (const Worker& worker : workers_.all()) count += worker.Takes() ? 1 : 0;
  return count;
}

// Not charged, and not given to this worker again. The last report is kept, for the case that no
// other worker can do better.
void Core::OnUnstartable(Worker& worker, TaskResult& result, OpenTask& open) {
  // Where others fail, too, it is the task and not the machine.
  if (open.refused.empty()) {
    ++worker.unstartable;
  } else {
    for (const WorkerIndex other : open.refused) {
      Worker& w = workers_[other];
      if (w.unstartable > 0) --w.unstartable;
    }
  }
  if (open.refused.empty() && worker.unstartable == 3) {
    actions_.emplace_back(Note{Note::Kind::kWarning,
                               fmt::format("worker {} on {} could not start 3 tasks in a row: {}",
                                           worker.number, worker.host, result.details->error)});
  }
  const uint32_t attempts = open.attempts;
  if (std::find(open.refused.begin(), open.refused.end(), worker.index) == open.refused.end()) {
    open.refused.push_back(worker.index);
  }
  if (open.refused.size() >= std::min(kRefusalsMax, std::max<uint64_t>(Candidates(), 1))) {
    Finish(std::move(result), worker.index, attempts);
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
void Core::Refute(const OpenTask& open) {
  for (const WorkerIndex refuser : open.refused) workers_[refuser].refuted = true;
  DrainBlackHoles();
}

void Core::DrainBlackHoles() {
  for (Worker& worker : workers_.all()) {
    if (!OnProbation(worker) || !worker.refuted || worker.leaving || worker.ended) continue;
    const std::string reason =
        fmt::format("3 tasks in a row could not be started on {}, while others can", worker.host);
    actions_.emplace_back(Note{Note::Kind::kWarning, fmt::format("{}: its worker {} takes no more",
                                                                 reason, worker.number)});
    actions_.emplace_back(AvoidHost{worker.host});
    if (worker.connected) SendTo(worker, Drain{reason});
    worker.leaving = true;
  }
}

// What nobody who is left could start has failed.
void Core::FinishRefused() {
  if (refused_.empty() || expected_ > 0 || finished_ || Candidates() == 0) return;
  std::vector<TaskId> failed;
  for (const auto& [task, result] : refused_) {
    const OpenTask* open = tasks_.Find(task);
    if (open == nullptr || !open->ready()) continue;
    const auto& all = workers_.all();
    const bool hope = std::any_of(all.begin(), all.end(), [&](const Worker& worker) {
      return worker.Takes() && std::find(open->refused.begin(), open->refused.end(),
                                         worker.index) == open->refused.end();
    });
    if (!hope) failed.push_back(task);
  }
  for (const TaskId task : failed) {
    auto result = std::move(refused_.at(task));
    Finish(std::move(result), std::nullopt, tasks_.Find(task)->attempts + 1);
  }
}

}  // namespace cq
