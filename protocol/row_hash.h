#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace cq {

/// What stands for the values of a row: 128 bits, so that two rows of 10⁹ that differ have the same
/// with a probability below 10⁻²⁰.
struct RowHash {
  uint64_t high = 0;
  uint64_t low = 0;
  auto operator<=>(const RowHash&) const = default;
};
RowHash HashOf(const std::vector<std::string>& fields);

}  // namespace cq
