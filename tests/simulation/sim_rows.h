#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "master/core/requests.h"
#include "master/core/start_order.h"
#include "master/journal/recovery.h"
#include "tests/simulation/world.h"

namespace cq::sim {

/// The input of a run over rows: their tasks' numbers in the order of the rows, as the run's user
/// asks for them, and edits them between two masters.
class SimRows {
 public:
  explicit SimRows(const World& world);

  /// What a resume finds changed, as a run's set-up does: outcomes that are taken back, edited
  /// rows. `last`: the highest number that a task ever had.
  Restart Changes(Random& random, TaskId last);
  /// The first so many of them; 0: all.
  uint64_t limit() const { return limit_; }
  /// The rows beyond the limit are asked for now. False: they were already.
  bool LiftLimit();
  std::set<TaskId> Wanted() const;
  /// As OrderTasks makes it of a column of costs, of groups, or of both.
  StartOrder Order() const;
  /// What they ask for: each class more than the one before, the first nothing.
  RequestClasses Requests() const;
  /// What a row asks for that was pushed.
  TaskRequest RequestOf(TaskId task) const { return Requests().classes[ClassOf(task)]; }
  /// What a worker has: all that is asked for, or half of it.
  static Capacity CapacityOf(const World& world, bool large);

 private:
  void Edit(Random& random, TaskId last, Restart& changes);
  uint64_t Drawn(TaskId task) const;
  uint64_t GroupOf(TaskId task) const;
  uint16_t ClassOf(TaskId task) const;

  const World& world_;
  std::vector<TaskId> rows_;
  uint64_t limit_ = 0;
};

}  // namespace cq::sim
