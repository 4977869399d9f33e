// What workers report of their tasks.
#include <fmt/format.h>

#include <algorithm>

#include "master/core/core.h"
#include "master/core/dispatch.h"
#include "protocol/limits.h"
#include "protocol/spans.h"

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
      worker.ledger = m.ledger;
      for (TaskResult& result : m.results) core.OnResult(now, &worker, result);
    }
    void operator()(Returned& m) {
      if (!SameRun(m, core.options_.text)) return;
      for (const ReturnedAttempt& returned : m.attempts) core.OnReturned(worker, returned);
    }
    void operator()(WorkerHeartbeat& m) {
      const auto capacity = std::min<uint64_t>(m.capacity, kHeldMax);
      if (capacity > std::exchange(worker.capacity, capacity)) core.MarkDirty(worker);
      worker.problem = m.problem;
      core.OnIdle(worker, m.problem.empty() ? m.waits_for.empty() ? "" : "waits: " + m.waits_for
                                            : "takes no task: " + m.problem);
    }
    void operator()(Leaving& m) {
      if (!worker.leaving) {
        core.actions_.emplace_back(
            Note{Note::Kind::kWorkers,
                 fmt::format("worker {} on {} leaves: {}", worker.number, worker.host, m.reason)});
      }
      worker.leaving = true;
    }
    void operator()(Goodbye& m) {
      core.Lose(now, worker,
                {fmt::format("worker {} on {} left: {}", worker.number, worker.host, m.reason),
                 Blame::kNobody,
                 {}});
    }
    void operator()(Output& m) {
      if (SameRun(m, core.options_.text)) core.OnOutput(worker, m);
    }
    // The loop answers those, whoever asks.
    void operator()(Request&) {}
  } visitor{*this, now, worker};
  std::visit(visitor, message);
}

// Told when it changes; the journal has it for whoever asks.
void Core::OnIdle(Worker& worker, const std::string& why) {
  if (why == worker.idle) return;
  // A wait for a program is told once: what it has printed so far may change its text.
  const bool news = worker.idle.empty() || !why.starts_with("waits: ");
  worker.idle = why;
  Record(WorkerWaitsRecord{worker.number, why});
  if (!news || why.empty()) return;
  actions_.emplace_back(Note{Note::Kind::kWarning,
                             fmt::format("worker {} on {} {}", worker.number, worker.host, why)});
}

// Whether this worker may have had an attempt that is not out with it now: one of this master's it
// was given, of an earlier master's nobody knows.
bool Core::MayKnow(const Worker& worker, const TaskResult& result, const Work* open) const {
  if (EpochOf(result.attempt) < options_.epoch) return true;
  if (open == nullptr) return false;
  return std::any_of(open->past->earlier.begin(), open->past->earlier.end(), [&](const auto& held) {
    return held.first == result.attempt && held.second == worker.index;
  });
}

// What this run never gave out is the word of a broken peer: told once of each worker.
void Core::Reject(Worker* worker, AttemptRef ref) {
  ++counts_.rejected;
  if (worker == nullptr || std::exchange(worker->rejected, true)) return;
  actions_.emplace_back(
      Note{Note::Kind::kWarning,
           fmt::format("worker {} on {} reports attempt {:x} at task {}, which this run never gave "
                       "out: such reports are dropped",
                       worker->number, worker->host, ref.attempt, ref.task)});
}

bool Core::Rejected(Worker& worker, AttemptRef ref) {
  if (GivenOut(ref.task, ref.attempt)) return false;
  Reject(&worker, ref);
  return true;
}

void Core::OnStarted(Worker& worker, const std::vector<StartedAttempt>& attempts) {
  for (const StartedAttempt& started : attempts) {
    if (Rejected(worker, {started.task, started.attempt})) continue;
    Work* open = tasks_.Containing(started.task);
    if (open == nullptr || !open->IsOut({started.task, started.attempt}, worker.index)) continue;
    const auto& run = open->out()->run;
    if (run && run->slot != started.slot && run->at != started.task) {
      // Two slots share a span: each has its part from now on.
      const TaskId second = std::max(run->at, started.task);
      tasks_.Isolate(second, open->last().task + 1 - second);
      open = tasks_.Containing(started.task);
    }
    Runs(worker, *open, {static_cast<uint32_t>(started.slot), started.task});
  }
}

// It was begun: it cannot be asked back any more.
void Core::Runs(Worker& worker, Work& open, Work::Out::Run run) {
  Work::Out& out = *open.out();
  if (!out.run) ++worker.running;
  out.run = run;
  if (std::exchange(out.retracting, false)) worker.retracting -= open.count;
}

// A report that is not wanted: counted, and acknowledged.
void Core::Drop(Worker* worker, AttemptRef ref) {
  ++counts_.dropped;
  Acknowledge(worker, {ref.task, ref.attempt});
}

