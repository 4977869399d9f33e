#pragma once

#include <set>
#include <string>

#include "protocol/messages.h"
#include "tests/simulation/sim_journal.h"
#include "tests/simulation/world.h"

// What is true in a simulated world, whatever master and workers believe.
namespace cq::sim {

/// How a task behaves.
/// kDeadly takes its worker with it, kLethal its slot's program.
enum class Fate { kOk, kFails, kFlaky, kDeadly, kLethal, kGreedy };
Fate FateOf(const World& world, TaskId task);

/// What a task returns, and what stands for it in a span.
Value ValueOf(TaskId task);
std::string PackedValueOf(TaskId task);

/// Every task that is wanted has one outcome, and one that it can have, and no other has any.
/// Throws Broken.
void CheckEnd(const World& world, const std::set<TaskId>& wanted, SimJournal& journal);

}  // namespace cq::sim
