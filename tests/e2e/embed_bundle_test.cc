// Elements of a map that travel together: a program cannot tell.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <ranges>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "cq/master.h"
#include "tests/e2e/embed_fixture.h"

std::vector<uint64_t> identity(uint64_t x) { return {cq::task().task, cq::task().seed, x}; }
CQ_FUNCTION(identity);

// Leaves a byte for each call, and returns so many.
std::string large(const std::string& file, int64_t bytes) {
  counted(file, bytes);
  return std::string(static_cast<size_t>(bytes), 'x');
}
CQ_FUNCTION(large);

// The process that has worked on it for so long.
int64_t slot_after(double delay) {
  slowly(delay);
  return getpid();
}
CQ_FUNCTION(slot_after);

namespace {

TEST_F(EmbedTest, ElementsOfABundleHaveTheirOwnNumbersAndSeeds) {
  std::vector<std::vector<std::vector<uint64_t>>> runs;
  for (const size_t bundle : {1, 50, 0}) {
    cq::Master master({.pools = {cq::Local(2)}, .seed = 7});
    auto& run = runs.emplace_back();
    for (auto& result :
         master.map(identity, std::views::iota(uint64_t{0}, uint64_t{3000}), {.bundle = bundle})) {
      run.push_back(result.value());
    }
    run.push_back(master.submit(identity, 1).get().value());
    const auto all = [&] { return master.status().done == 3001 && master.status().tasks == 3001; };
    EXPECT_TRUE(cq::Eventually(all)) << master.status().done << " of " << master.status().tasks;
  }
  EXPECT_EQ(runs[0].size(), 3001u);
  EXPECT_EQ(runs[0][10], (std::vector<uint64_t>{11, runs[0][10][1], 10}));
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_EQ(runs[0], runs[2]);
}

TEST_F(EmbedTest, AnErrorInABundleIsThatOfItsElement) {
  cq::Master master({.pools = {cq::Local(2)}});
  int64_t expected = 0;
  for (auto& result :
       master.map(fails, std::views::iota(int64_t{0}, int64_t{200}), {.bundle = 64})) {
    if (expected % 2 == 0) {
      EXPECT_EQ(result.value(), expected);
    } else {
      EXPECT_EQ(result.error().message, "odd: " + std::to_string(expected));
      EXPECT_NE(result.error().err.find("a last word"), std::string::npos);
    }
    ++expected;
  }
  EXPECT_EQ(expected, 200);
}

TEST_F(EmbedTest, OneElementThatCrashesLeavesTheRestOfItsBundle) {
  cq::Master master({.pools = {cq::Local(2)}, .warn = [](const std::string&) {}});
  int64_t expected = 0;
  const auto negative_once = [](int64_t x) { return x == 70 ? -1 : x; };
  for (auto& result : master.map(
           dies, std::views::iota(int64_t{0}, int64_t{128}) | std::views::transform(negative_once),
           {.bundle = 64})) {
    if (expected == 70) {
      EXPECT_EQ(result.error().outcome, cq::Outcome::kCrashed);
      EXPECT_NE(result.error().message.find("charged 3 times"), std::string::npos);
    } else {
      EXPECT_EQ(result.value(), expected);
    }
    ++expected;
  }
  EXPECT_EQ(expected, 128);
}

// Neither holds up the others: what its bundle did not get to goes out anew, and runs once.
TEST_F(EmbedTest, LargeResultsEndABundle) {
  cq::Master master({.pools = {cq::Local(2)}});
  // Together more than a frame of a slot takes.
  constexpr int64_t kCount = 80;
  const auto arguments = [&](int64_t) { return std::tuple(File("calls"), int64_t{300'000}); };
  int64_t count = 0;
  for (auto& result :
       master.map(large, std::views::iota(int64_t{0}, kCount) | std::views::transform(arguments),
                  {.bundle = kCount})) {
    EXPECT_EQ(result.value().size(), 300'000u);
    ++count;
  }
  EXPECT_EQ(count, kCount);
  EXPECT_EQ(Calls(), static_cast<size_t>(kCount));
}

TEST_F(EmbedTest, LongElementsEndABundleAndItsRestGoesToAllSlots) {
  cq::Master master({.pools = {cq::Local(2)}});
  std::set<int64_t> slots;
  for (auto& result : master.map(slot_after, std::vector<double>(20, 0.02), {.bundle = 20})) {
    slots.insert(result.value());
  }
  EXPECT_EQ(slots.size(), 2u);
}

TEST_F(EmbedTest, TheEndOfALoopCancelsBundles) {
  cq::Master master({.pools = {cq::Local(2)}});
  for (auto& result : master.map(slowly, std::vector<double>(1000, 0.002), {.bundle = 100})) {
    EXPECT_TRUE(result.has_value());
    break;
  }
  EXPECT_EQ(master.submit(twice, 4).get().value(), 8);
}

TEST_F(EmbedTest, InARunDirectoryEachElementIsATask) {
  const auto arguments = [&](int i) { return std::tuple(File("calls"), int64_t{i}); };
  for (int run = 0; run < 2; ++run) {
    cq::Master master({.pools = {cq::Local(2)}, .run_dir = File("run"), .keep = true});
    for (auto& result :
         master.map(counted, std::views::iota(0, 100) | std::views::transform(arguments),
                    {.bundle = 50})) {
      EXPECT_TRUE(result.has_value());
    }
    EXPECT_EQ(Calls(), 100u);
  }
  const auto results = cq::Cq({"query", "run", "SELECT count(*) FROM results"}, directory_.path());
  EXPECT_EQ(results.out, "count(*)\n100\n") << results.err;
}

}  // namespace
