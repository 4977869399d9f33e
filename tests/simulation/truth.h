#pragma once

#include <map>
#include <set>

#include "master/core/records.h"
#include "master/core/recovered.h"
#include "tests/simulation/world.h"

// What is true in a simulated world, whatever master and workers believe.
namespace cq::sim {

/// How a task behaves.
enum class Fate { kOk, kFails, kFlaky, kDeadly };
Fate FateOf(const World& world, TaskId task);

/// What a task returns, and what stands for it in a span.
Value ValueOf(TaskId task);
std::string PackedValueOf(TaskId task);

/// What is durable, as a resumed master finds it.
struct Journal {
  std::map<TaskId, ResultRecord> results;
  std::map<AttemptId, FailureRecord> failures;
  std::map<uint64_t, WorkerRecord> workers;
  std::set<uint64_t> ended_workers;
  /// The numbers of the calls of a program.
  std::map<uint64_t, TaskId> calls;
  TaskId mark = 0;
  Epoch epoch = 0;

  /// Throws Broken for a second outcome of a task.
  void Apply(const JournalRecord& record);
  Recovered Recover(bool scheduled) const;
};

/// Every task has one outcome, and one that it can have. Throws Broken.
void CheckEnd(const World& world, const Journal& journal);

}  // namespace cq::sim
