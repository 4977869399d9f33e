#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/messages.h"

namespace cq {

/// What a worker is told of a task, besides its numbers.
struct TaskRow {
  std::vector<std::string> values;
  uint64_t seed = 0;
  uint64_t timeout_ms = 0;
  std::string group;
  /// Why it cannot run; else empty.
  std::string problem;
};

/// Where the event loop finds what its tasks are. One thread.
class TaskSource {
 public:
  virtual ~TaskSource() = default;
  /// Valid until the task is forgotten.
  virtual const TaskRow& Get(TaskId task) = 0;
  /// Takes the first tasks off `span`, as many as go well together, with their rows as programs
  /// take them (protocol/spans.h). None if something is particular about the first of them.
  virtual std::optional<Task> TakeRows(AttemptSpan&) { return std::nullopt; }
  /// The task has its outcome.
  virtual void Forget(TaskId task) = 0;
};

}  // namespace cq
