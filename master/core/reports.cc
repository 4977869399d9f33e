// What workers report of their tasks.
#include <fmt/format.h>

#include <algorithm>

#include "master/core/dispatch.h"
#include "master/core/grower.h"
#include "master/core/run_core.h"
#include "protocol/limits.h"
#include "protocol/spans.h"

namespace cq {

void RunCore::OnResults(Time now, Worker& worker, Results& results) {
  OnStarted(worker, results.started);
  lane(worker).ledger = results.ledger;
  for (TaskResult& result : results.results) OnResult(now, &worker, result);
}

void RunCore::OnReturned(Worker& worker, const Returned& returned) {
  for (const ReturnedAttempt& one : returned.attempts) OnReturned(worker, one);
}

void RunCore::OnHeartbeat(Worker& worker, const WorkerHeartbeat& heartbeat) {
  lane(worker).problem = heartbeat.problem;
  OnIdle(worker, !heartbeat.problem.empty()     ? "takes no task: " + heartbeat.problem
                 : !heartbeat.waits_for.empty() ? "waits: " + heartbeat.waits_for
                                                : "");
}

// Told when it changes; the journal has it for whoever asks.
void RunCore::OnIdle(Worker& worker, const std::string& why) {
  if (why == lane(worker).idle) return;
  // A wait for a program is told once: what it has printed so far may change its text.
  const bool news = lane(worker).idle.empty() || !why.starts_with("waits: ");
  lane(worker).idle = why;
  Record(WorkerWaitsRecord{worker.number, why});
  if (!news || why.empty()) return;
  out_.Tell(Note::Kind::kWarning,
            fmt::format("worker {} on {} {}", worker.number, worker.host, why));
}

// Whether this worker may have had an attempt that is not out with it now: one of this master's it
// was given, of an earlier master's nobody knows.
bool RunCore::MayKnow(const Worker& worker, const TaskResult& result, const Work* open) const {
  if (EpochOf(result.attempt) < options_.epoch) return true;
  if (open == nullptr) return false;
  return std::any_of(open->past->earlier.begin(), open->past->earlier.end(), [&](const auto& held) {
    return held.first == result.attempt && held.second == worker.id;
  });
}

// What this run never gave out is the word of a broken peer: told once of each worker.
void RunCore::Reject(Worker* worker, AttemptRef ref) {
  ++counts_.rejected;
  if (worker == nullptr || std::exchange(lane(*worker).rejected, true)) return;
  out_.Tell(
      Note::Kind::kWarning,
      fmt::format("worker {} on {} reports attempt {:x} at task {}, which this run never gave "
                  "out: such reports are dropped",
                  worker->number, worker->host, ref.attempt, ref.task));
}

bool RunCore::Rejected(Worker& worker, AttemptRef ref) {
  if (GivenOut(ref.task, ref.attempt)) return false;
  Reject(&worker, ref);
  return true;
}

void RunCore::OnStarted(Worker& worker, const std::vector<StartedAttempt>& attempts) {
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
    Runs(worker, *open, {static_cast<uint32_t>(started.slot), started.task, {}});
  }
}

// It was begun: it cannot be asked back any more.
void RunCore::Runs(Worker& worker, Work& open, Work::Out::Run run) {
  Work::Out& out = *open.out();
  if (!out.run) ++lane(worker).running;
  // A worker that comes back tells it again.
  const bool known = out.run && out.run->at == run.at;
  run.since = known ? out.run->since : now_;
  out.run = run;
  if (std::exchange(out.retracting, false)) lane(worker).retracting -= open.count;
}

// A report that is not wanted: counted, and acknowledged.
void RunCore::Drop(Worker* worker, AttemptRef ref) {
  ++counts_.dropped;
  Acknowledge(worker, {ref.task, ref.attempt});
}

