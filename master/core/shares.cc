#include "master/core/shares.h"

#include <algorithm>
#include <cstddef>

namespace cq {

std::vector<uint64_t> Shares(uint64_t slots, const std::vector<Claim>& claims) {
  std::vector<uint64_t> shares(claims.size(), 0);
  // The modest first: what they leave is shared by those behind them.
  std::vector<size_t> order(claims.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (claims[a].priority != claims[b].priority) return claims[a].priority > claims[b].priority;
    return claims[a].wanted < claims[b].wanted;
  });
  for (size_t first = 0; first < order.size() && slots > 0;) {
    size_t last = first;
    while (last < order.size() && claims[order[last]].priority == claims[order[first]].priority) {
      ++last;
    }
    for (size_t at = first; at < last; ++at) {
      // Rounded up: what does not come out even goes to the first.
      const uint64_t equal = (slots + (last - at) - 1) / (last - at);
      const uint64_t given = std::min(claims[order[at]].wanted, equal);
      shares[order[at]] = given;
      slots -= given;
    }
    first = last;
  }
  return shares;
}

}  // namespace cq
