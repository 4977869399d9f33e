#pragma once

#include <vector>

#include "master/core/run_core.h"

namespace cq {

/// How a run gets rows that were not in its input: tasks push them. They are written with the
/// result of their task, and are tasks once that is durable.
class Grower {
 public:
  explicit Grower(RunCore& run) : run_(run) {}

  /// What the result pushes, taken out of its values; what cannot be a row is the task's error.
  std::vector<PushedRow> TakePushed(TaskResult& result) const;
  /// They are durable.
  void OnAdded(std::vector<AddedRow>& rows);
  /// Those of an earlier master, before anything is known of their attempts. What they ask for
  /// somebody has.
  void Recover(std::vector<AddedRow>& rows);

 private:
  bool full() const;
  void LeaveOut(const AddedRow& row);
  void Place(AddedRow& row);
  void Refuse(const AddedRow& row);

  RunCore& run_;
};

}  // namespace cq
