#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "master/core/start_order.h"
#include "master/core/work.h"
#include "protocol/ids.h"
#include "protocol/span_table.h"

namespace cq {

/// A set of task numbers, one bit each, grown as needed.
class TaskSet {
 public:
  bool Contains(TaskId task) const {
    return task / 64 < words_.size() && (words_[task / 64] >> (task % 64) & 1) != 0;
  }
  void Erase(TaskId task) {
    if (task / 64 < words_.size()) words_[task / 64] &= ~(uint64_t{1} << (task % 64));
  }
  /// Inserts so many from `first` on, a word at a time.
  void Insert(TaskId first, uint64_t count = 1) {
    const TaskId end = first + count;
    if (end / 64 >= words_.size()) words_.resize(end / 64 + 1 + words_.size() / 4);
    while (first < end) {
      const uint64_t bits = std::min(64 - first % 64, end - first);
      words_[first / 64] |= (~uint64_t{0} >> (64 - bits)) << (first % 64);
      first += bits;
    }
  }

 private:
  std::vector<uint64_t> words_;
};

/// Which tasks there are, which are ready, out, or done. Knows nothing of workers but their index.
class TaskTable {
 public:
  /// Tasks 1 to `last`, none of which is out; `done` have an outcome already.
  TaskTable(TaskId last, TaskSet done, uint64_t done_count);

  TaskId last() const { return last_; }
  /// So many more fresh ones.
  void Add(uint64_t tasks) {
    last_ += tasks;
    ready_ += tasks;
    ready_of_[0] += tasks;
    left_of_[0] += tasks;
  }
  /// A fresh one goes out as one that was given back does: it has no place in the order.
  void PutApart(TaskId task);
  /// One of the closed, which has no outcome, is fresh from now on.
  void Reopen(TaskId task);
  bool Exists(TaskId task) const { return task >= 1 && task <= last_; }
  bool Done(TaskId task) const { return done_.Contains(task); }
  uint64_t done_count() const { return done_count_; }
  bool AllDone() const { return done_count_ == last_; }
  /// How many tasks could be given out now.
  uint64_t ready() const { return ready_; }
  uint64_t out() const { return out_; }
  /// How many of those may go to some workers only.
  uint64_t choosy() const { return choosy_; }
  /// How many have neither an outcome nor leave to go out.
  uint64_t waiting() const { return waiting_; }

  /// The state of a task that is open, by itself, which stays where it is; nullptr for a fresh or
  /// finished one.
  Work* Find(TaskId task) { return open_.Find(task); }
  /// The same as part of its span; and a span that has these and no others.
  Work* Containing(TaskId task) { return open_.Containing(task); }
  const Work* Containing(TaskId task) const { return open_.Containing(task); }
  Work* Isolate(TaskId first, uint64_t count) { return open_.Isolate(first, count); }
  /// Each of them by itself.
  std::vector<Work*> TakeApart(Work& span);

  /// The state of a task without outcome, which becomes open if it was fresh.
  Work& OpenUp(TaskId task) { return OpenUp(task, 1); }
  /// Before anything else: the order of fresh tasks, and the classes of all (RequestClasses).
  void set_order(StartOrder order);
  void set_classes(std::vector<uint16_t> of, size_t classes, bool may_grow);
  /// There is one class more; and this task is of it from now on, if it has been tried.
  void AddClass();
  void SetClass(TaskId task, ClassId of);
  bool ordered() const { return !order_.tasks.empty(); }
  bool grouped() const { return order_.grouped; }
  /// How many sections there are, and how many places of one have not been looked at yet; of one
  /// that has some, where the next task stands in the user's order.
  uint32_t sections() const { return static_cast<uint32_t>(order_.sections.size()); }
  uint64_t left_in(uint32_t section) const { return EndOf(section) - next_in_[section]; }
  uint64_t next_rank(uint32_t section) const {
    const uint64_t at = next_in_[section];
    return order_.ranks.empty() ? order_.tasks[at] : order_.ranks[at];
  }
  ClassId ClassOfSection(uint32_t section) const { return order_.sections[section].of; }
  /// There is more than one class, or may be.
  bool several() const { return several_; }
  ClassId ClassOf(TaskId task) const {
    if (!moved_.empty()) {
      const auto moved = moved_.find(task);
      if (moved != moved_.end()) return moved->second;
    }
    return task <= class_of_.size() ? class_of_[task - 1] : 0;
  }
  size_t classes() const { return ready_of_.size(); }
  /// As ready(), of a class; and how many have no outcome.
  uint64_t ready_of(ClassId of) const { return several() ? ready_of_[of] : ready_; }
  uint64_t left_of(ClassId of) const { return several() ? left_of_[of] : last_ - done_count_; }
  /// No task up to `mark` is given out before Admit: an earlier master's worker may run it.
  void Withhold(TaskId mark) {
    // With another order nothing is known to be above the mark.
    next_fresh_ = ordered() ? order_.tasks.size() + 1 : mark + 1;
    withheld_ = true;
  }
  void Admit();
  /// Fresh tasks go out up to this number only.
  void set_mark(TaskId mark) { mark_ = mark; }
  TaskId mark() const { return mark_; }
  /// Of a table without an order.
  TaskId next_fresh() const { return next_fresh_; }

