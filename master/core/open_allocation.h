#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace cq {

/// A submission that may still have jobs.
struct OpenAllocation {
  std::string token;
  std::string scheduler;
  uint64_t pool = 0;
  uint64_t workers = 0;
  /// Empty: the master died before it knew the scheduler's id.
  std::string job;
  /// Since when the master meant to submit it.
  std::chrono::seconds age{};
  /// Of workers that may still live, its own and others.
  std::vector<std::string> allocations = {};
};

}  // namespace cq
