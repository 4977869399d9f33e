#pragma once

#include <cstdint>
#include <vector>

namespace cq {

/// What one of several runs asks of the slots that they share.
struct Claim {
  /// Larger ones get all that they want first.
  int64_t priority = 0;
  /// For how many slots it has work.
  uint64_t wanted = 0;
};

/// How many of so many slots each claim gets: among equals the same number, less for those that
/// want less; what is left when that does not come out even goes to the first of them.
std::vector<uint64_t> Shares(uint64_t slots, const std::vector<Claim>& claims);

}  // namespace cq
