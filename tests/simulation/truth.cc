#include "tests/simulation/truth.h"

#include <fmt/format.h>

#include <functional>

namespace cq::sim {

Fate FateOf(const World& world, TaskId task) {
  Random random(world.seed ^ (task * 0x9e3779b97f4a7c15ull));
  random.Below(2);
  const uint64_t draw = random.Below(1000);
  if (draw < world.failing) return Fate::kFails;
  if (draw < world.failing + world.flaky) return Fate::kFlaky;
  if (draw < world.failing + world.flaky + world.deadly) return Fate::kDeadly;
  const uint64_t bad = world.failing + world.flaky + world.deadly + world.lethal;
  if (draw < bad) return Fate::kLethal;
  if (draw < bad + world.greedy) return Fate::kGreedy;
  return Fate::kOk;
}

Value ValueOf(TaskId task) { return static_cast<int64_t>(2 * task); }
// A positive integer of 64 bits, as MessagePack.
std::string PackedValueOf(TaskId task) {
  std::string packed(1, '\xcf');
  for (int shift = 56; shift >= 0; shift -= 8) packed += static_cast<char>(2 * task >> shift);
  return packed;
}

// A row is the number of its generation, a point, and one of few names: many push the same.
std::vector<std::string> ChildrenOf(const World& world, const std::string& row) {
  const size_t point = row.find('.');
  const int generation = point == std::string::npos ? 0 : std::stoi(row);
  if (!world.growing || generation == 3) return {};
  Random random(world.seed ^ std::hash<std::string>()(row));
  std::vector<std::string> rows;
  for (uint64_t more = random.Below(3); more > 0; --more) {
    rows.push_back(fmt::format("{}.{}", generation + 1, random.Below(6)));
  }
  return rows;
}

Json PushedText(const std::vector<std::string>& rows) {
  std::string text = "[";
  for (const std::string& row : rows) {
    text += fmt::format(R"({}{{"a":"{}"}})", text.size() > 1 ? "," : "", row);
  }
  return {text + "]"};
}

namespace {

bool IsValueOf(TaskId task, const std::string& returned) {
  return returned == fmt::format(R"({{"y":{}}})", 2 * task) ||
         returned == fmt::format(R"({{"result":{}}})", 2 * task);
}

void CheckOutcome(const World& world, TaskId task, const SimJournal::Row& row) {
  const Fate fate = FateOf(world, task);
  const bool crashed = row.outcome == Outcome::kCrashed;
  // The last crash of a slot's program is in its result alone.
  const uint64_t charges = row.charges + (fate == Fate::kLethal ? 1 : 0);
  if (crashed && charges < world.crash_limit)
    throw Broken{fmt::format("task {} is set aside after {} charges", task, charges)};
  // Without a scheduler no charge is provisional.
  if (!world.scheduled && row.charges > world.crash_limit)
    throw Broken{fmt::format("task {} is tried again after {} charges", task, row.charges - 1)};
  if (world.witness && row.charges > 0)
    throw Broken{fmt::format("task {} has to answer for another run's", task)};
  const bool ok = row.outcome == Outcome::kOk;
  if (world.cancel > 0 && row.outcome == Outcome::kCancelled) return;
  // Nobody else was there to start it.
  if (world.black_hole && row.exit == 127) return;
  if (ok && !IsValueOf(task, row.returned))
    throw Broken{fmt::format("task {} has another task's result: {}", task, row.returned)};
  if (fate == Fate::kOk && !ok && !crashed) {
    throw Broken{
        fmt::format("task {} ended as {} though it was good", task, static_cast<int>(row.outcome))};
  }
  if (fate == Fate::kGreedy && !ok && !crashed && row.outcome != Outcome::kMemory)
    throw Broken{
        fmt::format("task {} ended as {} for want of memory", task, static_cast<int>(row.outcome))};
  if (fate == Fate::kFails && ok) throw Broken{fmt::format("task {} cannot be ok", task)};
  const bool memory = world.hungry && fate == Fate::kDeadly && row.outcome == Outcome::kMemory;
  if ((fate == Fate::kDeadly || fate == Fate::kLethal) && !crashed && !memory)
    throw Broken{fmt::format("task {} cannot have survived", task)};
}

}  // namespace

void CheckEnd(const World& world, const std::set<TaskId>& wanted, SimJournal& journal) {
  const auto results = journal.Results();
  for (const TaskId task : wanted) {
    if (!results.contains(task)) throw Broken{fmt::format("task {} has no outcome", task)};
  }
  journal.CheckClaims(world);
  for (const auto& [task, row] : results) {
    // What nobody wants any more keeps its result.
    if (!wanted.contains(task) && !journal.IsPushed(task))
      throw Broken{fmt::format("task {} has an outcome that nobody wants", task)};
    const auto noted = journal.outcomes().find(task);
    if (noted == journal.outcomes().end() || noted->second != row.outcome)
      throw Broken{fmt::format("task {} has another outcome than was written", task)};
    CheckOutcome(world, task, row);
  }
}

}  // namespace cq::sim
