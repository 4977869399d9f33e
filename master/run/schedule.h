#pragma once

#include <cstdint>
#include <utility>
#include <vector>

// When a number of rows would be done whose times are known: the longest first, each to the slot
// that is free first. Pure.
namespace cq {

/// The time until the last one ends. `costs`: the largest first, in any unit.
double Makespan(const std::vector<double>& costs, uint64_t slots);

struct Schedule {
  /// So many workers are needed; 0: not even one for each row would do.
  uint64_t workers = 0;
  double makespan = 0;
  /// The makespans of some numbers of workers around it.
  std::vector<std::pair<uint64_t, double>> around;
};

/// The fewest workers of so many slots each that are done by `deadline`. `costs` as above. Each
/// worker has its first row after `startup`, which is part of all times.
Schedule PlanSchedule(const std::vector<double>& costs, uint64_t slots, double startup,
                      double deadline);

}  // namespace cq
