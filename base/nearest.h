#pragma once

#include <set>
#include <string>
#include <string_view>

namespace cq {

/// The candidate nearest to `word` in edit distance, for "did you mean"; empty if none is near.
std::string Nearest(std::string_view word, const std::set<std::string>& candidates);

}  // namespace cq
