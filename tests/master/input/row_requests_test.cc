#include "master/input/row_requests.h"

#include <gtest/gtest.h>

#include "cq/error.h"

namespace cq {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
const std::vector<std::string> kColumns = {"id", "gigabytes", "cores", "hours"};

std::string ErrorOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "none";
}

TEST(RowRequestsTest, ColumnsAndConstantsMakeARequest) {
  const RequestTexts texts{"{cores}", "{gigabytes}G", "{hours}h", "", {{"gpu", "1"}}};
  EXPECT_TRUE(texts.vary());
  const RowRequests requests(texts, kColumns);
  EXPECT_EQ(requests.Of({"1", "1.5", "2", "3"}),
            (TaskRequest{2, 3 * kGiB / 2, {{"gpu", 1}}, 10'800'000, ""}));
  EXPECT_EQ(requests.Of({"1", "", "", ""}), (TaskRequest{0, 0, {{"gpu", 1}}, 0, ""}))
      << "an empty field asks for nothing";
  EXPECT_FALSE((RequestTexts{"2", "", "", "", {}}).vary());
}

TEST(RowRequestsTest, WhatIsNoneIsSaid) {
  EXPECT_EQ(ErrorOf([] {
              RowRequests({"{cpus}", "", "", "", {}}, kColumns);
            }).substr(0, 24),
            "--task-cpus '{cpus}': un");
  const RowRequests requests({"{cores}", "{gigabytes}G", "", "", {}}, kColumns);
  EXPECT_EQ(ErrorOf([&] {
              requests.Of({"1", "x", "1", ""});
            }),
            "--task-memory 'xG': it must be a size such as 512, 4K, 300M or 1.5G");
  EXPECT_EQ(ErrorOf([&] {
              requests.Of({"1", "1", "0", ""});
            }),
            "--task-cpus '0': it must be a whole number of at least 1");
}

TEST(ClassFinderTest, EqualRequestsAreOneClass) {
  ClassFinder finder({PoolKind()});
  finder.Add(1, {.cpus = 1});
  finder.Add(2, {.cpus = 2});
  finder.Add(4, {.cpus = 1});
  const RequestClasses classes = finder.Take();
  ASSERT_EQ(classes.classes.size(), 3u);
  EXPECT_TRUE(classes.classes[0].TakesNothing()) << "that of rows that do not ask";
  EXPECT_EQ(classes.of, (std::vector<uint16_t>{1, 2, 0, 1}));
}

TEST(ClassFinderTest, FewSizesStayAsTheyAre) {
  ClassFinder finder({PoolKind()});
  finder.Add(1, {.memory_bytes = 1'234'567});
  EXPECT_EQ(finder.Take().classes[1].memory_bytes, 1'234'567u);
}

TEST(ClassFinderTest, ManySizesAreRoundedUpToTwoDigits) {
  ClassFinder finder({PoolKind()});
  for (TaskId task = 1; task <= 100'000; ++task)
    finder.Add(task, {.memory_bytes = task * 1000 + 1});
  const RequestClasses classes = finder.Take();
  EXPECT_LT(classes.classes.size(), 600u);
  for (TaskId task = 1; task <= 100'000; ++task) {
    const double given = static_cast<double>(classes.classes[classes.of[task - 1]].memory_bytes);
    const double asked = static_cast<double>(task * 1000 + 1);
    ASSERT_GE(given, asked);
    ASSERT_LE(given, asked * 1.11);
  }
}

TEST(ClassFinderTest, RoundingAsksForNothingThatNobodyHas) {
  PoolKind pool;
  pool.capacity.memory_bytes = 1'255'000;
  ClassFinder finder({pool});
  for (TaskId task = 1; task <= 1000; ++task) finder.Add(task, {.memory_bytes = 1'254'000 + task});
  const RequestClasses classes = finder.Take();
  EXPECT_EQ(classes.classes[classes.of[999]].memory_bytes, 1'255'000u);
}

TEST(ClassFinderTest, TimesAreRoundedUpToPowersOfTheRootOfTwo) {
  ClassFinder finder({PoolKind()});
  finder.Add(1, {.time_ms = 1000});
  finder.Add(2, {.time_ms = 1024});
  finder.Add(3, {.time_ms = 1025});
  const RequestClasses classes = finder.Take();
  EXPECT_EQ(classes.of[0], classes.of[1]);
  EXPECT_EQ(classes.classes[classes.of[0]].time_ms, 1024u);
  EXPECT_EQ(classes.classes[classes.of[2]].time_ms, 1448u);
}

TEST(ClassFinderTest, RoundingMovesNothingToAnotherPool) {
  PoolKind small;
  small.capacity.memory_bytes = 1'255'000;
  small.time_ms = 4 * 3'600'000;
  PoolKind large = small;
  large.capacity.memory_bytes = 9'000'000;
  large.time_ms *= 6;
  ClassFinder finder({small, large});
  for (TaskId task = 1; task <= 1000; ++task) {
    finder.Add(task, {.memory_bytes = 1'254'000 + task, .time_ms = small.time_ms});
  }
  const RequestClasses classes = finder.Take();
  for (const uint16_t of : classes.of) {
    ASSERT_LE(classes.classes[of].memory_bytes, 1'255'000u);
    ASSERT_EQ(classes.classes[of].time_ms, small.time_ms);
  }
}

TEST(ClassFinderTest, WhatNobodyHasIsSaid) {
  PoolKind pool;
  pool.capacity.cpus = 4;
  ClassFinder finder({pool});
  EXPECT_EQ(ErrorOf([&] { finder.Add(1, {.cpus = 5}); }),
            "it asks for 5 CPUs: its workers have 4 CPUs");
}

TEST(ClassFinderTest, TooManyDifferentThingsAreRefused) {
  ClassFinder finder({PoolKind()});
  for (TaskId task = 1; task <= 2000; ++task) finder.Add(task, {.cpus = task});
  EXPECT_EQ(ErrorOf([&] { finder.Take(); }),
            "the rows ask for 2000 different things, or are of as many kinds; at most 999: round "
            "what --task-memory and its like say, and name fewer columns as --kind");
}

}  // namespace
}  // namespace cq
