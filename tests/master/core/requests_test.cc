#include "master/core/requests.h"

#include <gtest/gtest.h>

namespace cq {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
using Homes = std::vector<size_t>;

PoolKind Pool(const std::string& name, Capacity has, uint64_t time_ms = 0) {
  return {name, std::move(has), 1, time_ms};
}

const std::vector<PoolKind> kPools = {
    Pool("large", {8, 64 * kGiB, {}}), Pool("small", {2, 4 * kGiB, {}}),
    Pool("gpu", {2, 4 * kGiB, {{"gpu", 1}}}), Pool("short", {2, 2 * kGiB, {}}, 60'000)};

TEST(HomesOfTest, ATaskIsWorkForTheSmallestPoolThatItFits) {
  struct Case {
    TaskRequest asked;
    Homes homes;
    const char* why;
  };
  const Case cases[] = {
      {{}, {3}, "nothing asked"},
      {{.memory_bytes = 3 * kGiB}, {1}, "more than the short pool has"},
      {{.memory_bytes = 5 * kGiB}, {0}, "only the large one has it"},
      {{.cpus = 8}, {0}, "CPUs"},
      {{.needs = {{"gpu", 1}}}, {2}, "a resource"},
      {{.time_ms = 61'000}, {1}, "longer than the short one lives"},
      {{.pool = "gpu"}, {2}, "named"},
      {{.cpus = 9}, {}, "nobody"},
      {{.memory_bytes = 5 * kGiB, .pool = "small"}, {}, "named, and too small"},
  };
  for (const Case& one : cases) EXPECT_EQ(HomesOf(one.asked, kPools), one.homes) << one.why;
}

TEST(HomesOfTest, EqualPoolsAreAllItsHome) {
  const std::vector<PoolKind> pools = {Pool("a", {}), Pool("b", {})};
  EXPECT_EQ(HomesOf({}, pools), (Homes{0, 1}));
  // Of what is asked for, one says that it has it.
  const std::vector<PoolKind> one_says = {Pool("a", {}), Pool("b", {4, std::nullopt, {}})};
  EXPECT_EQ(HomesOf({.cpus = 2}, one_says), Homes{1});
}

TEST(HomesOfTest, TheWorkOfAClosedPoolIsOthers) {
  EXPECT_EQ(HomesOf({.memory_bytes = 3 * kGiB}, kPools, {false, true}), Homes{0})
      << "rather than keep a GPU from others";
  EXPECT_EQ(HomesOf({.memory_bytes = 5 * kGiB}, kPools, {true}), Homes{});
}

TEST(WhyHomelessTest, NamesWhatComesNearest) {
  EXPECT_EQ(WhyHomeless({.cpus = 9}, kPools),
            "no pool has that; the nearest is 'gpu': its workers have 2 CPUs");
  EXPECT_EQ(WhyHomeless({.pool = "none"}, kPools),
            "there is no pool 'none'; the pools are: large, small, gpu, short");
  EXPECT_EQ(WhyHomeless({.memory_bytes = 5 * kGiB, .pool = "small"}, kPools),
            "no pool has that; the nearest is 'small': its workers have 4G of memory");
  EXPECT_EQ(WhyHomeless({.cpus = 3}, {Pool("default", {2, kGiB, {}})}), "its workers have 2 CPUs");
}

}  // namespace
}  // namespace cq
