#include "master/core/task_table.h"

#include <algorithm>

#include "base/assert.h"
#include "protocol/spans.h"

namespace cq {

void OpenTask::CutFront(uint64_t n, OpenTask& front) {
  CQ_ASSERT(attempt != 0, "a span of {} tasks from {} is cut and not out", count, task);
  CQ_ASSERT(n >= 1 && n < count, "{} of {} tasks from {} are cut off", n, count, task);
  static_cast<AttemptSpan&>(front) = cq::CutFront(*this, n);
  front.given = given;
  front.worker = worker;
  front.session = session;
  front.attempts = attempts;
  front.retracting = retracting;
  if (running && at < task) {
    front.running = std::exchange(running, false);
    front.slot = slot;
    front.at = at;
  }
  front.newer = this;
  front.older = older;
  if (older != nullptr) older->newer = &front;
  older = &front;
}

TaskTable::TaskTable(TaskId last, TaskSet done, uint64_t done_count)
    : last_(last), done_(std::move(done)), done_count_(done_count), ready_(last - done_count) {}

void TaskTable::SkipTakenFresh() {
  while (next_fresh_ <= places() &&
         (done_.Contains(At(next_fresh_)) || Containing(At(next_fresh_)) != nullptr)) {
    ++next_fresh_;
  }
}

std::optional<TaskId> TaskTable::Pop(Queue which) {
  // What one worker gives back, another that has not come back yet may run in a newer attempt.
  if (withheld_) return std::nullopt;
  auto& entries = queue(which);
  while (!entries.empty()) {
    const TaskId task = entries.front();
    entries.pop_front();
    const OpenTask* open = Find(task);
    if (open != nullptr && open->ready() && open->queue == which) return task;
  }
  return std::nullopt;
}

void TaskTable::set_order(StartOrder order) {
  CQ_ASSERT(highest_opened_ == 0, "tasks up to {} went out before their order came",
            highest_opened_);
  order_ = std::move(order);
  next_in_ = order_.groups;
}

std::optional<TaskId> TaskTable::PopFreshOf(uint32_t group) {
  if (withheld_) return std::nullopt;
  while (left_in(group) > 0) {
    const TaskId task = order_.tasks[next_in_[group]];
    if (!done_.Contains(task) && Find(task) == nullptr) {
      if (task > mark_) return std::nullopt;
      ++next_in_[group];
      return task;
    }
    ++next_in_[group];
  }
  return std::nullopt;
}

AttemptSpan TaskTable::PopFresh(uint64_t most) {
  SkipTakenFresh();
  if (next_fresh_ > places() || At(next_fresh_) > mark_) return {0, 0, 0};
  AttemptSpan span{At(next_fresh_++), 0, 1};
  if (ordered()) return span;
  const TaskId last = std::min(last_, mark_);
  while (span.count < most && next_fresh_ <= last && !done_.Contains(next_fresh_) &&
         (next_fresh_ > highest_opened_ || Containing(next_fresh_) == nullptr)) {
    ++next_fresh_;
    ++span.count;
  }
  return span;
}

std::optional<TaskId> TaskTable::PopIf(Queue which, const Fits& fits) {
  // There may be many that nobody may take now: each call looks at some, the next at others.
  constexpr size_t kLookAtMost = 64;
  const size_t most = thorough_ ? SIZE_MAX : kLookAtMost;
  if (withheld_) return std::nullopt;
  auto& entries = queue(which);
  size_t unfit = 0;
  for (size_t left = entries.size(); left > 0 && unfit < most; --left) {
    const TaskId task = entries.front();
    entries.pop_front();
    const OpenTask* open = Find(task);
    if (open == nullptr || !open->ready() || open->queue != which) continue;
    if (fits(*open)) return task;
    entries.push_back(task);
    ++unfit;
  }
  return std::nullopt;
}

void TaskTable::Admit() {
  for (OpenTask* open : Open()) {
    if (open->ready() && open->queue == Queue::kNone) Enqueue(open->task, *open);
  }
  next_fresh_ = 1;
  withheld_ = false;
}

OpenTask& TaskTable::OpenUp(TaskId first, uint64_t count) {
  OpenTask& open = open_.Add(first, count).first;
  open.task = first;
  highest_opened_ = std::max(highest_opened_, first + count - 1);
  return open;
}

OpenTask& TaskTable::Assign(const AttemptSpan& span, WorkerIndex worker, SessionId session) {
  CQ_ASSERT(Exists(span.task) && !Done(span.task), "task {} of {} is given out, and has an outcome",
            span.task, last_);
  OpenTask& open = OpenUp(span.task, span.count);
  CQ_ASSERT(open.attempt == 0, "task {} is out as {:x} and is given out as {:x}", span.task,
            open.attempt, span.attempt);
  if (open.waiting) {
    open.waiting = false;
    --waiting_;
    ++ready_;
  }
  CQ_ASSERT(open.count == span.count && span.count <= ready_,
            "{} tasks from {} go out, {} are ready", span.count, span.task, ready_);
  open.attempt = span.attempt;
  open.given = {};
  open.worker = worker;
  open.session = session;
  open.running = false;
  open.retracting = false;
  MoveTo(open, Queue::kNone);
  ready_ -= span.count;
  out_ += span.count;
  return open;
}

std::vector<OpenTask*> TaskTable::TakeApart(OpenTask& span) {
  std::vector<OpenTask*> tasks;
  const TaskId end = span.task + span.count;
  for (TaskId task = span.task; task < end; ++task) tasks.push_back(Find(task));
  return tasks;
}

std::vector<OpenTask*> TaskTable::Open() {
  std::vector<OpenTask*> all;
  for (const TaskId end : open_.Ends()) all.push_back(open_.EndingAt(end));
  return all;
}

// The queue in which a task counts; `choosy_` follows.
void TaskTable::MoveTo(OpenTask& open, Queue which) {
  const auto choosy = [](Queue q) {
    return q == Queue::kRefused || q == Queue::kRetries || q == Queue::kCharged;
  };
  CQ_ASSERT(!choosy(open.queue) || choosy_ > 0, "task {} leaves a queue that nobody stands in",
            open.task);
  if (choosy(open.queue)) --choosy_;
  if (choosy(which)) ++choosy_;
  open.queue = which;
}

void TaskTable::Enqueue(TaskId task, OpenTask& open) {
  CQ_ASSERT(open.ready(), "task {} is to be given out, and is out or waits", task);
  MoveTo(open, open.suspect != 0         ? Queue::kSuspects
               : !open.refused.empty()   ? Queue::kRefused
               : !open.charged.empty()   ? Queue::kCharged
               : !open.failed_on.empty() ? Queue::kRetries
                                         : Queue::kReturned);
  queue(open.queue).push_back(task);
}

void TaskTable::Requeue(TaskId task) {
  OpenTask& open = Get(task);
  if (open.held_back) {
    Suspend(task);
    return;
  }
  CQ_ASSERT(open.attempt != 0 && out_ > 0, "task {} of {} that are out comes back, and is not out",
            task, out_);
  open.attempt = 0;
  --out_;
  ++ready_;
  Enqueue(task, open);
}

void TaskTable::HoldBack(TaskId task) {
  OpenUp(task).held_back = true;
  SuspendReady(task);
}

void TaskTable::Suspend(TaskId task) {
  OpenTask& open = Get(task);
  CQ_ASSERT(open.attempt != 0 && out_ > 0, "task {} of {} that are out waits, and is not out", task,
            out_);
  open.attempt = 0;
  open.waiting = true;
  --out_;
  ++waiting_;
}

void TaskTable::SuspendReady(TaskId task) {
  OpenTask& open = Get(task);
  CQ_ASSERT(open.ready() && ready_ > 0, "task {} of {} that are ready waits, and is not ready",
            task, ready_);
  open.waiting = true;
  MoveTo(open, Queue::kNone);
  --ready_;
  ++waiting_;
}

void TaskTable::Wake(TaskId task) {
  OpenTask& open = Get(task);
  CQ_ASSERT(open.waiting && waiting_ > 0, "task {} of {} that wait is woken, and does not wait",
            task, waiting_);
  if (open.held_back) return;
  open.waiting = false;
  --waiting_;
  ++ready_;
  Enqueue(task, open);
}

void TaskTable::Reclassify(TaskId task) {
  OpenTask& open = Get(task);
  if (open.ready() && open.queue != Queue::kNone) Enqueue(task, open);
}

void TaskTable::Finish(TaskId first, uint64_t count) {
  CQ_ASSERT(Exists(first) && !Done(first), "task {} of {} has an outcome, and ends again", first,
            last_);
  OpenTask* open = Isolate(first, count);
  CQ_ASSERT(count == 1 || (open != nullptr && open->attempt != 0),
            "{} tasks from {} end together, and are not out so", count, first);
  (open == nullptr || open->ready() ? ready_ : open->waiting ? waiting_ : out_) -= count;
  if (open != nullptr) MoveTo(*open, Queue::kNone);
  open_.Erase(first + count - 1);
  done_.Insert(first, count);
  done_count_ += count;
}

}  // namespace cq
