// A run's tasks: which go out, wait, and end.
#include "master/core/run_core.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/assert.h"
#include "master/core/dispatch.h"
#include "master/core/grower.h"
#include "master/core/halts.h"
#include "master/core/reserver.h"

namespace cq {

RunCore::RunCore(CoreOptions options, Recovered recovered, Fleet& fleet, Outbox& out)
    : options_(std::move(options)),
      fleet_(fleet),
      workers_(fleet.workers()),
      out_(out),
      tasks_(options_.tasks, std::move(recovered.closed), recovered.closed_count),
      classes_(options_.pools, options_.escalation),
      lanes_(workers_.all().size()),
      asker_(options_.proposer, options_.ask_ahead) {
  Recover(recovered);
}

void RunCore::Recover(Recovered& recovered) {
  classes_.Open(std::move(options_.requests.classes));
  const bool may_grow = classes_.MayGrow() || options_.requests.vary;
  longest_.resize(options_.pools.size());
  tasks_.set_classes(std::move(options_.requests.of), classes_.size(), may_grow);
  tasks_.set_order(std::move(options_.order));
  counts_.outcomes = recovered.outcomes;
  uint64_t done = 0;
  for (const uint64_t count : recovered.outcomes) done += count;
  left_out_ = recovered.closed_count - done;
  counts_.beyond = recovered.pushed_beyond;
  grows_ = counts_.beyond > 0 || options_.proposer != Asker::Kind::kNone;
  counts_.tasks = options_.tasks - left_out_;
  beyond_ = std::move(recovered.beyond);
  resets_ = std::move(recovered.resets);
  tasks_.set_mark(recovered.mark);
  mark_asked_ = recovered.mark;
  Grower(*this).Recover(recovered.pushed);
  for (const TriedTask& tried : recovered.tried) Recover(tried);
  for (TriedTask& tried : recovered.dormant) {
    const TaskId task = tried.task;
    dormant_.emplace(task, std::move(tried));
  }
  for (const RaisedRecord& raised : recovered.raised) Recover(raised);
  for (const TaskId task : recovered.held_back) tasks_.HoldBack(task);
  if (fleet_.awaiting() > 0) {
    tasks_.Withhold(recovered.mark);
  } else {
    Admit();
  }
}

void RunCore::Recover(const TriedTask& tried) {
  Work& open = tasks_.OpenUp(tried.task);
  open.attempts = tried.attempts;
  Work::Past& past = open.past.Edit();
  past.charged = tried.charged;
  past.failures = tried.failures;
  past.given_up = tried.given_up;
  past.over = tried.over;
}

// Everything may go out now, but what an earlier master was about to set aside.
void RunCore::Admit() {
  tasks_.Admit();
  for (Work* open : tasks_.Open()) SetAsideIfDue(*open);
  all_dirty_ = true;
}

void RunCore::SetAsideIfDue(Work& open) {
  if (!open.ready() || open.past->charged.size() < options_.crash_limit) return;
  if (MayBeExplained(open)) {
    tasks_.SuspendReady(open.task);
  } else {
    SetAside(open.task, open, std::nullopt, "before its master was resumed");
  }
}

// Tasks go out only below a mark that is durable, so that a later master knows which may be
// running somewhere.
void RunCore::AskForMark() {
  // Where more may be added, so may their mark be there before them.
  const bool more = options_.open || grows_ || tasks_.ordered();
  // As far as the journal counts.
  const TaskId last = more ? std::numeric_limits<int64_t>::max() : tasks_.last();
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

const Counts& RunCore::counts() {
  counts_.done = tasks_.done_count() - left_out_;
  counts_.awaited = fleet_.awaiting();
  counts_.out = tasks_.out();
  counts_.workers = workers_.here();
  counts_.running = busy_;
  return counts_;
}

// After what a worker holds, or its slots, changed.
void RunCore::CountBusy(const Worker& worker) {
  Lane& l = lane(worker);
  if (!l.held.empty()) {
    l.empty_since.reset();
  } else if (!l.empty_since) {
    l.empty_since = now_;
  }
  CountVacant();
  busy_ -= l.busy;
  idle_ -= l.idle_slots;
  const uint64_t places = PlacesOf(worker);
  l.busy = std::min<uint64_t>(places, l.held.size());
  l.idle_slots = places - l.busy;
  busy_ += l.busy;
  idle_ += l.idle_slots;
}

// Up to now, before the number of idle slots changes.
void RunCore::CountVacant() {
  spent_.vacant += static_cast<int64_t>(idle_) * (now_ - spent_.vacant_until);
  spent_.vacant_until = now_;
}

std::vector<std::string> RunCore::Idle(Time now, Time time) const {
  std::vector<std::string> idle;
  // Rows may come at any moment.
  if (adding_ > 0 || asker_.owes()) return idle;
  for (const Worker& worker : workers_.all()) {
    const auto& since = lane(worker).empty_since;
    const bool nothing = since && lane(worker).stale.empty() && now - *since >= time;
    if (worker.here() && worker.stays() && nothing) idle.push_back(worker.allocation);
  }
  return idle;
}

std::vector<std::string> RunCore::Emptiest() const {
  std::vector<const Worker*> workers;
  for (const Worker& worker : workers_.all()) {
    if (worker.here() && worker.stays()) workers.push_back(&worker);
  }
  std::stable_sort(workers.begin(), workers.end(),
                   [this](const Worker* a, const Worker* b) { return HasLessToDo(*a, *b); });
  std::vector<std::string> allocations;
  allocations.reserve(workers.size());
  for (const Worker* worker : workers) allocations.push_back(worker->allocation);
  return allocations;
}

bool RunCore::HasLessToDo(const Worker& a, const Worker& b) const {
  return std::pair(lane(a).running, lane(a).held.size()) <
         std::pair(lane(b).running, lane(b).held.size());
}

std::string RunCore::CommonProblem() const {
  std::string problem;
  for (const Worker& worker : workers_.all()) {
    if (!worker.here()) continue;
    if (lane(worker).problem.empty()) return NobodySuits();
    if (problem.empty()) problem = lane(worker).problem;
  }
  return problem;
}

Ledger RunCore::ledger() const {
  const auto us = [](Time time) { return static_cast<uint64_t>(time.count() / 1000); };
  SlotLedger slots = spent_.earlier;
  for (const Lane& lane : lanes_) slots += lane.ledger;
  Ledger sum;
  sum.tasks = slots.tasks;
  sum.idle_us = slots.idle_us;
  sum.queue_us = slots.queue_us;
  sum.spawn_us = slots.spawn_us;
  sum.run_us = slots.run_us;
  const uint64_t there = sum.queue_us + sum.spawn_us + sum.run_us;
  sum.wire_us = us(spent_.turnaround) - std::min(us(spent_.turnaround), there);
  sum.record_us = us(spent_.recording);
  sum.vacant_us = us(spent_.vacant + static_cast<int64_t>(idle_) * (now_ - spent_.vacant_until));
  sum.cpu_us = spent_.cpu_us;
  sum.lost_us = us(spent_.lost);
  sum.peak_kb = spent_.peak_kb;
  return sum;
}

void RunCore::OnAdded(uint64_t tasks) {
  CQ_ASSERT(options_.open, "{} tasks are added to a run that is closed", tasks);
  tasks_.Add(tasks);
  counts_.tasks += tasks;
  all_dirty_ = true;
}

void RunCore::OnWanted(Time now, TaskId task) {
  Work* open = tasks_.Find(task);
  // A worker of an earlier master may have finished it.
  if (open == nullptr || !std::exchange(open->past.Edit().held_back, false)) return;
  if (MayWake(now, *open)) tasks_.Wake(task);
  all_dirty_ = true;
}

void RunCore::OnCancelled(const std::vector<TaskId>& tasks) {
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

void RunCore::OnLimit(const std::string& allocations, WorkerLimit limit) {
  limits_[allocations] = std::move(limit);
  LetGoBeyondLimits();
}

// Whoever has least to do goes first. What it has not started comes back at once.
void RunCore::LetGoBeyondLimits() {
  for (const auto& [allocations, limit] : limits_) {
    std::vector<Worker*> mine;
    uint64_t all = 0;
    for (Worker& worker : workers_.all()) {
      if (!worker.stays() || !worker.allocation.starts_with(allocations)) continue;
      ++all;
      if (!limit.spared.contains(worker.host)) mine.push_back(&worker);
    }
    if (all <= limit.workers) continue;
    std::stable_sort(mine.begin(), mine.end(),
                     [this](const Worker* a, const Worker* b) { return HasLessToDo(*a, *b); });
    mine.resize(std::min(mine.size(), all - limit.workers));
    for (Worker* worker : mine) fleet_.LetGo(*worker, "its slot is wanted by others");
  }
}

void RunCore::OnDrain(const std::string& reason) {
  if (drained_ || finished_) return;
  drained_ = reason;
  asker_.Close();
  fleet_.Drain(reason);
}

void RunCore::OnStop() {
  finished_ = true;
  RecordLedger();
}

void RunCore::RecordLedger() {
  if (spent_.turnaround > Time{}) Record(LedgerRecord{options_.epoch, ledger()});
}

void RunCore::OnTick(Time now) {
  now_ = now;
  while (!provisional_.empty() && provisional_.front().until <= now) {
    const Provisional charge = std::move(provisional_.front());
    provisional_.pop_front();
    Settle(now, charge, false);
  }
  WakeDue(now);
}

void RunCore::LookAgain() {
  tempo_.Note(now_, tasks_.done_count());
  LetGoBeyondLimits();
  EndLong();
  Reserver::Keep(*this);
  LetSpentGo();
  // Not all of them may have been looked at.
  if (tasks_.choosy() == 0 && !tasks_.several() && !KnowsEnds()) return;
  all_dirty_ = true;
  thorough_ = true;
}

void RunCore::WakeDue(Time now) {
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
bool RunCore::MayBeExplained(const Work& open) const {
  return open.past->charged.size() >= options_.crash_limit && open.past->provisional > 0;
}

bool RunCore::MayWake(Time now, const Work& open) const {
  return open.waiting() && open.past->not_before <= now && !MayBeExplained(open);
}

void RunCore::Flush(Time now) {
  now_ = now;
  FinishRefused();
  FlushAcks(now);
  AskForMark();
  const bool thorough = std::exchange(thorough_, false);
  tasks_.set_thorough(thorough);
  Dispatcher dispatcher(*this);
  dispatcher.Give();
  // What is ready may be nothing for those that idle: that is looked at now and then.
  const bool all_out = tasks_.ready() <= tasks_.choosy();
  if (all_out || (tasks_.several() && thorough)) dispatcher.Retract();
  if (thorough && KnowsEnds()) dispatcher.CountRunning();
  if (thorough && KnowsEnds()) dispatcher.RetractLate();
}

Asker::Need RunCore::NeedOfRows() const {
  constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
  Asker::Need need;
  need.open = tasks_.last() - tasks_.done_count();
  need.slots = std::max(busy_ + idle_, options_.expected_slots);
  need.room = options_.max_tasks == 0
                  ? kNoLimit
                  : options_.max_tasks - std::min(options_.max_tasks, counts_.tasks);
  return need;
}

std::optional<std::string> RunCore::End() const {
  const bool now = halted_ && halted_->now;
  const bool all = (tasks_.AllDone() && !options_.open) || (drained_ && (now || tasks_.out() == 0));
  if (!all || !uncommitted_.empty() || adding_ > 0) return std::nullopt;
  if (asker_.MaySpeak(NeedOfRows())) return std::nullopt;
  return drained_.value_or("the run is finished");
}

// Enters the attempt that is out into its worker's books.
void RunCore::Hold(Worker& worker, Work& open) {
  CQ_ASSERT(open.out() && open.out()->worker == worker.index,
            "worker {} is to hold task {}, which is not out with it", worker.number, open.task);
  lane(worker).held.Add(open);
  if (open.past->suspect != 0) ++lane(worker).suspects;
  if (!open.past->charged.empty()) ++lane(worker).charged;
  if (open.group != kNoGroup) ++lane(worker).held_of_group[open.group];
  Commit(worker, open);
  CountBusy(worker);
}

// Takes the attempt that is out away from the worker's books.
void RunCore::Detach(Work& open) {
  CQ_ASSERT(open.out(), "task {} is taken from a worker and is not out", open.task);
  Work::Out& out = *open.out();
  Worker& worker = workers_[out.worker];
  lane(worker).held.Remove(open);
  cut_.erase(open.attempt);
  if (open.group != kNoGroup) {
    const auto count = lane(worker).held_of_group.find(open.group);
    CQ_ASSERT(count != lane(worker).held_of_group.end(),
              "worker {} holds nothing of group {}, and task {} is of it", worker.number,
              open.group, open.task);
    if (--count->second == 0) lane(worker).held_of_group.erase(count);
  }
  if (tasks_.several()) {
    const auto count = lane(worker).held_of_class.find(out.of);
    CQ_ASSERT(count != lane(worker).held_of_class.end() && count->second >= open.count,
              "worker {} holds fewer than {} tasks of class {}", worker.number, open.count, out.of);
    if ((count->second -= open.count) == 0) lane(worker).held_of_class.erase(count);
    lane(worker).committed.Remove(worker.has.Share(classes_[out.of].request), open.count);
  }
  CQ_ASSERT(lane(worker).running >= (out.run ? 1 : 0), "worker {} runs nothing, and task {} there",
            worker.number, open.task);
  CQ_ASSERT(lane(worker).charged >= (open.past->charged.empty() ? 0 : 1),
            "worker {} holds nothing that was charged, and task {} was", worker.number, open.task);
  if (out.run) --lane(worker).running;
  if (out.retracting) lane(worker).retracting -= open.count;
  if (!open.past->charged.empty()) --lane(worker).charged;
  if (open.past->suspect != 0) --lane(worker).suspects;
  out.run.reset();
  out.retracting = false;
  CountBusy(worker);
  MarkDirty(worker);
}

void RunCore::GiveUp(Work& open) {
  Work::Past& past = open.past.Edit();
  past.earlier.emplace_back(open.attempt, workers_[open.out()->worker].id);
  past.given_up = open.attempt;
  Detach(open);
}

void RunCore::Release(TaskId task, Work& open) {
  GiveUp(open);
  if (MayBeExplained(open)) {
    tasks_.Suspend(task);
    return;
  }
  tasks_.Requeue(task);
  all_dirty_ = true;
}

void RunCore::ReleaseAt(Time when, TaskId task, Work& open) {
  if (when == Time{}) {
    Release(task, open);
    return;
  }
  GiveUp(open);
  open.past.Edit().not_before = when;
  tasks_.Suspend(task);
  wake_.emplace(when, task);
}

void RunCore::Finish(TaskResult&& result, std::optional<WorkerRef> worker, uint64_t attempts,
                     Pushed pushed) {
  const TaskId task = result.task;
  const uint64_t count = result.count;
  CQ_ASSERT(result.attempt != 0, "task {} ends without an attempt", task);
  result.unstartable = false;
  Work* open = tasks_.Isolate(task, count);
  if (open != nullptr && open->out()) {
    const bool other = open->attempt != result.attempt;
    if (other) stale_[task].emplace_back(open->attempt, workers_[open->out()->worker].ref());
    if (other) lane(workers_[open->out()->worker]).stale.insert(open->attempt);
    Detach(*open);
  }
  tasks_.Finish(task, count);
  // Of several that are out together there was no other attempt.
  CancelOthers(task, result.attempt);
  refused_.erase(task);
  uncommitted_.Add(result, worker, now_);
  uncommitted_.Find(result.attempt)->pushed = pushed.size();
  coming_ += pushed.size();
  counts_.outcomes[static_cast<size_t>(result.outcome)] += count;
  const bool failed = result.outcome != Outcome::kOk && result.outcome != Outcome::kCancelled;
  const bool told = asker_.Hears(result.outcome);
  if (told) asker_.OnEndings(count);
  Record(ResultRecord{std::move(result), attempts, worker ? worker->number : 0, std::move(pushed),
                      told});
  if (failed) ++failed_;
  HaltIfDue();
}

// Rows that are about to come are counted before they are there: a part of all of them is less. Of
// two rules the one that ends what runs comes first, and may follow the other.
void RunCore::HaltIfDue() {
  if (finished_ || options_.halts.empty() || (halted_ && halted_->now)) return;
  Counts counts = counts_;
  counts.tasks += coming_;
  const auto met = FindHalt(options_.halts, counts, failed_);
  if (!met || (drained_ && !met->now)) return;
  halted_ = met;
  if (met->of != Halt::Of::kFailed) Record(HaltedRecord{met->of});
  OnDrain(TextOf(*met, counts, failed_));
}

// Whatever other attempts at a finished task may still run somewhere are ended.
void RunCore::CancelOthers(TaskId task, AttemptId attempt) {
  const auto found = stale_.find(task);
  if (found == stale_.end()) return;
  for (const auto& [other, by] : found->second) {
    const Worker* worker = workers_.Find(by);
    if (other == attempt || worker == nullptr || !worker->here()) continue;
    if (!lane(*worker).stale.contains(other)) continue;
    SendTo(*worker, Cancel{options_.text.run, {{task, other}}});
  }
  stale_.erase(found);
}

bool RunCore::GivenOut(TaskId task, AttemptId attempt) const {
  const Epoch epoch = EpochOf(attempt);
  return tasks_.Exists(task) && epoch >= 1 &&
         (epoch < options_.epoch ||
          (epoch == options_.epoch && attempt < MakeSerial(options_.epoch, next_attempt_)));
}

bool RunCore::Plausible(TaskId task, AttemptId attempt) const {
  const Epoch epoch = EpochOf(attempt);
  auto reset = std::upper_bound(resets_.begin(), resets_.end(), task,
                                [](TaskId t, const Reset& r) { return t < r.first; });
  if (reset != resets_.begin() && task <= (--reset)->last && epoch < reset->epoch) return false;
  return GivenOut(task, attempt);
}

void RunCore::OnMayTake(const Worker& worker) { MarkDirty(worker); }

void RunCore::MarkDirty(const Worker& worker) {
  if (!std::exchange(lane(worker).dirty, true)) dirty_.push_back(worker.index);
}

}  // namespace cq
