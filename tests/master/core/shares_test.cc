#include "master/core/shares.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace cq {
namespace {

using Numbers = std::vector<uint64_t>;

TEST(Shares, EqualsGetTheSame) {
  EXPECT_EQ(Shares(12, {{0, 100}, {0, 100}, {0, 100}}), (Numbers{4, 4, 4}));
  EXPECT_EQ(Shares(1, {{0, 100}}), (Numbers{1}));
  EXPECT_EQ(Shares(5, {}), Numbers{});
}

TEST(Shares, WhatTheModestLeaveGoesToTheOthers) {
  EXPECT_EQ(Shares(12, {{0, 100}, {0, 2}, {0, 100}}), (Numbers{5, 2, 5}));
  EXPECT_EQ(Shares(12, {{0, 1}, {0, 0}, {0, 3}}), (Numbers{1, 0, 3}));
}

TEST(Shares, WhatDoesNotComeOutEvenGoesToTheFirst) {
  EXPECT_EQ(Shares(11, {{0, 100}, {0, 100}, {0, 100}}), (Numbers{4, 4, 3}));
  EXPECT_EQ(Shares(2, {{0, 100}, {0, 100}, {0, 100}}), (Numbers{1, 1, 0}));
}

TEST(Shares, LargerPrioritiesGetAllThatTheyWantFirst) {
  EXPECT_EQ(Shares(10, {{0, 100}, {5, 7}, {0, 100}}), (Numbers{2, 7, 1}));
  EXPECT_EQ(Shares(10, {{-1, 100}, {0, 100}}), (Numbers{0, 10}));
}

TEST(Shares, NothingIsLostAndNobodyGetsMoreThanItWants) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<Claim> claims(random() % 8);
    uint64_t wanted = 0;
    for (Claim& claim : claims) {
      claim = {static_cast<int64_t>(random() % 3), random() % 40};
      wanted += claim.wanted;
    }
    const uint64_t slots = random() % 100;
    const Numbers shares = Shares(slots, claims);
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), uint64_t{0}), std::min(slots, wanted));
    for (size_t i = 0; i < claims.size(); ++i) {
      EXPECT_LE(shares[i], claims[i].wanted);
      for (size_t j = 0; j < claims.size(); ++j) {
        const bool hungry = shares[j] < claims[j].wanted;
        if (!hungry) continue;
        // Whoever is still hungry has as much as any equal, but for one, and more than all that
        // come after it have leaves nothing for them.
        if (claims[i].priority == claims[j].priority) {
          EXPECT_LE(shares[i], shares[j] + 1);
        } else if (claims[i].priority < claims[j].priority) {
          EXPECT_EQ(shares[i], 0u);
        }
      }
    }
  }
}

}  // namespace
}  // namespace cq