  /// Until the next call every entry of a queue is looked at, and not only some.
  void set_thorough(bool thorough) { thorough_ = thorough; }
  /// Whether a worker may be given this open task.
  using Fits = std::function<bool(const Work&)>;
  /// Takes the next ready task that others could not start and that fits; the same of those that
  /// were tried and have to be tried again, and of charged ones. The caller assigns it next.
  std::optional<TaskId> PopRefused(const Fits& fits) { return PopIf(Queue::kRefused, fits); }
  std::optional<TaskId> PopRetry(const Fits& fits) { return PopIf(Queue::kRetries, fits); }
  std::optional<TaskId> PopCharged(const Fits& fits) { return PopIf(Queue::kCharged, fits); }
  std::optional<TaskId> PopSuspect(const Fits& fits) { return PopIf(Queue::kSuspects, fits); }
  /// The next one that was only given back; of several classes, that fits.
  std::optional<TaskId> PopReturned(const Fits& fits) {
    return several() ? PopIf(Queue::kReturned, fits) : Pop(Queue::kReturned);
  }
  /// The next fresh ones, in the order of their numbers as far as they are known: so many at most
  /// whose numbers follow each other, and one at a time in another order. Count 0: there are none.
  AttemptSpan PopFresh(uint64_t most = 1);
  /// The next one of a section.
  std::optional<TaskId> PopFreshOf(uint32_t section);

  /// Ready tasks go out: several fresh ones, or one (popped, or adopted from a worker that holds
  /// it).
  Work& Assign(const AttemptSpan& span, WorkerIndex worker, SessionId session);
  /// A task that was out is ready again (unless it is held back), or waits until Wake.
  void Requeue(TaskId task);
  void Suspend(TaskId task);
  /// A ready task waits until Wake.
  void SuspendReady(TaskId task);
  /// Nothing happens to one that is held back.
  void Wake(TaskId task);
  /// A ready task is held back.
  void HoldBack(TaskId task);
  /// A ready task stands in the queue that fits it now.
  void Reclassify(TaskId task);
  /// A task, open or fresh, has its outcome; or so many that are out together have theirs.
  void Finish(TaskId first, uint64_t count = 1);

  /// All that are open, by their numbers.
  std::vector<Work*> Open();

  /// Asserts that its books agree. For tests.
  void CheckInvariants();

 private:
  using Queue = Work::Ready::Queue;

  Work& OpenUp(TaskId first, uint64_t count);
  /// One that is open.
  Work& Get(TaskId task) { return *open_.Find(task); }
  void SkipTakenFresh();
  /// How many places for fresh tasks there are, and the task at one, from 1.
  uint64_t places() const { return ordered() ? order_.tasks.size() : last_; }
  TaskId At(uint64_t place) const { return ordered() ? order_.tasks[place - 1] : place; }
  uint64_t EndOf(uint32_t section) const {
    return section + 1 < sections() ? order_.sections[section + 1].begin : order_.tasks.size();
  }
  void CountReady(TaskId first, uint64_t count, bool more);
  using State = decltype(Work::state);
  void Move(Work& open, const State& state);
  void Enqueue(Work& open);
  uint64_t& CountOf(const Work& open);
  std::deque<TaskId>& queue(Queue which) { return queues_[static_cast<size_t>(which)]; }
  std::optional<TaskId> Pop(Queue which);
  std::optional<TaskId> PopIf(Queue which, const Fits& fits);

  TaskId last_;
  TaskSet done_;
  uint64_t done_count_;
  uint64_t ready_;
  uint64_t out_ = 0;
  uint64_t waiting_ = 0;
  StartOrder order_;
  /// The next place to look at in each section, from 0.
  std::vector<uint64_t> next_in_;
  /// The next place to look for a fresh task at.
  uint64_t next_fresh_ = 1;
  TaskId mark_ = 0;
  bool withheld_ = false;
  /// Tasks given back, by kind. May hold tasks that went another way since: an entry counts if the
  /// open task says that it is ready in that queue.
  std::array<std::deque<TaskId>, 6> queues_;
  uint64_t choosy_ = 0;
  /// By class, as far as there are several: how many tasks are ready, and have no outcome.
  std::vector<uint64_t> ready_of_{0};
  std::vector<uint64_t> left_of_{0};
  /// Of each task; of those beyond it is 0.
  std::vector<uint16_t> class_of_;
  /// Those that are of another class than they were.
  std::unordered_map<TaskId, ClassId> moved_;
  bool several_ = false;
  bool thorough_ = false;
  SpanTable<TaskId, Work> open_;
  /// No task above it was ever opened.
  TaskId highest_opened_ = 0;
};

}  // namespace cq
