// map and for_each of a program that embeds a master.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <list>
#include <ranges>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/e2e/embed_fixture.h"

TEST_F(EmbedTest, MapGivesTheResultsInTheOrderOfTheRange) {
  cq::Master master({.pools = {cq::Local(2)}});
  std::vector<double> grid;
  for (int i = 0; i < 5000; ++i) grid.push_back(i);
  size_t next = 0;
  for (auto& result : master.map(twice, grid)) {
    ASSERT_EQ(result.index(), next);
    ASSERT_EQ(*result, 2.0 * static_cast<double>(next));
    ++next;
  }
  EXPECT_EQ(next, grid.size());
  // A range that is a temporary, of one that can be read only once, and an empty one.
  int64_t sum = 0;
  for (auto& result : master.map(product, std::vector{std::tuple(2, 3), std::tuple(4, 5)})) {
    sum += *result;
  }
  EXPECT_EQ(sum, 26);
  for ([[maybe_unused]] auto& result : master.map(twice, std::list<double>())) FAIL();
}

TEST_F(EmbedTest, WithoutOrderResultsComeAsTheyEnd) {
  cq::Master master({.pools = {cq::Local(2)}});
  const std::string go = File("go");
  // The first waits for what is done with the last.
  std::vector<std::tuple<std::string, std::string>> calls{{File("begun"), go}};
  Touch(File("there"));
  for (int i = 0; i < 50; ++i) calls.emplace_back(File("other"), File("there"));
  std::set<size_t> seen;
  for (auto& result : master.map(waits, calls, {.ordered = false})) {
    EXPECT_TRUE(result);
    seen.insert(result.index());
    if (seen.size() == 50) {
      EXPECT_FALSE(seen.contains(0));
      Touch(go);
    }
  }
  EXPECT_EQ(seen.size(), 51u);
  size_t sum = 0;
  master.for_each(twice, std::views::iota(0, 100),
                  [&](cq::Result<double> result) { sum += static_cast<size_t>(*result); });
  EXPECT_EQ(sum, 9900u);
}

TEST_F(EmbedTest, ALongFirstElementDoesNotStopTheOthers) {
  cq::Master master({.pools = {cq::Local(2)}});
  std::vector<std::tuple<std::string, std::string>> calls{{File("begun"), File("go")}};
  Touch(File("there"));
  for (int i = 0; i < 3000; ++i) calls.emplace_back(File("other"), File("there"));
  std::thread opener([&] {
    EXPECT_TRUE(cq::Eventually([&] { return master.status().done == 3000; }));
    Touch(File("go"));
  });
  size_t count = 0;
  for (auto& result : master.map(waits, calls)) count += result ? 1 : 0;
  opener.join();
  EXPECT_EQ(count, 3001u);
}

TEST_F(EmbedTest, TheEndOfALoopCancelsWhatIsNotWanted) {
  cq::Master master({.pools = {cq::Local(2)}});
  size_t count = 0;
  for ([[maybe_unused]] auto& result :
       master.map(slowly, std::views::iota(0) | std::views::transform([](int) { return 0.001; }))) {
    if (++count == 10) break;
  }
  // What runs for an hour is ended, too.
  for ([[maybe_unused]] auto& result :
       master.map(slowly, std::vector<double>{0, 3600, 3600, 3600, 3600})) {
    break;
  }
  EXPECT_EQ(*master.submit(twice, 1).get(), 2.0);
  EXPECT_TRUE(cq::Eventually([&] {
    const auto status = master.status();
    return status.done == status.tasks && status.running == 0;
  }));
}

TEST_F(EmbedTest, AWindowBoundsWhatIsUnderWay) {
  cq::Master master({.pools = {cq::Local(2)}});
  std::atomic<size_t> read = 0;
  const auto elements = std::views::iota(0, 1000) | std::views::transform([&](int i) {
                          ++read;
                          return double(i);
                        });
  size_t taken = 0;
  for (auto& result : master.map(twice, elements, {.window = 20})) {
    ++taken;
    EXPECT_EQ(*result, 2.0 * static_cast<double>(taken - 1));
    EXPECT_LE(read, taken + 20);
  }
  EXPECT_EQ(taken, 1000u);
}

// The first element goes on when told; the others return much.
std::string much(const std::string& go) {
  if (go.empty()) return std::string(200'000, 'x');
  while (access(go.c_str(), F_OK) != 0) usleep(2000);
  return go;
}
CQ_FUNCTION(much);

TEST_F(EmbedTest, ResultsThatNobodyTakesYetAreBounded) {
  constexpr size_t kMemory = 8'000'000;
  cq::Master master({.pools = {cq::Local(2)}, .memory_bytes = kMemory});
  std::atomic<size_t> read = 0;
  const auto elements = std::views::iota(0, 2000) | std::views::transform([&](int i) {
                          ++read;
                          return i == 0 ? File("go") : std::string();
                        });
  std::thread opener([&] {
    // All that may be under way has ended.
    size_t before = 0;
    EXPECT_TRUE(cq::Eventually([&] {
      const auto status = master.status();
      const bool same = std::exchange(before, status.done) == status.done;
      return same && status.done > 10 && status.done + 1 == read;
    }));
    EXPECT_LE(read, 64 + kMemory / 200'000);
    Touch(File("go"));
  });
  size_t count = 0;
  for (auto& result : master.map(much, elements)) count += result ? 1 : 0;
  opener.join();
  EXPECT_EQ(count, 2000u);
}

TEST_F(EmbedTest, AnEndInTheMiddleOfAMapHoldsNothing) {
  for (int i = 0; i < 10; ++i) {
    cq::Master master({.pools = {cq::Local(2)}, .run_dir = File("run"), .keep = true});
    for (auto& result : master.map(twice, std::views::iota(0, 1000))) {
      EXPECT_TRUE(result);
      break;
    }
  }
  // The journal is one file, that can be copied.
  EXPECT_FALSE(std::filesystem::exists(File("run/journal.db-wal")));
}
