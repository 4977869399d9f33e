#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "master/core/records.h"
#include "master/core/task_table.h"
#include "protocol/messages.h"

namespace cq {

/// Attempts of epochs below `epoch` at the tasks `first` to `last` no longer count: these were set
/// to run again.
struct Reset {
  TaskId first = 0;
  TaskId last = 0;
  Epoch epoch = 0;
};

/// A task without outcome that was tried.
struct TriedTask {
  TaskId task = 0;
  uint32_t attempts = 0;
  uint16_t failures = 0;
  /// The newest attempt that was given up.
  AttemptId given_up = 0;
  /// The newest attempt that ended by itself.
  AttemptId over = 0;
  /// The attempts whose loss is charged.
  std::vector<AttemptId> charged;
};

/// A worker of an earlier master that may still live.
struct KnownWorker {
  uint64_t number = 0;
  WorkerId id{};
  std::string host;
  std::string allocation;
  /// Its scheduler tells when it ends; otherwise it is given up after two leases.
  bool watched = false;
};

/// What earlier masters on this run left, as a new one starts with it.
struct Recovered {
  /// The tasks that do not run now: those with an outcome, and numbers whose rows are not wanted.
  TaskSet closed;
  uint64_t closed_count = 0;
  /// Those of them that are not wanted now (`--limit`) and have no outcome: if a worker reports one
  /// all the same, it counts.
  TaskSet beyond;
  /// Those of them that have an outcome, by outcome.
  std::array<uint64_t, kOutcomes> outcomes{};
  std::vector<TriedTask> tried;
  /// Of those that nobody pushes now.
  std::vector<TriedTask> dormant;
  /// Of tasks without outcome.
  std::vector<RaisedRecord> raised;
  /// Tasks without outcome that nobody may want any more: they go out once they are wanted; what a
  /// worker reports of them counts.
  std::vector<TaskId> held_back;
  std::vector<Reset> resets;  // sorted by `first`, disjoint
  std::vector<KnownWorker> workers;
  /// Rows that tasks pushed and that have no outcome.
  std::vector<AddedRow> pushed;
  /// How many others there are, which are beyond the limit.
  uint64_t pushed_beyond = 0;
  uint64_t last_worker = 0;
  /// No task above it was ever given out.
  TaskId mark = 0;
};

}  // namespace cq
