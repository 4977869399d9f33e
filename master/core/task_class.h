#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/task_request.h"

namespace cq {

/// How long tasks take: a mean over about the last thousand, which follows a run whose rows change
/// their nature. Zero: nobody knows.
struct Pace {
  uint64_t tasks = 0;
  std::chrono::nanoseconds mean{};
  /// The last ones, and how many there were.
  std::array<std::chrono::nanoseconds, 64> last{};
  uint64_t ended = 0;
  /// The same of those that were ok.
  std::array<std::chrono::nanoseconds, 64> last_well{};
  uint64_t ended_well = 0;
  /// What Most said last, and of how many: it is asked of every worker.
  mutable std::chrono::nanoseconds most{};
  mutable uint64_t most_of = 0;
  /// How long those have run so far that run longer than most took; and when that was looked at.
  std::vector<std::chrono::nanoseconds> running;
  std::chrono::nanoseconds counted{};

  /// So many took so long together.
  void Learn(std::chrono::microseconds wall, uint64_t count, bool ok);
  void SetRunning(std::vector<std::chrono::nanoseconds> longer);
  /// What 95 % of the last ones took at most, those that still run counted as far as they are;
  /// zero: fewer than five have ended.
  std::chrono::nanoseconds Most() const;
  /// Of the last ones that were ok; zero: fewer than five were.
  std::chrono::nanoseconds Median() const;
  /// The standard error of their mean, in seconds.
  double Error() const;
};

/// What tasks of one class have in common.
struct TaskClass {
  TaskRequest request;
  /// The pools for which they are work; none: nobody has what they ask for.
  std::vector<size_t> homes;
  Pace pace;
  /// Since when some are ready and none was given out.
  std::optional<std::chrono::nanoseconds> waits_since;
  /// The worker that was kept for it last, and since when it has had room there in vain.
  uint64_t kept = 0;
  std::optional<std::chrono::nanoseconds> fits_since = {};
  /// Their time limit is so many thousandths of what it was.
  uint64_t time_permille = 1000;
};

/// The longest that workers of a pool may live in all, and had when they were looked at; zero:
/// nobody's end is known.
struct LongestLife {
  std::chrono::nanoseconds all{};
  std::chrono::nanoseconds left{};
};

}  // namespace cq
