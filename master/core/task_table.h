#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "protocol/ids.h"

namespace cq {

/// The index of a worker in the worker table.
using WorkerIndex = uint32_t;

/// A set of task numbers, one bit each, grown as needed.
class TaskSet {
 public:
  bool Contains(TaskId task) const {
    return task / 64 < words_.size() && (words_[task / 64] >> (task % 64) & 1) != 0;
  }
  void Insert(TaskId task) {
    if (task / 64 >= words_.size()) words_.resize(task / 64 + 1 + words_.size() / 4);
    words_[task / 64] |= uint64_t{1} << (task % 64);
  }

 private:
  std::vector<uint64_t> words_;
};

/// A task that was tried or is being tried and has no outcome yet. The rest of the tasks are either
/// fresh (never given out) or have an outcome, and cost one bit.
struct OpenTask {
  /// The attempt that is out; 0 while the task waits in the ready queue.
  AttemptId attempt = 0;
  WorkerIndex worker = 0;
  /// The session under which the attempt was sent or adopted.
  SessionId session = 0;
  uint32_t attempts = 0;
  /// Where it runs, once it is reported running.
  uint32_t slot = 0;
  uint16_t charges = 0;
  bool running = false;
  bool retracting = false;
  /// It may have been what its worker died of, though nobody had reported it running: it is tried
  /// next with nothing else on its worker, so that a second death is known to be its own.
  bool suspect = false;
};

/// Which tasks there are, which are ready, out, or done. Knows nothing of workers but their index.
class TaskTable {
 public:
  /// Tasks 1 to `last`, none of which is out; `done` have an outcome already.
  TaskTable(TaskId last, TaskSet done, uint64_t done_count);

  TaskId last() const { return last_; }
  bool Exists(TaskId task) const { return task >= 1 && task <= last_; }
  bool Done(TaskId task) const { return done_.Contains(task); }
  uint64_t done_count() const { return done_count_; }
  bool AllDone() const { return done_count_ == last_; }
  /// How many tasks could be given out now.
  uint64_t ready() const { return ready_; }
  uint64_t out() const { return out_; }

  /// The state of a task that is open; nullptr for a fresh or finished one.
  OpenTask* Find(TaskId task);

  /// Takes the next ready task, those given back before fresh ones, in the order of their numbers
  /// as far as they are known; a charged task only if `charged_too`. The caller assigns it next.
  std::optional<TaskId> PopReady(bool charged_too);
  /// The next ready suspect, which goes to a worker that holds nothing.
  std::optional<TaskId> PopSuspect() { return Pop(suspects_); }

  /// A ready task (popped, or adopted from a worker that holds it) goes out as `attempt`.
  OpenTask& Assign(TaskId task, AttemptId attempt, WorkerIndex worker, SessionId session);
  /// A task that was out is ready again.
  void Requeue(TaskId task);
  /// A task, open or fresh, has its outcome.
  void Finish(TaskId task);

  const std::unordered_map<TaskId, OpenTask>& open() const { return open_; }

 private:
  void SkipTakenFresh();
  std::optional<TaskId> Pop(std::deque<TaskId>& queue);

  TaskId last_;
  TaskSet done_;
  uint64_t done_count_;
  uint64_t ready_;
  uint64_t out_ = 0;
  TaskId next_fresh_ = 1;
  /// Tasks given back, and charged ones and suspects among them apart. May hold tasks that went
  /// another way since: what they say is checked against `open_` when they are popped.
  std::deque<TaskId> returned_;
  std::deque<TaskId> charged_;
  std::deque<TaskId> suspects_;
  std::unordered_map<TaskId, OpenTask> open_;
};

}  // namespace cq