void RunCore::Learn(const TaskResult& result) {
  const auto wall = std::chrono::microseconds(std::min<uint64_t>(result.wall_us, 1ull << 60));
  const bool ok = result.outcome == Outcome::kOk;
  pace_.Learn(wall, result.count, ok);
  if (tasks_.several()) classes_[tasks_.ClassOf(result.task)].pace.Learn(wall, result.count, ok);
}

// Whether it is of the attempt that is out.
bool RunCore::IsCurrent(const Worker* worker, const TaskResult& result, const Work* open) const {
  if (open == nullptr) return false;
  const AttemptRef first = result.first();
  return worker == nullptr ? open->IsOut(first) : open->IsOut(first, worker->index);
}

// Whether these tasks are out as they are reported: nothing else has happened to any of them.
bool RunCore::IsOutAsOne(const Worker* worker, const TaskResult& result) {
  return IsCurrent(worker, result, tasks_.Containing(result.task)) &&
         tasks_.Isolate(result.task, result.count) != nullptr;
}

Verdict RunCore::Judge(const Worker* worker, const TaskResult& result) const {
  if (!GivenOut(result.task, result.attempt)) return Verdict::kNeverGivenOut;
  if (!Plausible(result.task, result.attempt)) return Verdict::kTooLate;
  if (uncommitted_.Has({result.task, result.attempt})) return Verdict::kRepetition;
  const bool cancelled = result.outcome == Outcome::kCancelled;
  // Whatever else it ended as is tried again by whoever wants the row.
  const bool ok = result.outcome == Outcome::kOk && !result.unstartable;
  if (beyond_.Contains(result.task)) return ok ? Verdict::kBeyond : Verdict::kTooLate;
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
void RunCore::OnResult(Time now, Worker* worker, TaskResult& result) {
  if (result.count > 1) {
    if (IsOutAsOne(worker, result)) return OnEnded(now, worker, result);
    for (TaskResult& one : Apart(std::move(result))) OnResult(now, worker, one);
    return;
  }
  const AttemptRef ref{result.task, result.attempt};
  const auto by = worker == nullptr ? std::nullopt : std::optional(worker->ref());
  if (worker != nullptr && lane(*worker).stale.erase(result.attempt) > 0) MarkDirty(*worker);
  // That one is the master's to say.
  if (result.outcome == Outcome::kSkipped) result.outcome = Outcome::kCancelled;
  if (result.outcome == Outcome::kCancelled) SayIfTooLong(result);
  Verdict verdict = Judge(worker, result);
  Pushed pushed;
  if (verdict == Verdict::kEnded || verdict == Verdict::kBeyond) {
    const Outcome said = result.outcome;
    pushed = Grower(*this).TakePushed(result);
    if (result.outcome != said) verdict = Judge(worker, result);
  }
  switch (verdict) {
    case Verdict::kNeverGivenOut:
      Reject(worker, ref);
      return Acknowledge(worker, {ref.task, ref.attempt});
    case Verdict::kTooLate:
      return Drop(worker, ref);
    case Verdict::kRepetition:
      // Acknowledged once that is durable, and to this worker.
      ++counts_.dropped;
      if (by) uncommitted_.Find(ref.attempt)->worker = by;
      return;
    case Verdict::kBeyond:
      beyond_.Erase(ref.task);
      uncommitted_.Add({ref.task, ref.attempt}, by, now_);
      return Record(ResultRecord{std::move(result), 1, worker == nullptr ? 0 : worker->number,
                                 std::move(pushed)});
    case Verdict::kNoChance:
      return OnNoChance(worker, result);
    case Verdict::kNotStarted: {
      Work& open = *tasks_.Find(ref.task);
      return OnUnstartable(workers_[open.out()->worker], result, open);
    }
    case Verdict::kSlotCrash:
      OnSlotCrash(result, tasks_.OpenUp(ref.task));
      if (by) uncommitted_.Find(ref.attempt)->worker = by;
      return;
    case Verdict::kEnded:
      return OnEnded(now, worker, result, std::move(pushed));
  }
}

// Nobody asked for that here: the task is as if it had not been given out.
void RunCore::OnNoChance(Worker* worker, const TaskResult& result) {
  Work* open = tasks_.Find(result.task);
  if (IsCurrent(worker, result, open)) {
    if (open->attempts > 0) --open->attempts;
    Release(result.task, *open);
  }
  Acknowledge(worker, {result.task, result.attempt});
}

// It ran to its end, well or not.
void RunCore::OnEnded(Time now, Worker* worker, TaskResult& result, Pushed pushed) {
  const AttemptId attempt = result.attempt;
  Work* open = tasks_.Isolate(result.task, result.count);
  const bool current = IsCurrent(worker, result, open);
  const bool error = result.outcome == Outcome::kError;
  spent_.cpu_us += result.details->user_us + result.details->system_us;
  spent_.peak_kb = std::max(spent_.peak_kb, result.details->max_rss_kb);
  last_end_ = now;
  if (current && open->out()->given != Time{}) {
    spent_.turnaround += (now - open->out()->given) * static_cast<int64_t>(result.count);
  }
  if (worker != nullptr) {
    MarkDirty(*worker);
    CountEnded(*worker, result.count);
    lane(*worker).unstartable = 0;
    if (result.outcome == Outcome::kMemory) lane(*worker).had_memory = true;
    static const std::vector<WorkerRef> kNowhere;
    if (error || result.outcome == Outcome::kOk) {
      NoteEnd(*worker, !error, result.count, open == nullptr ? kNowhere : open->past->failed_on);
    }
  }
  if (open != nullptr && !open->past->refused.empty()) Refute(*open);
  const bool wanting = result.outcome == Outcome::kMemory || result.outcome == Outcome::kTimeout;
  if (wanting &&
      TryWithMore(worker, result, tasks_.OpenUp(result.task), MemoryLimitOf(result.task, worker))) {
    if (worker != nullptr) uncommitted_.Find(attempt)->worker = worker->ref();
    return;
  }
  // What was cut off says nothing of how long its like take.
  Learn(result);
  const bool failed = error || result.outcome == Outcome::kTimeout;
  const bool again =
      options_.retries > 0 && (open == nullptr || open->past->failures < options_.retries);
  const bool elsewhere =
      current && worker != nullptr && !again && error && MayBeItsHosts(*worker, *open);
  if (failed && (again || elsewhere)) {
    Retry(now, worker, result, tasks_.OpenUp(result.task));
    if (worker != nullptr) uncommitted_.Find(attempt)->worker = worker->ref();
    return;
  }
  const uint64_t attempts = open == nullptr ? 1 : std::max<uint64_t>(open->attempts, 1);
  Finish(std::move(result), worker == nullptr ? std::nullopt : std::optional(worker->ref()),
         attempts, std::move(pushed));
}

// What runs there leaks, perhaps.
void RunCore::CountEnded(Worker& worker, uint64_t tasks) {
  Lane& l = lane(worker);
  l.ended += tasks;
  if (TasksLeftTo(worker) > 0 || !worker.stays()) return;
  fleet_.LetGo(worker, fmt::format("it has run {} tasks", l.ended));
}

uint64_t RunCore::TasksLeftTo(const Worker& worker) const {
  const Lane& l = lane(worker);
  const uint64_t most = l.pool ? options_.pools[*l.pool].tasks_of_worker : 0;
  return most == 0 ? UINT64_MAX : most - std::min(most, l.ended);
}

// What a task there may have that asks for none.
uint64_t RunCore::MemoryLimitOf(TaskId task, const Worker* worker) const {
  if (worker != nullptr) return worker->has.memory_of_task;
  const auto& homes = classes_[tasks_.ClassOf(task)].homes;
  return homes.empty() ? 0 : options_.pools[homes[0]].capacity.memory_of_task;
}

// It failed by itself and is tried again, after 1, 2, 4, … s, at most a minute.
void RunCore::Retry(Time now, const Worker* worker, TaskResult& result, Work& open) {
  const Time delay = std::chrono::seconds(1ull << std::min<uint32_t>(open.past->failures, 6));
  ++open.past.Edit().failures;
  open.past.Edit().over = std::max(open.past->over, result.attempt);
  const uint64_t number = open.out() ? workers_[open.out()->worker].number : 0;
  uncommitted_.Add({result.task, result.attempt}, std::nullopt, now_);
  const std::string reason = fmt::format(
      "{}: {}", result.outcome == Outcome::kTimeout ? "timeout" : "error", result.details->error);
  Record(FailureRecord{{result.task, result.attempt}, number, FailureKind::kRetried, reason});
  const Time when = now + std::min<Time>(delay, std::chrono::minutes(1));
  if (worker != nullptr) open.past.Edit().failed_on.push_back(worker->ref());
  // By then it may go where it failed, too (Dispatcher::MayTryHere).
  wake_.emplace(when + kPatience, result.task);
  TryAgain(when, result.attempt, open);
}

// The attempt is over, and another will follow.
void RunCore::TryAgain(Time when, AttemptId attempt, Work& open) {
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
void RunCore::OnSlotCrash(TaskResult& result, Work& open) {
  const auto by = open.out() ? std::optional(workers_[open.out()->worker].ref()) : std::nullopt;
  Work::Past& past = open.past.Edit();
  // As the worker's books count it when it is taken from them.
  if (by && past.charged.empty()) ++lanes_[by->index].charged;
  past.charged.push_back(result.attempt);
  if (by) past.failed_on.push_back(*by);
  past.over = std::max(past.over, result.attempt);
  if (past.charged.size() >= options_.crash_limit) {
    std::string& error = result.details.Edit().error;
    error = fmt::format("{} (charged {} times)", error, past.charged.size());
    return Finish(std::move(result), by, std::max<uint64_t>(open.attempts, 1));
  }
  uncommitted_.Add({result.task, result.attempt}, std::nullopt, now_);
  Record(FailureRecord{result.first(), by ? by->number : 0, FailureKind::kSlotCrashed,
                       result.details->error});
  TryAgain({}, result.attempt, open);
}

void RunCore::OnSpooled(Time now, Results results) {
  if (finished_ || results.run != options_.text.run) return;
  for (TaskResult& result : results.results) OnResult(now, nullptr, result);
}

void RunCore::OnOutput(Worker& worker, Output& output) {
  for (OutputPart& part : output.parts) {
    const Work* open = tasks_.Find(part.task);
    if (open == nullptr || !open->IsOut({part.task, part.attempt}, worker.index)) continue;
    Record(OutputRecord{std::move(part)});
  }
}

void RunCore::OnReturned(Worker& worker, const ReturnedAttempt& returned) {
  if (lane(worker).stale.erase(returned.attempt) > 0) {
    MarkDirty(worker);
    return;
  }
  if (Rejected(worker, {returned.task, returned.attempt})) return;
  Work* open = tasks_.Find(returned.task);
  if (open == nullptr || !open->IsOut({returned.task, returned.attempt}, worker.index)) {
    ++counts_.dropped;
    return;
  }
  if (returned.reason == ReturnReason::kToldToGo && EndsAtWall(worker, *open)) return;
  if (open->attempts > 0) --open->attempts;
  Release(returned.task, *open);
}

void RunCore::OnForgotten(const Worker& worker) {
  Lane& l = lane(worker);
  CQ_ASSERT(l.held.empty() && l.busy == 0 && l.idle_slots == 0,
            "worker {} is forgotten and holds {} tasks", worker.number, l.held.size());
  spent_.earlier += l.ledger;
  l = {};
}

void RunCore::OnHello(Worker& worker, const Hello& hello) {
  if (lanes_.size() <= worker.index) lanes_.resize(worker.index + 1);
  Admit(worker);
  lane(worker).problem = hello.problem;
  if (!hello.problem.empty()) OnIdle(worker, "takes no task: " + hello.problem);
  CountCommitted(worker);
  CountBusy(worker);
  Reconcile(worker, hello.held);
  AcquitOfMemory(worker);
  // The fleet tells it.
  if (!lane(worker).pool) {
    worker.let_go = fmt::format("its pool '{}' is none of this run any more", worker.pool);
  }
  all_dirty_ = true;
}

// Our books against what the worker says it holds. Only what was sent under an older session is
// compared: the hello may have been written before what this session brought.
void RunCore::Reconcile(Worker& worker, const std::vector<Held>& held) {
  std::set<AttemptId> has;
  for (const Held& h : held) {
    if (h.run == options_.text.run) has.insert(h.attempt);
  }
  for (Work* span : lane(worker).held.All()) {
    if (span->out()->retracting) {
      // The request may be lost with the old session; if not, its answer still is in time.
      span->out()->retracting = false;
      lane(worker).retracting -= span->count;
    }
    if (span->out()->session >= worker.session) continue;
    for (Work* open : tasks_.TakeApart(*span)) {
      if (has.contains(open->attempt)) {
        open->out()->session = worker.session;
      } else {
        --open->attempts;
        Release(open->task, *open);
      }
    }
  }
  lane(worker).stale.clear();
  std::vector<AttemptRef> cancel;
  for (const Held& h : held) ReconcileHeld(worker, h, cancel);
  for (size_t at = 0; at < cancel.size(); at += kBatchMax) {
    const size_t end = std::min(cancel.size(), at + kBatchMax);
    SendTo(worker, Cancel{options_.text.run,
                          {cancel.begin() + static_cast<ptrdiff_t>(at),
                           cancel.begin() + static_cast<ptrdiff_t>(end)}});
  }
}

void RunCore::ReconcileHeld(Worker& worker, const Held& held, std::vector<AttemptRef>& cancel) {
  const bool ours = held.run == options_.text.run && tasks_.Exists(held.task) &&
                    Plausible(held.task, held.attempt);
  const bool finished = held.state == HeldState::kFinished;
  if (ours && beyond_.Contains(held.task)) return;
  if (!ours || tasks_.Done(held.task)) {
    // A finished one is judged, and acknowledged, when its result comes.
    if (!finished || !ours) cancel.push_back({held.task, held.attempt});
    return;
  }
  Work* open = tasks_.Find(held.task);
  // Its end has come by another way (a file), and overtook this hello.
  if (open != nullptr && held.attempt <= open->past->over) {
    if (!finished) cancel.push_back({held.task, held.attempt});
    return;
  }
  const bool running = held.state == HeldState::kRunning;
  const AttemptRef ref{held.task, held.attempt};
  // Its slot is told with its start; until then it has one of its own.
  const Work::Out::Run somewhere{
      UINT32_MAX - static_cast<uint32_t>(lane(worker).held.size()), held.task, {}};
  if (open != nullptr && open->IsOut(ref, worker.index)) {
    if (running && !open->runs()) Runs(worker, *open, somewhere);
    return;
  }
  // Nobody gave up on it: it counts, however it ends.
  const bool idle = open == nullptr || !open->out();
  if (finished && !(idle && (open == nullptr || held.attempt > open->past->given_up))) return;
  if (idle) {
    if (open != nullptr) TakeBackCharge(worker, ref, *open);
    if (open != nullptr && open->past->suspect == held.attempt) open->past.Edit().suspect = 0;
    Work& adopted = tasks_.Assign({held.task, held.attempt}, worker.index, worker.session);
    adopted.attempts = std::max<uint32_t>(adopted.attempts, 1);
    Hold(worker, adopted);
    if (running) Runs(worker, adopted, somewhere);
    return;
  }
  if (!running) {
    cancel.push_back(ref);
    return;
  }
  // It was given up and went to another: both run on, and the first `ok` wins.
  lane(worker).stale.insert(held.attempt);
  stale_[held.task].emplace_back(held.attempt, worker.ref());
}

}  // namespace cq