// A mean over about the last thousand tasks follows a run whose rows change their nature.
void Core::Learn(uint64_t wall_us, uint64_t tasks) {
  const auto wall = std::chrono::microseconds(std::min<uint64_t>(wall_us / tasks, 1ull << 50));
  timed_tasks_ = std::min<uint64_t>(timed_tasks_ + tasks, 1000);
  const double weight =
      static_cast<double>(std::min<uint64_t>(tasks, 1000)) / static_cast<double>(timed_tasks_);
  const auto off = std::max<std::chrono::nanoseconds>(wall, std::chrono::microseconds(1)) - mean_;
  mean_ += std::chrono::duration_cast<std::chrono::nanoseconds>(off * weight);
}

// Whether it is of the attempt that is out.
bool Core::IsCurrent(const Worker* worker, const TaskResult& result, const Work* open) const {
  if (open == nullptr) return false;
  const AttemptRef first = result.first();
  return worker == nullptr ? open->IsOut(first) : open->IsOut(first, worker->index);
}

// Whether these tasks are out as they are reported: nothing else has happened to any of them.
bool Core::IsOutAsOne(const Worker* worker, const TaskResult& result) {
  return IsCurrent(worker, result, tasks_.Containing(result.task)) &&
         tasks_.Isolate(result.task, result.count) != nullptr;
}

Core::Verdict Core::Judge(const Worker* worker, const TaskResult& result) const {
  if (!GivenOut(result.task, result.attempt)) return Verdict::kNeverGivenOut;
  if (!Plausible(result.task, result.attempt)) return Verdict::kTooLate;
  if (IsAwaited({result.task, result.attempt})) return Verdict::kRepetition;
  const bool cancelled = result.outcome == Outcome::kCancelled;
  if (beyond_.Contains(result.task) && !cancelled && !result.unstartable) return Verdict::kBeyond;
  if (tasks_.Done(result.task)) return Verdict::kTooLate;
  const Work* open = tasks_.Containing(result.task);
  const bool current = IsCurrent(worker, result, open);
  const bool unclaimed = open == nullptr || (!open->out() && result.attempt > open->past->given_up);
  if (!current && worker != nullptr && !MayKnow(*worker, result, open)) return Verdict::kTooLate;
  // Of an attempt that was given up an `ok` counts, and nothing else.
  if (!current && !unclaimed && result.outcome != Outcome::kOk) return Verdict::kTooLate;
  if (cancelled || (result.unstartable && !current)) return Verdict::kNoChance;
  if (result.unstartable) return Verdict::kNotStarted;
  return result.outcome == Outcome::kCrashed ? Verdict::kSlotCrash : Verdict::kEnded;
}

// `worker` is none for what comes from a file of a worker that has left.
void Core::OnResult(Time now, Worker* worker, TaskResult& result) {
  if (result.count > 1) {
    if (IsOutAsOne(worker, result)) return OnEnded(now, worker, result);
    for (TaskResult& one : Apart(std::move(result))) OnResult(now, worker, one);
    return;
  }
  const AttemptRef ref{result.task, result.attempt};
  const auto by = worker == nullptr ? std::nullopt : std::optional(worker->index);
  if (worker != nullptr && worker->stale.erase(result.attempt) > 0) MarkDirty(*worker);
  // That one is the master's to say.
  if (result.outcome == Outcome::kSkipped) result.outcome = Outcome::kCancelled;
  switch (Judge(worker, result)) {
    case Verdict::kNeverGivenOut:
      Reject(worker, ref);
      return Acknowledge(worker, {ref.task, ref.attempt});
    case Verdict::kTooLate:
      return Drop(worker, ref);
    case Verdict::kRepetition:
      // Acknowledged once that is durable, and to this worker.
      ++counts_.dropped;
      if (by) FindUncommitted(ref.attempt)->worker = by;
      return;
    case Verdict::kBeyond:
      beyond_.Erase(ref.task);
      AwaitCommit({ref.task, ref.attempt}, by);
      return Record(ResultRecord{std::move(result), 1, worker == nullptr ? 0 : worker->number});
    case Verdict::kNoChance:
      return OnNoChance(worker, result);
    case Verdict::kNotStarted: {
      Work& open = *tasks_.Find(ref.task);
      return OnUnstartable(workers_[open.out()->worker], result, open);
    }
    case Verdict::kSlotCrash:
      OnSlotCrash(result, tasks_.OpenUp(ref.task));
      if (by) FindUncommitted(ref.attempt)->worker = by;
      return;
    case Verdict::kEnded:
      return OnEnded(now, worker, result);
  }
}

// Nobody asked for that here: the task is as if it had not been given out.
void Core::OnNoChance(Worker* worker, const TaskResult& result) {
  Work* open = tasks_.Find(result.task);
  if (IsCurrent(worker, result, open)) {
    if (open->attempts > 0) --open->attempts;
    Release(result.task, *open);
  }
  Acknowledge(worker, {result.task, result.attempt});
}

