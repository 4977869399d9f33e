#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "master/core/records.h"
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
  /// A row that a task pushed is a task from now on; what it asks for is filled in.
  virtual void Add(AddedRow& row) = 0;
  /// All fields of a row, as text.
  virtual std::vector<std::string> Fields(TaskId task) = 0;
  /// These tasks have their outcomes.
  virtual void Forget(const AttemptSpan& tasks) = 0;
};

}  // namespace cq
