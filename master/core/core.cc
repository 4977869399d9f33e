#include "master/core/core.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/assert.h"
#include "master/core/dispatch.h"
#include "protocol/limits.h"

namespace cq {

namespace {
/// How long a worker whose job has ended, says its scheduler, has to show that it lives.
constexpr Time kAnswerWithin = std::chrono::seconds(3);
/// So many acknowledgements for a worker wait for no others.
constexpr size_t kAcksAtOnce = 256;
}  // namespace

Core::Core(CoreOptions options, Recovered recovered)
    : options_(std::move(options)),
      tasks_(options_.tasks, std::move(recovered.closed), recovered.closed_count) {
  Recover(recovered);
}

void Core::Recover(Recovered& recovered) {
  tasks_.set_order(std::move(options_.order));
  counts_.outcomes = recovered.outcomes;
  uint64_t done = 0;
  for (const uint64_t count : recovered.outcomes) done += count;
  left_out_ = recovered.closed_count - done;
  counts_.tasks = options_.tasks - left_out_;
  beyond_ = std::move(recovered.beyond);
  resets_ = std::move(recovered.resets);
  tasks_.set_mark(recovered.mark);
  mark_asked_ = recovered.mark;
  for (const TriedTask& tried : recovered.tried) {
    Work& open = tasks_.OpenUp(tried.task);
    open.attempts = tried.attempts;
    Work::Past& past = open.past.Edit();
    past.charged = tried.charged;
    past.failures = tried.failures;
    past.given_up = tried.given_up;
    past.over = tried.over;
  }
  for (const TaskId task : recovered.held_back) tasks_.HoldBack(task);
  for (const KnownWorker& known : recovered.workers) {
    Worker& worker = workers_.Recover(known.id, known.number);
    workers_.SetHost(worker, known.host);
    worker.allocation = known.allocation;
    worker.watched = known.watched;
    worker.awaited = true;
    ++awaiting_;
  }
  workers_.set_last_number(recovered.last_worker);
  if (awaiting_ > 0) {
    tasks_.Withhold(recovered.mark);
  } else {
    Admit();
  }
}

// Everything may go out now, but what an earlier master was about to set aside.
void Core::Admit() {
  tasks_.Admit();
  for (Work* open : tasks_.Open()) {
    if (!open->ready() || open->past->charged.size() < options_.crash_limit) continue;
    if (MayBeExplained(*open)) {
      tasks_.SuspendReady(open->task);
    } else {
      SetAside(open->task, *open, std::nullopt, "before its master was resumed");
    }
  }
  all_dirty_ = true;
}

void Core::EndAwaiting(Worker& worker) {
  if (!worker.awaited) return;
  CQ_ASSERT(awaiting_ > 0, "worker {} was awaited, and nobody is", worker.number);
  worker.awaited = false;
  if (--awaiting_ > 0) return;
  Admit();
}

// Tasks go out only below a mark that is durable, so that a later master knows which may be
// running somewhere.
void Core::AskForMark() {
  // Where more may be added, so may their mark be there before them.
  const TaskId last = options_.open ? std::numeric_limits<TaskId>::max() : tasks_.last();
  if (finished_ || mark_asked_ >= last) return;
  if (tasks_.ordered()) {
    mark_asked_ = last;
    Record(MarkRecord{mark_asked_});
    return;
  }
  if (tasks_.next_fresh() + options_.mark_stride / 2 <= mark_asked_) return;
  mark_asked_ = std::min(last, tasks_.next_fresh() + options_.mark_stride);
  Record(MarkRecord{mark_asked_});
}

const Counts& Core::counts() {
  counts_.done = tasks_.done_count() - left_out_;
  counts_.awaited = awaiting_;
  counts_.out = tasks_.out();
  counts_.workers = workers_.live();
  counts_.running = 0;
  for (const Worker& worker : workers_.all()) {
    counts_.running += std::min<uint64_t>(worker.slots, worker.held.size());
  }
  return counts_;
}

bool Core::HasSession(const std::string& allocation) const {
  for (const Worker& worker : workers_.all()) {
    if (worker.allocation == allocation) return true;
  }
  return false;
}

std::string Core::CommonProblem() const {
  std::string problem;
  for (const Worker& worker : workers_.all()) {
    if (!worker.connected || worker.ended) continue;
    if (worker.problem.empty()) return {};
    if (problem.empty()) problem = worker.problem;
  }
  return problem;
}

std::chrono::nanoseconds Core::mean_task_time() const { return mean_; }

Ledger Core::ledger() const {
  const auto us = [](Time time) { return static_cast<uint64_t>(time.count() / 1000); };
  Ledger sum;
  for (const Worker& worker : workers_.all()) {
    sum.tasks += worker.ledger.tasks;
    sum.idle_us += worker.ledger.idle_us;
    sum.queue_us += worker.ledger.queue_us;
    sum.spawn_us += worker.ledger.spawn_us;
    sum.run_us += worker.ledger.run_us;
  }
  const uint64_t there = sum.queue_us + sum.spawn_us + sum.run_us;
  sum.wire_us = us(turnaround_) - std::min(us(turnaround_), there);
  sum.record_us = us(recording_);
  return sum;
}

std::vector<Action> Core::TakeActions() { return std::exchange(actions_, {}); }

void Core::OnMessage(Time now, ConnectionId from, Envelope envelope, FromWorker message) {
  now_ = now;
  if (finished_) return;
  if (auto* hello = std::get_if<Hello>(&message)) {
    OnHello(now, from, envelope, *hello);
    return;
  }
  Peer* peer = workers_.FindPeer(from);
  if (peer == nullptr || peer->session == 0) {
    Offer(now, from);
    return;
  }
  // What was sent before the worker saw our `who` is in the hello that it answers with, or sent
  // again after it.
  if (envelope.session != peer->session) return;
  Worker& worker = workers_[peer->worker];
  worker.last_heard = now;
  const bool gap = envelope.sequence > worker.received + 1;
  worker.received = std::max(worker.received, envelope.sequence);
  OnReport(now, worker, message);
  // The offer may be lost like anything else: it is repeated until a hello answers it.
  peer = workers_.FindPeer(from);
  const bool unanswered = peer != nullptr && peer->offered != 0 && now - peer->offered_at >= tick();
  if (gap || unanswered) Offer(now, from);
}

void Core::OnUnreachable(Time, ConnectionId connection) {
  Peer* peer = workers_.FindPeer(connection);
  if (peer == nullptr) return;
  if (peer->session != 0) workers_[peer->worker].connected = false;
  workers_.peers().erase(connection);
}

// A scheduler may be wrong (it lost sight of a node): a worker that answers is alive whatever it
// says. One whose process was seen to end cannot answer.
void Core::OnJobEnded(Time now, Worker& worker, const std::string& reason, bool explained) {
  if (worker.connected && options_.explained_late) {
    worker.job_end = {now + kAnswerWithin, reason, explained};
    Offer(now, worker.connection);
    return;
  }
  Lose(now, worker, {reason, explained ? Blame::kNobody : Blame::kFinal, {}});
}

void Core::OnAllocationEnded(Time now, const std::string& allocation, const std::string& reason,
                             bool explained) {
  for (Worker& worker : workers_.all()) {
    if (worker.allocation != allocation) continue;
    if (worker.ended) {
      SettleAll(now, worker.index, explained);
    } else {
      OnJobEnded(now, worker, reason, explained);
    }
  }
}

void Core::OnAdded(uint64_t tasks) {
  CQ_ASSERT(options_.open, "{} tasks are added to a run that is closed", tasks);
  tasks_.Add(tasks);
  counts_.tasks += tasks;
  all_dirty_ = true;
}

void Core::OnWanted(Time now, TaskId task) {
  Work* open = tasks_.Find(task);
  // A worker of an earlier master may have finished it.
  if (open == nullptr || !std::exchange(open->past.Edit().held_back, false)) return;
  if (MayWake(now, *open)) tasks_.Wake(task);
  all_dirty_ = true;
}

void Core::OnCancelled(const std::vector<TaskId>& tasks) {
  if (finished_) return;
  for (const TaskId task : tasks) {
    if (!tasks_.Exists(task) || tasks_.Done(task)) continue;
    const Work* open = tasks_.Find(task);
    TaskResult result;
    result.task = task;
    // Of an attempt that never ran: what is out becomes a second one, and is ended.
    result.attempt = MakeSerial(options_.epoch, next_attempt_++);
    result.outcome = Outcome::kCancelled;
    result.details.Edit().error = "cancelled";
    Finish(std::move(result), std::nullopt, open == nullptr ? 0 : open->attempts);
  }
}

void Core::OnDrain(Time, const std::string& reason) {
  if (draining_ || finished_) return;
  draining_ = true;
  drain_reason_ = reason;
  for (Worker& worker : workers_.all()) {
    if (worker.connected) SendTo(worker, Drain{reason});
    worker.leaving = true;
  }
}

void Core::OnStop(Time, const std::string& reason) {
  if (finished_) return;
  finished_ = true;
  if (turnaround_ > Time{}) Record(LedgerRecord{options_.epoch, ledger()});
  for (const Worker& worker : workers_.all()) {
    if (worker.connected) SendTo(worker, Stop{reason});
    if (worker.ended) continue;
    Record(WorkerEndRecord{worker.number, reason});
  }
  actions_.emplace_back(Finished{});
}

void Core::OnTick(Time now) {
  now_ = now;
  // Time in which the master did not run (Ctrl-Z, a sleeping laptop) is nobody's silence.
  const Time gap = now - last_tick_;
  if (last_tick_ != Time{} && gap > 2 * tick()) {
    for (Worker& worker : workers_.all()) worker.last_heard += gap - tick();
    started_ += gap - tick();
  }
  if (last_tick_ == Time{}) started_ = now;
  last_tick_ = now;

  while (!provisional_.empty() && provisional_.front().until <= now) {
    const Provisional charge = std::move(provisional_.front());
    provisional_.pop_front();
    Settle(now, charge, false);
  }
  WakeDue(now);
  // Looks at every worker, of which there may be thousands.
  if (now - last_sweep_ >= tick() / 4) {
    last_sweep_ = now;
    // Who may take them may have changed, and not all of them may have been looked at.
    if (tasks_.choosy() > 0) {
      all_dirty_ = true;
      thorough_ = true;
    }
    CheckLeases(now);
    std::erase_if(workers_.peers(), [&](const auto& entry) {
      return entry.second.session == 0 && now - entry.second.offered_at > options_.lease;
    });
  }
  if (now - last_heartbeat_ < options_.lease / 3) return;
  last_heartbeat_ = now;
  if (turnaround_ > Time{}) Record(LedgerRecord{options_.epoch, ledger()});
  for (const Worker& worker : workers_.all()) {
    if (worker.connected) SendTo(worker, MasterHeartbeat{worker.received});
  }
}

void Core::WakeDue(Time now) {
  while (!wake_.empty() && wake_.begin()->first <= now) {
    const TaskId task = wake_.begin()->second;
    wake_.erase(wake_.begin());
    const Work* open = tasks_.Find(task);
    if (open == nullptr) continue;
    if (MayWake(now, *open)) tasks_.Wake(task);
    // One that is ready has waited long enough for another worker.
    if (open->ready()) all_dirty_ = true;
  }
}

// At the limit it waits for what its scheduler says.
bool Core::MayBeExplained(const Work& open) const {
  return open.past->charged.size() >= options_.crash_limit && open.past->provisional > 0;
}

bool Core::MayWake(Time now, const Work& open) const {
  return open.waiting() && open.past->not_before <= now && !MayBeExplained(open);
}

void Core::Flush(Time now) {
  now_ = now;
  FinishRefused();
  FlushAcks(now);
  AskForMark();
  tasks_.set_thorough(std::exchange(thorough_, false));
  Dispatcher dispatcher(*this);
  dispatcher.Give();
  dispatcher.Retract();
  FinishIfDone();
}

void Core::FinishIfDone() {
  const bool all = (tasks_.AllDone() && !options_.open) || (draining_ && tasks_.out() == 0);
  if (finished_ || !all || !uncommitted_.empty()) return;
  OnStop({}, draining_ ? drain_reason_ : "the run is finished");
}

// ---- workers ----

void Core::SendTo(const Worker& worker, ToWorker message) {
  actions_.emplace_back(Send{worker.connection, worker.session, std::move(message)});
}

void Core::Disconnect(Worker& worker) {
  if (!worker.connected) return;
  worker.connected = false;
  workers_.peers().erase(worker.connection);
}

// ---- tasks ----

// Enters the attempt that is out into its worker's books.
void Core::Hold(Worker& worker, Work& open) {
  CQ_ASSERT(open.out() && open.out()->worker == worker.index,
            "worker {} is to hold task {}, which is not out with it", worker.number, open.task);
  worker.held.Add(open);
  if (open.past->suspect != 0) ++worker.suspects;
  if (!open.past->charged.empty()) ++worker.charged;
  if (open.group != kNoGroup) ++worker.held_of_group[open.group];
}

// Takes the attempt that is out away from the worker's books.
void Core::Detach(Work& open) {
  CQ_ASSERT(open.out(), "task {} is taken from a worker and is not out", open.task);
  Work::Out& out = *open.out();
  Worker& worker = workers_[out.worker];
  worker.held.Remove(open);
  if (open.group != kNoGroup) {
    const auto count = worker.held_of_group.find(open.group);
    CQ_ASSERT(count != worker.held_of_group.end(),
              "worker {} holds nothing of group {}, and task {} is of it", worker.number,
              open.group, open.task);
    if (--count->second == 0) worker.held_of_group.erase(count);
  }
  CQ_ASSERT(worker.running >= (out.run ? 1 : 0), "worker {} runs nothing, and task {} there",
            worker.number, open.task);
  CQ_ASSERT(worker.charged >= (open.past->charged.empty() ? 0 : 1),
            "worker {} holds nothing that was charged, and task {} was", worker.number, open.task);
  if (out.run) --worker.running;
  if (out.retracting) worker.retracting -= open.count;
  if (!open.past->charged.empty()) --worker.charged;
  if (open.past->suspect != 0) --worker.suspects;
  out.run.reset();
  out.retracting = false;
  MarkDirty(worker);
}

void Core::GiveUp(Work& open) {
  Work::Past& past = open.past.Edit();
  past.earlier.emplace_back(open.attempt, open.out()->worker);
  past.given_up = open.attempt;
  Detach(open);
}

void Core::Release(TaskId task, Work& open) {
  GiveUp(open);
  if (MayBeExplained(open)) {
    tasks_.Suspend(task);
    return;
  }
  tasks_.Requeue(task);
  all_dirty_ = true;
}

void Core::ReleaseAt(Time when, TaskId task, Work& open) {
  if (when == Time{}) {
    Release(task, open);
    return;
  }
  GiveUp(open);
  open.past.Edit().not_before = when;
  tasks_.Suspend(task);
  wake_.emplace(when, task);
}

void Core::Finish(TaskResult&& result, std::optional<WorkerIndex> worker, uint64_t attempts) {
  const TaskId task = result.task;
  const uint64_t count = result.count;
  CQ_ASSERT(result.attempt != 0, "task {} ends without an attempt", task);
  result.unstartable = false;
  Work* open = tasks_.Isolate(task, count);
  if (open != nullptr && open->out()) {
    const bool other = open->attempt != result.attempt;
    if (other) stale_[task].emplace_back(open->attempt, open->out()->worker);
    if (other) workers_[open->out()->worker].stale.insert(open->attempt);
    Detach(*open);
  }
  tasks_.Finish(task, count);
  // Of several that are out together there was no other attempt.
  CancelOthers(task, result.attempt);
  refused_.erase(task);
  AwaitCommit(result, worker);
  counts_.outcomes[static_cast<size_t>(result.outcome)] += count;
  const bool failed = result.outcome != Outcome::kOk && result.outcome != Outcome::kCancelled;
  Record(ResultRecord{std::move(result), attempts, worker ? workers_[*worker].number : 0});
  if (failed && ++failed_ == options_.max_failures) {
    OnDrain({}, fmt::format("{} tasks failed (--max-failures)", failed_));
  }
}

// Whatever other attempts at a finished task may still run somewhere are ended.
void Core::CancelOthers(TaskId task, AttemptId attempt) {
  const auto found = stale_.find(task);
  if (found == stale_.end()) return;
  for (const auto& [other, index] : found->second) {
    const Worker& worker = workers_[index];
    if (other == attempt || !worker.connected || !worker.stale.contains(other)) continue;
    SendTo(worker, Cancel{options_.text.run, {{task, other}}});
  }
  stale_.erase(found);
}

bool Core::GivenOut(TaskId task, AttemptId attempt) const {
  const Epoch epoch = EpochOf(attempt);
  return tasks_.Exists(task) && epoch >= 1 &&
         (epoch < options_.epoch ||
          (epoch == options_.epoch && attempt < MakeSerial(options_.epoch, next_attempt_)));
}

bool Core::Plausible(TaskId task, AttemptId attempt) const {
  const Epoch epoch = EpochOf(attempt);
  auto reset = std::upper_bound(resets_.begin(), resets_.end(), task,
                                [](TaskId t, const Reset& r) { return t < r.first; });
  if (reset != resets_.begin() && task <= (--reset)->last && epoch < reset->epoch) return false;
  return GivenOut(task, attempt);
}

// ---- acknowledgement ----

void Core::OnCommitted(Time now, const Committed& committed) {
  for (const AttemptSpan& attempts : committed.attempts) {
    const auto found = uncommitted_.find(attempts.attempt + attempts.count - 1);
    if (found == uncommitted_.end() || found->second.attempts != attempts) continue;
    if (found->second.worker) Acknowledge(&workers_[*found->second.worker], attempts);
    recording_ += (now - found->second.since) * static_cast<int64_t>(attempts.count);
    uncommitted_tasks_ -= attempts.count;
    uncommitted_.erase(found);
  }
  for (const uint64_t number : committed.workers) {
    Worker* worker = workers_.WithNumber(number);
    if (worker == nullptr || worker->unrecorded == 0) continue;
    if (--worker->unrecorded > 0) continue;
    if (worker->connected) Greet(*worker);
    MarkDirty(*worker);
  }
  if (committed.mark > tasks_.mark()) {
    tasks_.set_mark(committed.mark);
    all_dirty_ = true;
  }
}

// A report of these is on its way into the journal.
void Core::AwaitCommit(const AttemptSpan& attempts, std::optional<WorkerIndex> worker) {
  CQ_ASSERT(attempts.count >= 1 && attempts.task >= 1, "{} reports of task {} are written",
            attempts.count, attempts.task);
  const AttemptId last = attempts.attempt + attempts.count - 1;
  // An attempt that ended twice (cancelled here, and there by itself) is still one.
  if (const auto found = uncommitted_.find(last); found != uncommitted_.end()) {
    uncommitted_tasks_ -= found->second.attempts.count;
  }
  uncommitted_[last] = {attempts, worker, now_};
  uncommitted_tasks_ += attempts.count;
}

Core::Uncommitted* Core::FindUncommitted(AttemptId attempt) {
  const auto found = uncommitted_.lower_bound(attempt);
  if (found == uncommitted_.end() || found->first - attempt >= found->second.attempts.count) {
    return nullptr;
  }
  return &found->second;
}

bool Core::IsAwaited(AttemptRef ref) const {
  const auto found = uncommitted_.lower_bound(ref.attempt);
  if (found == uncommitted_.end()) return false;
  const AttemptSpan& span = found->second.attempts;
  const uint64_t at = ref.attempt - span.attempt;
  return at < span.count && span.task + at == ref.task;
}

void Core::Acknowledge(Worker* worker, const AttemptSpan& attempts) {
  if (worker == nullptr) return;
  if (worker->acks.empty()) acknowledged_.push_back(worker->index);
  worker->acks.push_back(attempts);
  worker->acked += attempts.count;
  // One that is about to leave waits for its last.
  const bool enough = worker->acked >= kAcksAtOnce && worker->acked - attempts.count < kAcksAtOnce;
  if (enough || worker->leaving) acknowledged_enough_.push_back(worker->index);
}

void Core::FlushAcks(Time now) {
  const bool all = now - acknowledged_at_ >= options_.gather_acks;
  for (const WorkerIndex index : std::exchange(acknowledged_enough_, {})) SendAcks(workers_[index]);
  if (!all) return;
  acknowledged_at_ = now;
  for (const WorkerIndex index : std::exchange(acknowledged_, {})) SendAcks(workers_[index]);
}

void Core::SendAcks(Worker& worker) {
  const auto attempts = std::exchange(worker.acks, {});
  worker.acked = 0;
  if (!worker.connected) return;
  Ack ack{options_.text.run, {}};
  uint64_t tasks = 0;
  const auto send = [&] {
    if (!ack.attempts.empty()) SendTo(worker, std::exchange(ack, {options_.text.run, {}}));
    tasks = 0;
  };
  for (const AttemptSpan& span : attempts) {
    if (ack.attempts.size() == kBatchMax || tasks + span.count > kHeldMax) send();
    ack.attempts.push_back(span);
    tasks += span.count;
  }
  send();
}

void Core::MarkDirty(Worker& worker) {
  if (!std::exchange(worker.dirty, true)) dirty_.push_back(worker.index);
}

}  // namespace cq