// It ran to its end, well or not.
void Core::OnEnded(Time now, Worker* worker, TaskResult& result) {
  const AttemptId attempt = result.attempt;
  Work* open = tasks_.Isolate(result.task, result.count);
  const bool current = IsCurrent(worker, result, open);
  const bool error = result.outcome == Outcome::kError;
  Learn(result.wall_us, result.count);
  if (current && open->out()->given != Time{}) {
    turnaround_ += (now - open->out()->given) * static_cast<int64_t>(result.count);
  }
  if (worker != nullptr) {
    MarkDirty(*worker);
    worker->unstartable = 0;
    static const std::vector<WorkerIndex> kNowhere;
    if (error || result.outcome == Outcome::kOk) {
      NoteEnd(*worker, !error, result.count, open == nullptr ? kNowhere : open->past->failed_on);
    }
  }
  if (open != nullptr && !open->past->refused.empty()) Refute(*open);
  const bool failed = error || result.outcome == Outcome::kTimeout;
  const bool again =
      options_.retries > 0 && (open == nullptr || open->past->failures < options_.retries);
  const bool elsewhere =
      current && worker != nullptr && !again && error && MayBeItsHosts(*worker, *open);
  if (failed && (again || elsewhere)) {
    Retry(now, worker, result, tasks_.OpenUp(result.task));
    if (worker != nullptr) FindUncommitted(attempt)->worker = worker->index;
    return;
  }
  const uint64_t attempts = open == nullptr ? 1 : std::max<uint64_t>(open->attempts, 1);
  Finish(std::move(result), worker == nullptr ? std::nullopt : std::optional(worker->index),
         attempts);
}

// It failed by itself and is tried again, after 1, 2, 4, … s, at most a minute.
void Core::Retry(Time now, const Worker* worker, TaskResult& result, Work& open) {
  const Time delay = std::chrono::seconds(1ull << std::min<uint32_t>(open.past->failures, 6));
  ++open.past.Edit().failures;
  open.past.Edit().over = std::max(open.past->over, result.attempt);
  const uint64_t number = open.out() ? workers_[open.out()->worker].number : 0;
  AwaitCommit({result.task, result.attempt}, std::nullopt);
  const std::string reason = fmt::format(
      "{}: {}", result.outcome == Outcome::kTimeout ? "timeout" : "error", result.details->error);
  Record(FailureRecord{{result.task, result.attempt}, number, FailureKind::kRetried, reason});
  const Time when = now + std::min<Time>(delay, std::chrono::minutes(1));
  if (worker != nullptr) open.past.Edit().failed_on.push_back(worker->index);
  // By then it may go where it failed, too (Dispatcher::MayTryHere).
  wake_.emplace(when + kPatience, result.task);
  TryAgain(when, result.attempt, open);
}

// The attempt is over, and another will follow.
void Core::TryAgain(Time when, AttemptId attempt, Work& open) {
  if (open.out()) return ReleaseAt(when, open.task, open);
  // Nobody knew that it was out.
  Work::Past& past = open.past.Edit();
  past.given_up = attempt;
  past.not_before = std::max(when, now_);
  ++open.attempts;
  if (!open.waiting()) tasks_.SuspendReady(open.task);
  wake_.emplace(past.not_before, open.task);
}

// It took its slot's program with it, and nothing else: the worker lives and tells.
void Core::OnSlotCrash(TaskResult& result, Work& open) {
  const auto by = open.out() ? std::optional(open.out()->worker) : std::nullopt;
  Work::Past& past = open.past.Edit();
  // As the worker's books count it when it is taken from them.
  if (by && past.charged.empty()) ++workers_[*by].charged;
  past.charged.push_back(result.attempt);
  if (by) past.failed_on.push_back(*by);
  past.over = std::max(past.over, result.attempt);
  if (past.charged.size() >= options_.crash_limit) {
    std::string& error = result.details.Edit().error;
    error = fmt::format("{} (charged {} times)", error, past.charged.size());
    return Finish(std::move(result), by, std::max<uint64_t>(open.attempts, 1));
  }
  AwaitCommit({result.task, result.attempt}, std::nullopt);
  Record(FailureRecord{result.first(), by ? workers_[*by].number : 0, FailureKind::kSlotCrashed,
                       result.details->error});
  TryAgain({}, result.attempt, open);
}

void Core::OnSpooled(Time now, Results results) {
  if (finished_ || results.run != options_.text.run) return;
  for (TaskResult& result : results.results) OnResult(now, nullptr, result);
}

void Core::OnOutput(Worker& worker, Output& output) {
  for (OutputPart& part : output.parts) {
    const Work* open = tasks_.Find(part.task);
    if (open == nullptr || !open->IsOut({part.task, part.attempt}, worker.index)) continue;
    Record(OutputRecord{std::move(part)});
  }
}

void Core::OnReturned(Worker& worker, const ReturnedAttempt& returned) {
  if (worker.stale.erase(returned.attempt) > 0) {
    MarkDirty(worker);
    return;
  }
  if (Rejected(worker, {returned.task, returned.attempt})) return;
  Work* open = tasks_.Find(returned.task);
  if (open == nullptr || !open->IsOut({returned.task, returned.attempt}, worker.index)) {
    ++counts_.dropped;
    return;
  }
  if (open->attempts > 0) --open->attempts;
  Release(returned.task, *open);
}

}  // namespace cq
