#include "master/core/task_table.h"

#include <algorithm>

#include "base/assert.h"
#include "protocol/spans.h"

namespace cq {

void Work::CutFront(uint64_t n, Work& front) {
  CQ_ASSERT(out() && past.fresh(), "a span of {} tasks from {} is cut and not out", count, task);
  CQ_ASSERT(n >= 1 && n < count, "{} of {} tasks from {} are cut off", n, count, task);
  static_cast<AttemptSpan&>(front) = cq::CutFront(*this, n);
  front.state = state;
  front.attempts = attempts;
  Out& rest = *out();
  if (rest.run) (rest.run->at < task ? rest : *front.out()).run.reset();
  front.out()->newer = this;
  if (rest.older != nullptr) rest.older->out()->newer = &front;
  rest.older = &front;
}

TaskTable::TaskTable(TaskId last, TaskSet done, uint64_t done_count)
    : last_(last), done_(std::move(done)), done_count_(done_count), ready_(last - done_count) {}

void TaskTable::PutApart(TaskId task) {
  Work& open = OpenUp(task);
  CQ_ASSERT(open.ready(), "task {} is put apart, and is not fresh", task);
  Enqueue(open);
}

void TaskTable::Reopen(TaskId task) {
  CQ_ASSERT(Exists(task) && Done(task), "task {} of {} is opened again, and is open", task, last_);
  done_.Erase(task);
  --done_count_;
  ++ready_;
  CountReady(task, 1, true);
  if (several()) ++left_of_[ClassOf(task)];
}

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
    if (task > mark_) return std::nullopt;
    entries.pop_front();
    const Work* open = Find(task);
    if (open != nullptr && open->ready() && open->queue() == which) return task;
  }
  return std::nullopt;
}

void TaskTable::set_order(StartOrder order) {
  CQ_ASSERT(highest_opened_ == 0, "tasks up to {} went out before their order came",
            highest_opened_);
  order_ = std::move(order);
  for (const auto& section : order_.sections) next_in_.push_back(section.begin);
}

void TaskTable::set_classes(std::vector<uint16_t> of, size_t classes, bool may_grow) {
  CQ_ASSERT(highest_opened_ == 0, "tasks up to {} went out before their classes came",
            highest_opened_);
  class_of_ = std::move(of);
  several_ = classes > 1 || may_grow;
  ready_of_.assign(classes, 0);
  if (classes == 1) ready_of_[0] = ready_;
  for (TaskId task = 1; classes > 1 && task <= last_; ++task) {
    if (!done_.Contains(task)) ++ready_of_[ClassOf(task)];
  }
  left_of_ = ready_of_;
}

void TaskTable::AddClass() {
  CQ_ASSERT(several(), "a class comes to {} that may not become more", classes());
  ready_of_.push_back(0);
  left_of_.push_back(0);
}

void TaskTable::SetClass(TaskId task, ClassId of) {
  // A fresh one stands in its section.
  const Work& open = OpenUp(task);
  CQ_ASSERT(several() && of < classes() && !Done(task), "task {} is to be of class {} of {}", task,
            of, classes());
  const ClassId before = ClassOf(task);
  if (open.ready()) --ready_of_[before];
  --left_of_[before];
  moved_[task] = of;
  if (open.ready()) ++ready_of_[of];
  ++left_of_[of];
}

void TaskTable::CountReady(TaskId first, uint64_t count, bool more) {
  if (!several()) return;
  for (TaskId task = first; task < first + count; ++task) {
    uint64_t& ready = ready_of_[ClassOf(task)];
    more ? ++ready : --ready;
  }
}

std::optional<TaskId> TaskTable::PopFreshOf(uint32_t section) {
  if (withheld_) return std::nullopt;
  while (left_in(section) > 0) {
    const TaskId task = order_.tasks[next_in_[section]];
    if (!done_.Contains(task) && Find(task) == nullptr) {
      if (task > mark_) return std::nullopt;
      ++next_in_[section];
      return task;
    }
    ++next_in_[section];
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
    const Work* open = Find(task);
    if (open == nullptr || !open->ready() || open->queue() != which) continue;
    if (task <= mark_ && fits(*open)) return task;
    entries.push_back(task);
    ++unfit;
  }
  return std::nullopt;
}

void TaskTable::Admit() {
  for (Work* open : Open()) {
    if (open->ready() && open->queue() == Queue::kNone) Enqueue(*open);
  }
  next_fresh_ = 1;
  withheld_ = false;
}

Work& TaskTable::OpenUp(TaskId first, uint64_t count) {
  Work& open = open_.Add(first, count).first;
  open.task = first;
  highest_opened_ = std::max(highest_opened_, first + count - 1);
  return open;
}

