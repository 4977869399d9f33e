#pragma once

#include <set>
#include <string>
#include <vector>

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

/// The rows that a row pushes: in a world whose rows push, by what it is.
std::vector<std::string> ChildrenOf(const World& world, const std::string& row);
/// The same as they stand in a result.
Json PushedText(const std::vector<std::string>& rows);

/// Every task that is wanted has one outcome, and one that it can have, and no other has any.
/// Throws Broken.
void CheckEnd(const World& world, const std::set<TaskId>& wanted, SimJournal& journal);

}  // namespace cq::sim
