#include "master/core/shares.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <set>

namespace cq {

std::vector<uint64_t> Shares(uint64_t slots, const std::vector<Claim>& claims) {
  std::vector<uint64_t> shares(claims.size(), 0);
  std::set<int64_t, std::greater<>> priorities;
  for (const Claim& claim : claims) priorities.insert(claim.priority);
  for (const int64_t priority : priorities) {
    // What the modest leave is shared by the others, again and again.
    for (bool more = true; more && slots > 0;) {
      std::vector<size_t> hungry;
      for (size_t i = 0; i < claims.size(); ++i) {
        if (claims[i].priority == priority && shares[i] < claims[i].wanted) hungry.push_back(i);
      }
      const uint64_t equal = hungry.empty() ? 0 : std::max<uint64_t>(slots / hungry.size(), 1);
      for (const size_t i : hungry) {
        const uint64_t given = std::min({equal, claims[i].wanted - shares[i], slots});
        shares[i] += given;
        slots -= given;
      }
      more = !hungry.empty();
    }
  }
  return shares;
}

}  // namespace cq
