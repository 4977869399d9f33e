// What workers report of their tasks.
#include <fmt/format.h>

#include <algorithm>

#include "master/core/core.h"
#include "protocol/limits.h"

namespace cq {

namespace {
// What a report is about, as long as the run is ours.
template <class M>
bool SameRun(const M& message, const RunText& text) {
  return message.run == text.run;
}
}  // namespace

void Core::OnReport(Time now, Worker& worker, FromWorker& message) {
  struct {
    Core& core;
    Time now;
    Worker& worker;

    void operator()(Hello&) {}
    void operator()(Started& m) {
      if (SameRun(m, core.options_.text)) core.OnStarted(worker, m.attempts);
    }
    void operator()(Results& m) {
      if (!SameRun(m, core.options_.text)) return;
      core.OnStarted(worker, m.started);
      for (TaskResult& result : m.results) core.OnResult(worker, result);
    }
    void operator()(Returned& m) {
      if (!SameRun(m, core.options_.text)) return;
      for (const ReturnedAttempt& returned : m.attempts) core.OnReturned(worker, returned);
    }
    void operator()(WorkerHeartbeat& m) {
      worker.capacity = std::min<uint64_t>(m.capacity, kHeldMax);
      worker.problem = m.problem;
    }
    void operator()(Leaving& m) {
      if (!worker.leaving) {
        core.actions_.emplace_back(Note{
            Note::Kind::kWorkers,
            fmt::format("worker {} on {} leaves: {}", worker.index + 1, worker.host, m.reason)});
      }
      worker.leaving = true;
    }
    void operator()(Goodbye& m) {
      core.Lose(worker,
                fmt::format("worker {} on {} left: {}", worker.index + 1, worker.host, m.reason),
                false);
    }
  } visitor{*this, now, worker};
  std::visit(visitor, message);
}

void Core::OnStarted(Worker& worker, const std::vector<StartedAttempt>& attempts) {
  for (const StartedAttempt& started : attempts) {
    OpenTask* open = tasks_.Find(started.task);
    if (open == nullptr || open->attempt != started.attempt || open->worker != worker.index ||
        open->running) {
      continue;
    }
    open->running = true;
    open->slot = static_cast<uint32_t>(started.slot);
    ++worker.running;
    if (open->retracting) {
      open->retracting = false;
      --worker.retracting;
    }
  }
}

void Core::OnResult(Worker& worker, TaskResult& result) {
  const AttemptRef ref{result.task, result.attempt};
  const bool was_stale = worker.stale.erase(result.attempt) > 0;
  if (was_stale) dirty_.push_back(worker.index);
  if (!tasks_.Exists(result.task) || !Plausible(result.attempt)) {
    ++counts_.dropped;
    Acknowledge(worker.index, ref);
    return;
  }
  if (tasks_.Done(result.task)) {
    ++counts_.dropped;
    const auto waiting = uncommitted_.find(result.task);
    if (waiting != uncommitted_.end() && waiting->second.attempt == result.attempt) {
      // A repetition of what the journal is about to commit: acknowledged then, and to this worker.
      waiting->second.worker = worker.index;
    } else {
      Acknowledge(worker.index, ref);
    }
    return;
  }
  OpenTask* open = tasks_.Find(result.task);
  const bool current =
      open != nullptr && open->attempt == result.attempt && open->worker == worker.index;
  if (current && result.outcome == Outcome::kCancelled) {
    // Nobody asked for that here: the task has not had its chance.
    --open->attempts;
    Release(result.task, *open);
    Acknowledge(worker.index, ref);
    return;
  }
  if (!current && result.outcome != Outcome::kOk) {
    ++counts_.dropped;
    Acknowledge(worker.index, ref);
    return;
  }
  const uint64_t attempts = open == nullptr ? 1 : std::max<uint64_t>(open->attempts, 1);
  // A mean over about the last thousand tasks follows a run whose rows change their nature.
  const auto wall = std::chrono::microseconds(std::min<uint64_t>(result.wall_us, 1ull << 50));
  timed_tasks_ = std::min<uint64_t>(timed_tasks_ + 1, 1000);
  mean_ += (std::max<std::chrono::nanoseconds>(wall, std::chrono::microseconds(1)) - mean_) /
           static_cast<int64_t>(timed_tasks_);
  Finish(std::move(result), worker.index, attempts);
  dirty_.push_back(worker.index);
}

void Core::OnReturned(Worker& worker, const ReturnedAttempt& returned) {
  if (worker.stale.erase(returned.attempt) > 0) {
    dirty_.push_back(worker.index);
    return;
  }
  OpenTask* open = tasks_.Find(returned.task);
  if (open == nullptr || open->attempt != returned.attempt || open->worker != worker.index) {
    ++counts_.dropped;
    return;
  }
  --open->attempts;
  Release(returned.task, *open);
}

}  // namespace cq