Work& TaskTable::Assign(const AttemptSpan& span, WorkerIndex worker, SessionId session) {
  CQ_ASSERT(Exists(span.task) && !Done(span.task), "task {} of {} is given out, and has an outcome",
            span.task, last_);
  Work& open = OpenUp(span.task, span.count);
  CQ_ASSERT(!open.out(), "task {} is out as {:x} and is given out as {:x}", span.task, open.attempt,
            span.attempt);
  CQ_ASSERT(open.count == span.count && CountOf(open) >= span.count,
            "{} tasks from {} go out, {} are ready", span.count, span.task, ready_);
  open.attempt = span.attempt;
  Move(open, Work::Out{worker, session, {}, {}, false, ClassOf(span.task), nullptr, nullptr});
  return open;
}

std::vector<Work*> TaskTable::TakeApart(Work& span) {
  std::vector<Work*> tasks;
  const TaskId end = span.task + span.count;
  for (TaskId task = span.task; task < end; ++task) tasks.push_back(Find(task));
  return tasks;
}

std::vector<Work*> TaskTable::Open() {
  std::vector<Work*> all;
  for (const TaskId end : open_.Ends()) all.push_back(open_.EndingAt(end));
  return all;
}

// Of those that are as this one.
uint64_t& TaskTable::CountOf(const Work& open) {
  return open.ready() ? ready_ : open.waiting() ? waiting_ : out_;
}

// The only way from one state into another: the counts follow.
void TaskTable::Move(Work& open, const State& state) {
  const auto choosy = [&] {
    const Queue q = open.queue();
    return q == Queue::kRefused || q == Queue::kRetries || q == Queue::kCharged ||
           (q == Queue::kReturned && several());
  };
  CQ_ASSERT(CountOf(open) >= open.count, "task {} leaves a state that no task is in", open.task);
  CountOf(open) -= open.count;
  if (choosy()) --choosy_;
  if (open.ready()) CountReady(open.task, open.count, false);
  open.state = state;
  if (!open.out()) open.attempt = 0;
  if (open.ready()) CountReady(open.task, open.count, true);
  CountOf(open) += open.count;
  if (choosy()) ++choosy_;
}

// It is ready, in the queue that fits it.
void TaskTable::Enqueue(Work& open) {
  CQ_ASSERT(open.count == 1, "{} tasks from {} are to stand in a queue", open.count, open.task);
  const Work::Past& past = *open.past;
  const Queue which = past.suspect != 0                                      ? Queue::kSuspects
                      : !past.refused.empty()                                ? Queue::kRefused
                      : !past.charged.empty()                                ? Queue::kCharged
                      : !past.failed_on.empty() || past.estimate.count() > 0 ? Queue::kRetries
                                                                             : Queue::kReturned;
  Move(open, Work::Ready{which});
  queue(which).push_back(open.task);
}

void TaskTable::Requeue(TaskId task) {
  Work& open = Get(task);
  CQ_ASSERT(open.out(), "task {} of {} that are out comes back, and is not out", task, out_);
  if (open.past->held_back) {
    Suspend(task);
  } else {
    Enqueue(open);
  }
}

void TaskTable::HoldBack(TaskId task) {
  OpenUp(task).past.Edit().held_back = true;
  SuspendReady(task);
}

void TaskTable::Suspend(TaskId task) {
  Work& open = Get(task);
  CQ_ASSERT(open.out(), "task {} of {} that are out waits, and is not out", task, out_);
  Move(open, Work::Waiting{});
}

void TaskTable::SuspendReady(TaskId task) {
  Work& open = Get(task);
  CQ_ASSERT(open.ready(), "task {} of {} that are ready waits, and is not ready", task, ready_);
  Move(open, Work::Waiting{});
}

void TaskTable::Wake(TaskId task) {
  Work& open = Get(task);
  CQ_ASSERT(open.waiting(), "task {} of {} that wait is woken, and does not wait", task, waiting_);
  if (!open.past->held_back) Enqueue(open);
}

void TaskTable::Reclassify(TaskId task) {
  Work& open = Get(task);
  if (open.queue() != Queue::kNone) Enqueue(open);
}

void TaskTable::Finish(TaskId first, uint64_t count) {
  CQ_ASSERT(Exists(first) && !Done(first), "task {} of {} has an outcome, and ends again", first,
            last_);
  Work* open = Isolate(first, count);
  CQ_ASSERT(count == 1 || (open != nullptr && open->out()),
            "{} tasks from {} end together, and are not out so", count, first);
  if (open != nullptr) {
    // It leaves the queue that it may stand in.
    Move(*open, Work::Waiting{});
    waiting_ -= count;
    open_.Erase(first + count - 1);
  } else {
    ready_ -= count;
    CountReady(first, count, false);
  }
  for (TaskId task = first; several() && task < first + count; ++task) {
    --left_of_[ClassOf(task)];
    moved_.erase(task);
  }
  done_.Insert(first, count);
  done_count_ += count;
}

}  // namespace cq
