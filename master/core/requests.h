#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/ids.h"
#include "protocol/task_request.h"

namespace cq {

/// How many classes a run may have.
inline constexpr size_t kClassesMax = 1000;

/// What the tasks of a run ask for: equal requests are a class.
struct RequestClasses {
  std::vector<TaskRequest> classes{TaskRequest()};
  /// The class of each task, from the first; empty, or shorter: the others are of class 0.
  std::vector<uint16_t> of;
  /// Rows that come later may ask for other things.
  bool vary = false;
};

/// A pool, as tasks see it.
struct PoolKind {
  std::string name = "default";
  /// What each of its workers has, as far as that was said.
  Capacity capacity;
  uint64_t slots = 1;
  /// How long a worker lives; 0: that was not said.
  uint64_t time_ms = 0;
  /// After how many tasks a worker makes room for a fresh one; 0: it does not.
  uint64_t tasks_of_worker = 0;
};

/// The pools for which such a task is work, in their order: the smallest of those that it fits and
/// that are not `closed` (by their places; it may be shorter), and equal ones.
std::vector<size_t> HomesOf(const TaskRequest& request, const std::vector<PoolKind>& pools,
                            const std::vector<bool>& closed = {});

/// Of a request without a home: which pool comes nearest, and what is missing there.
std::string WhyHomeless(const TaskRequest& request, const std::vector<PoolKind>& pools);

}  // namespace cq
