// Reports that are on their way into the journal.
#include "master/core/awaited_commits.h"

#include <gtest/gtest.h>

namespace cq {
namespace {

using std::chrono::seconds;

TEST(AwaitedCommitsTest, OneOfASpanIsFoundAndOnlyTheWholeIsTaken) {
  AwaitedCommits awaited;
  awaited.Add({10, 100, 3}, WorkerRef{1, 0, 0}, seconds(5));
  EXPECT_EQ(awaited.tasks(), 3u);
  EXPECT_TRUE(awaited.Has({11, 101}));
  EXPECT_FALSE(awaited.Has({11, 102})) << "another task of that attempt";
  EXPECT_FALSE(awaited.Has({13, 103}));
  ASSERT_NE(awaited.Find(102), nullptr);
  EXPECT_EQ(awaited.Find(99), nullptr);
  EXPECT_EQ(awaited.Find(103), nullptr);
  EXPECT_FALSE(awaited.Take({12, 102, 1}));
  const auto taken = awaited.Take({10, 100, 3});
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->since, seconds(5));
  EXPECT_TRUE(awaited.empty());
  EXPECT_EQ(awaited.tasks(), 0u);
}

TEST(AwaitedCommitsTest, AnAttemptThatEndedTwiceIsOne) {
  AwaitedCommits awaited;
  awaited.Add({1, 7, 1}, std::nullopt, seconds(1));
  awaited.Add({1, 7, 1}, WorkerRef{2, 1, 0}, seconds(2));
  EXPECT_EQ(awaited.tasks(), 1u);
  EXPECT_EQ(awaited.Take({1, 7, 1})->worker->number, 2u);
  EXPECT_FALSE(awaited.Take({1, 7, 1}));
}

}  // namespace
}  // namespace cq
