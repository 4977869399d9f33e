#include "master/run/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace cq {
namespace {

TEST(ScheduleTest, EachRowGoesToTheSlotThatIsFreeFirst) {
  EXPECT_EQ(Makespan({5, 4, 3, 3, 3}, 2), 10);
  EXPECT_EQ(Makespan({5, 4, 3, 3, 3}, 1), 18);
  EXPECT_EQ(Makespan({5, 4}, 9), 5);
  EXPECT_EQ(Makespan({}, 3), 0);
}

TEST(ScheduleTest, TheFewestWorkersAreFound) {
  const std::vector<double> costs = {5, 4, 3, 3, 3};
  const Schedule plan = PlanSchedule(costs, 1, 0, 10);
  EXPECT_EQ(plan.workers, 2u);
  EXPECT_EQ(plan.makespan, 10);
  const std::vector<std::pair<uint64_t, double>> around = {{1, 18}, {2, 10}, {3, 7}, {4, 6}};
  EXPECT_EQ(plan.around, around);
  EXPECT_EQ(PlanSchedule(costs, 2, 0, 10).workers, 1u) << "of two slots each";
  EXPECT_EQ(PlanSchedule(costs, 1, 1, 10).workers, 3u) << "each begins late";
}

TEST(ScheduleTest, ADeadlineThatTheLongestRowMissesHasNoNumber) {
  const Schedule plan = PlanSchedule({5, 1}, 1, 1, 5.5);
  EXPECT_EQ(plan.workers, 0u);
  EXPECT_EQ(plan.makespan, 6);
  EXPECT_EQ(PlanSchedule({5, 1}, 1, 1, 6).workers, 2u);
}

// One fewer is too few, and no schedule does it with fewer than the work itself needs.
TEST(ScheduleTest, NoFewerWouldDo) {
  std::mt19937 random(1);
  std::lognormal_distribution<double> cost(0, 1.3);
  for (int world = 0; world < 200; ++world) {
    std::vector<double> costs(1 + random() % 300);
    for (double& one : costs) one = cost(random);
    std::sort(costs.rbegin(), costs.rend());
    const double sum = std::accumulate(costs.begin(), costs.end(), 0.0);
    const double deadline = costs[0] + sum / static_cast<double>(1 + random() % 20);
    const Schedule plan = PlanSchedule(costs, 1, 0, deadline);
    ASSERT_GT(plan.workers, 0u);
    ASSERT_LE(plan.makespan, deadline);
    ASSERT_EQ(plan.makespan, Makespan(costs, plan.workers));
    if (plan.workers > 1) {
      ASSERT_GT(Makespan(costs, plan.workers - 1), deadline);
    }
  }
}

}  // namespace
}  // namespace cq
