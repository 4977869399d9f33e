#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>

#include "segmentation.h"

namespace {

// The loss of one segment, from its definition.
double SlowLoss(const std::vector<Stretch>& profile, size_t begin, size_t end) {
  double weight = 0;
  double total = 0;
  for (size_t i = begin; i < end; ++i) {
    weight += profile[i].weight;
    total += profile[i].weight * profile[i].count;
  }
  const double mean = total / weight;
  double loss = 0;
  for (size_t i = begin; i < end; ++i) {
    loss += profile[i].weight * mean;
    if (profile[i].count > 0) loss -= profile[i].weight * profile[i].count * std::log(mean);
  }
  return loss;
}

// The least loss + penalty · (segments − 1) over all segmentations: segment neighbourhood, every
// number of segments in turn.
double SlowBest(const std::vector<Stretch>& profile, double penalty) {
  const size_t n = profile.size();
  std::vector<double> best(n + 1, std::numeric_limits<double>::infinity());
  best[0] = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t segments = 1; segments <= n; ++segments) {
    std::vector<double> next(n + 1, std::numeric_limits<double>::infinity());
    for (size_t end = 1; end <= n; ++end) {
      for (size_t begin = 0; begin < end; ++begin) {
        next[end] = std::min(next[end], best[begin] + SlowLoss(profile, begin, end));
      }
    }
    best = next;
    least = std::min(least, best[n] + penalty * static_cast<double>(segments - 1));
  }
  return least;
}

TEST(SegmentationTest, EqualsTheSlowDynamicProgramOnRandomProfiles) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Stretch> profile(1 + random() % 20);
    for (Stretch& stretch : profile)
      stretch = {static_cast<double>(1 + random() % 50), static_cast<double>(random() % 8)};
    for (const double penalty : {0.0, 0.5, 3.0, 20.0, 200.0}) {
      const Segmentation fast = Segment(profile, penalty);
      const double cost = fast.loss + penalty * static_cast<double>(fast.segments - 1);
      const double slow = SlowBest(profile, penalty);
      EXPECT_NEAR(cost, slow, 1e-9 * (1 + std::abs(slow)))
          << "trial " << trial << ", penalty " << penalty;
    }
  }
}

TEST(SegmentationTest, SegmentsFallAsThePenaltyGrowsOverTheRealProfile) {
  std::ifstream file(CHANGEPOINT_DIR "/Mono27ac.bedGraph");
  ASSERT_TRUE(file);
  std::vector<Stretch> profile;
  std::string chromosome;
  for (double start = 0, end = 0, count = 0; file >> chromosome >> start >> end >> count;) {
    profile.push_back({end - start, count});
  }
  ASSERT_EQ(profile.size(), 6921u);
  std::ifstream penalties(CHANGEPOINT_DIR "/penalties.csv");
  std::string header;
  std::getline(penalties, header);
  size_t previous = std::numeric_limits<size_t>::max();
  size_t first = 0;
  int index = 0;
  // Every tenth of the 200: the whole file is the main job, whose order another test looks at.
  for (double penalty = 0; penalties >> penalty; ++index) {
    if (index % 10 != 0) continue;
    const size_t segments = Segment(profile, penalty).segments;
    EXPECT_LE(segments, previous) << penalty;
    previous = segments;
    if (first == 0) first = segments;
  }
  EXPECT_EQ(index, 200);
  EXPECT_GT(first, 1000u);
  EXPECT_LE(previous, 2u);
}

}  // namespace
