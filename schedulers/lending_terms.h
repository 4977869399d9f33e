#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cq {

/// How a scheduler that lends stands to us (SchedulerTraits).
struct LendingTerms {
  /// Workers whose allocations begin so are its loans; of them it wants back all but so many; none:
  /// it wants none back.
  std::string allocations;
  std::optional<uint64_t> limit;
  /// None of those on these machines, which are of no use to others.
  std::vector<std::string> spared;
  /// These loans are to be emptied: the workers that they are on leave.
  std::vector<std::string> leaving;
  /// It could lend this many, now or once it has more workers.
  uint64_t slots = 0;
  /// What is being waited for, if anything is.
  std::string waits;
  /// No more will come, for this reason; empty: they may.
  std::string over;
};

}  // namespace cq
