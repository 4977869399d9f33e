#include "protocol/task_request.h"

#include <gtest/gtest.h>

namespace cq {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(TaskRequestTest, AWorkerRunsAsManyAsItsScarcestResourceAllows) {
  const Capacity has{8, 32 * kGiB, {{"gpu", 2}}};
  EXPECT_EQ(has.Places({}, 5), 5u) << "who asks for nothing takes a slot";
  EXPECT_EQ(has.Places({.cpus = 3}, 5), 2u);
  EXPECT_EQ(has.Places({.memory_bytes = 10 * kGiB}, 5), 3u);
  EXPECT_EQ(has.Places({.cpus = 1, .needs = {{"gpu", 1}}}, 5), 2u);
  EXPECT_EQ(has.Places({.needs = {{"licence", 1}}}, 5), 0u) << "what is not there is not there";
  EXPECT_FALSE(has.Holds({.cpus = 9}));
  EXPECT_TRUE(Capacity().Holds({.cpus = 9, .memory_bytes = 99 * kGiB}))
      << "what is not known bounds nothing";
}

TEST(TaskRequestTest, WhoDoesNotSayIsGivenAnEqualShare) {
  Capacity has{8, 32 * kGiB, {}};
  has.cpus_of_task = 2;
  has.memory_of_task = 8 * kGiB;
  EXPECT_EQ(has.Share({}).cpus, 2u);
  EXPECT_EQ(has.Share({.memory_bytes = kGiB}).memory_bytes, kGiB);
  EXPECT_EQ(has.Places({}, 10), 4u);
}

TEST(TaskRequestTest, WhatIsTakenComesBackWhole) {
  const Capacity has{4, std::nullopt, {{"gpu", 2}}};
  const TaskRequest large{.cpus = 3, .needs = {{"gpu", 2}}};
  const TaskRequest small{.cpus = 1};
  Commitment taken;
  taken.Add(large);
  EXPECT_FALSE(taken.Leaves(has, large));
  EXPECT_FALSE(taken.Leaves(has, {.needs = {{"gpu", 1}}}));
  EXPECT_TRUE(taken.Leaves(has, small));
  taken.Add(small);
  EXPECT_FALSE(taken.Leaves(has, small));
  taken.Remove(large);
  taken.Remove(small);
  EXPECT_EQ(taken, Commitment());
}

// Sums that are too large for a worker, as no honest one has them.
TEST(TaskRequestTest, NoSumOverflowsIntoRoom) {
  const Capacity has{UINT64_MAX, UINT64_MAX, {}};
  Commitment taken;
  taken.Add({.cpus = UINT64_MAX - 1});
  EXPECT_FALSE(taken.Leaves(has, {.cpus = 2}));
  EXPECT_TRUE(taken.Leaves(has, {.cpus = 1}));
}

TEST(TaskRequestTest, TravelsAsExtras) {
  const TaskRequest asked{.cpus = 2, .memory_bytes = 5, .needs = {{"gpu", 1}, {"licence", 3}}};
  Extras extras;
  PutRequest(extras, asked);
  EXPECT_EQ(TakenBy(extras), asked);
  EXPECT_EQ(TakenBy({{"dangerous", true}}), std::nullopt);
  EXPECT_EQ(TakenBy({{"cpus", std::string("two")}}), std::nullopt) << "no number is no request";
  EXPECT_EQ(TakenBy({{"cpus", int64_t{-1}}, {"need:gpu", int64_t{0}}}), std::nullopt);
  // A peer's word: sums of it fit.
  EXPECT_LT(TakenBy({{"memory", INT64_MAX}})->memory_bytes, uint64_t{1} << 51);

  Capacity has{8, 7, {{"gpu", 1}}};
  has.cpus_of_task = 2;
  has.memory_of_task = 3;
  Extras hello;
  PutCapacity(hello, has, "large");
  EXPECT_EQ(CapacityOf(hello), has);
  EXPECT_EQ(PoolOf(hello), "large");
  EXPECT_EQ(CapacityOf({}), Capacity());
}

TEST(TaskRequestTest, IsReadByPeople) {
  EXPECT_EQ(Describe(TaskRequest{2, 3 * kGiB / 2, {{"gpu", 1}}, 90'000, "large"}),
            "2 CPUs, 1.5G, gpu 1, 90s, pool 'large'");
  EXPECT_EQ(Describe(TaskRequest()), "a slot");
  EXPECT_EQ(Describe(Capacity{1, kGiB, {}}), "1 CPU, 1G");
}

}  // namespace
}  // namespace cq
