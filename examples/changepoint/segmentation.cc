#include "segmentation.h"

#include <cmath>
#include <limits>

namespace {

// Sums over the first stretches, so that the loss of any segment takes constant time.
class SegmentLoss {
 public:
  explicit SegmentLoss(const std::vector<Stretch>& profile)
      : weight_(profile.size() + 1), total_(profile.size() + 1) {
    for (size_t i = 0; i < profile.size(); ++i) {
      weight_[i + 1] = weight_[i] + profile[i].weight;
      total_[i + 1] = total_[i] + profile[i].weight * profile[i].count;
    }
  }

  // Of the stretches [begin, end), with their own mean: the sum of w · m is the sum of w · c.
  double operator()(size_t begin, size_t end) const {
    const double total = total_[end] - total_[begin];
    if (total <= 0) return 0;
    return total - total * std::log(total / (weight_[end] - weight_[begin]));
  }

 private:
  std::vector<double> weight_;
  std::vector<double> total_;
};

}  // namespace

Segmentation Segment(const std::vector<Stretch>& profile, double penalty) {
  const SegmentLoss loss(profile);
  const size_t n = profile.size();
  // best[t]: the least cost of the first t stretches, one penalty for each segment but the first.
  std::vector<double> best(n + 1);
  std::vector<size_t> last_begin(n + 1);
  best[0] = -penalty;
  std::vector<size_t> candidates;
  for (size_t t = 1; t <= n; ++t) {
    candidates.push_back(t - 1);
    best[t] = std::numeric_limits<double>::infinity();
    std::vector<double> without_penalty(candidates.size());
    for (size_t i = 0; i < candidates.size(); ++i) {
      without_penalty[i] = best[candidates[i]] + loss(candidates[i], t);
      if (without_penalty[i] + penalty < best[t]) {
        best[t] = without_penalty[i] + penalty;
        last_begin[t] = candidates[i];
      }
    }
    // A beginning that costs more than starting anew at t does so for every later end, too.
    size_t kept = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (without_penalty[i] <= best[t]) candidates[kept++] = candidates[i];
    }
    candidates.resize(kept);
  }
  Segmentation result;
  for (size_t end = n; end > 0; end = last_begin[end]) {
    ++result.segments;
    result.loss += loss(last_begin[end], end);
  }
  return result;
}
