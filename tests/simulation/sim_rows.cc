#include "tests/simulation/sim_rows.h"

#include <algorithm>
#include <string>
#include <utility>

namespace cq::sim {

SimRows::SimRows(const World& world) : world_(world), limit_(world.limit) {
  for (TaskId task = 1; task <= world.tasks; ++task) rows_.push_back(task);
}

bool SimRows::LiftLimit() { return std::exchange(limit_, 0) != 0; }

std::set<TaskId> SimRows::Wanted() const {
  const size_t count = limit_ == 0 ? rows_.size() : std::min<size_t>(limit_, rows_.size());
  return {rows_.begin(), rows_.begin() + static_cast<ptrdiff_t>(count)};
}

Restart SimRows::Changes(Random& random, TaskId last) {
  Restart changes;
  if (random.Chance(world_.rerun)) {
    changes.rerun = random.Chance(500) ? Restart::Rerun::kFailed : Restart::Rerun::kAll;
  }
  if (random.Chance(world_.edit)) Edit(random, last, changes);
  return changes;
}

void SimRows::Edit(Random& random, TaskId last, Restart& changes) {
  std::vector<TaskId> edited;
  for (const TaskId task : rows_) {
    if (random.Chance(100)) edited.push_back(++last);
    random.Chance(100) ? changes.removed.push_back(task) : edited.push_back(task);
  }
  for (uint64_t more = random.Below(4); more > 0; --more) edited.push_back(++last);
  if (edited.empty()) edited.push_back(++last);
  rows_ = std::move(edited);
  changes.meta["last_task"] = std::to_string(last);
  auto& ranges = changes.ranges.emplace();
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (!ranges.empty() && ranges.back().task + ranges.back().rows == rows_[i]) {
      ++ranges.back().rows;
    } else {
      ranges.push_back({i + 1, rows_[i], 1});
    }
  }
}

uint64_t SimRows::Drawn(TaskId task) const { return Random(world_.seed + 31 * task).Below(1000); }

uint64_t SimRows::GroupOf(TaskId task) const {
  return world_.groups == 0 ? 0 : Drawn(task) % world_.groups;
}

StartOrder SimRows::Order() const {
  StartOrder order;
  if (!world_.ordered && world_.groups == 0) return order;
  order.tasks = rows_;
  std::stable_sort(order.tasks.begin(), order.tasks.end(), [this](TaskId a, TaskId b) {
    if (GroupOf(a) != GroupOf(b)) return GroupOf(a) < GroupOf(b);
    return world_.ordered && Drawn(a) > Drawn(b);
  });
  for (size_t i = 0; i < order.tasks.size() && world_.groups > 0; ++i) {
    if (i == 0 || GroupOf(order.tasks[i]) != GroupOf(order.tasks[i - 1])) order.groups.push_back(i);
  }
  return order;
}

}  // namespace cq::sim
