#pragma once

#include <cstddef>
#include <vector>

/// A stretch of positions with the same count: `weight` positions (its length in bases), `count`
/// reads over each.
struct Stretch {
  double weight = 0;
  double count = 0;
};

struct Segmentation {
  /// How many segments the best segmentation has.
  size_t segments = 0;
  /// Its Poisson loss without the penalty: the sum of weight · (mean − count · log mean).
  double loss = 0;
};

/// The segmentation of `profile` (at least one stretch) that minimises loss + penalty · (segments −
/// 1), where each segment has one mean: optimal partitioning, with the candidates pruned that can
/// never be best again (Killick, Fearnhead and Eckley 2012, "Optimal detection of changepoints with
/// a linear computational cost"). Time: between linear and quadratic in the number of stretches.
Segmentation Segment(const std::vector<Stretch>& profile, double penalty);
