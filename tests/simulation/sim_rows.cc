#include "tests/simulation/sim_rows.h"

#include <algorithm>
#include <map>
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
    const bool stays = world_.proposer != World::Proposer::kNone;
    !stays&& random.Chance(100) ? changes.removed.push_back(task) : edited.push_back(task);
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

uint16_t SimRows::ClassOf(TaskId task) const {
  return world_.classes == 0 ? 0 : static_cast<uint16_t>(Drawn(task) / 7 % world_.classes);
}

RequestClasses SimRows::Requests() const {
  RequestClasses requests;
  for (uint64_t more = 1; more < world_.classes; ++more) {
    TaskRequest request;
    request.memory_bytes = more;
    if (more % 2 == 0) request.needs["licence"] = 1;
    requests.classes.push_back(std::move(request));
  }
  for (const TaskId task : rows_) {
    if (requests.of.size() < task) requests.of.resize(task);
    requests.of[task - 1] = ClassOf(task);
  }
  return requests;
}

Capacity SimRows::CapacityOf(const World& world, bool large) {
  Capacity capacity;
  if (world.classes == 0) return capacity;
  capacity.memory_bytes = large ? world.classes - 1 : world.classes / 2;
  if (large) capacity.needs["licence"] = 1;
  return capacity;
}

StartOrder SimRows::Order() const {
  StartOrder order;
  if (!world_.ordered && world_.groups == 0 && world_.classes == 0) return order;
  order.tasks = rows_;
  std::stable_sort(order.tasks.begin(), order.tasks.end(), [this](TaskId a, TaskId b) {
    if (GroupOf(a) != GroupOf(b)) return GroupOf(a) < GroupOf(b);
    return world_.ordered && Drawn(a) > Drawn(b);
  });
  order.grouped = world_.groups > 0;
  if (world_.groups == 0 && world_.classes == 0) return order;
  std::map<TaskId, uint64_t> ranks;
  for (const TaskId task : order.tasks) ranks.emplace(task, ranks.size());
  const auto section = [this](TaskId task) { return std::pair(GroupOf(task), ClassOf(task)); };
  std::stable_sort(order.tasks.begin(), order.tasks.end(),
                   [&](TaskId a, TaskId b) { return section(a) < section(b); });
  for (size_t i = 0; i < order.tasks.size(); ++i) {
    const TaskId task = order.tasks[i];
    order.ranks.push_back(ranks[task]);
    const bool begins = i == 0 || section(task) != section(order.tasks[i - 1]);
    if (begins) order.sections.push_back({i, ClassOf(task)});
  }
  return order;
}

}  // namespace cq::sim
