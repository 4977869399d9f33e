// When a proposer is spoken to, and when it may still speak.
#include "master/core/asker.h"

#include <gtest/gtest.h>

namespace cq {
namespace {

using Kind = Asker::Kind;
using Reply = Asker::Answer;

constexpr uint64_t kNoLimit = UINT64_MAX;

TEST(AskerTest, WithoutOneNothingIsToldAndNothingAwaited) {
  const Asker asker(Kind::kNone, {});
  EXPECT_FALSE(asker.Hears(Outcome::kOk));
  EXPECT_FALSE(asker.MaySpeak({0, 4, kNoLimit}));
  EXPECT_EQ(asker.Wanted({0, 4, kNoLimit}), 0u);
}

TEST(AskerTest, OneThatIsToldHearsOfWhatIsOkAndIsAwaited) {
  Asker asker(Kind::kIsTold, {});
  const Asker::Need need{3, 4, kNoLimit};
  EXPECT_TRUE(asker.Hears(Outcome::kOk));
  EXPECT_FALSE(asker.Hears(Outcome::kError));
  EXPECT_FALSE(asker.MaySpeak(need));
  asker.OnEndings(2);
  EXPECT_TRUE(asker.MaySpeak(need));
  EXPECT_TRUE(asker.IsToBeSpokenTo(need));
  EXPECT_EQ(asker.Wanted(need), 0u);
  asker.OnSpokenTo(1, 0, 3);
  EXPECT_FALSE(asker.IsToBeSpokenTo(need)) << "one message at a time";
  asker.OnAnswer(Reply::kRows);
  EXPECT_TRUE(asker.IsToBeSpokenTo(need)) << "one ending waits";
  asker.OnSpokenTo(1, 0, 3);
  EXPECT_TRUE(asker.MaySpeak(need));
  asker.OnAnswer(Reply::kNothing);
  EXPECT_FALSE(asker.MaySpeak(need));
}

TEST(AskerTest, OneThatIsAskedIsAskedForWhatWouldWait) {
  Asker asker(Kind::kIsAsked, {});
  EXPECT_TRUE(asker.Hears(Outcome::kCrashed));
  EXPECT_EQ(asker.Wanted({0, 4, kNoLimit}), 8u) << "for the slots, and one for each ahead";
  EXPECT_EQ(asker.Wanted({6, 4, kNoLimit}), 2u);
  EXPECT_EQ(asker.Wanted({9, 4, kNoLimit}), 0u);
  EXPECT_EQ(asker.Wanted({0, 4, 3}), 3u) << "as many as there may be";
  EXPECT_EQ(asker.Wanted({0, 0, kNoLimit}), 2u) << "before there is a slot";
  const Asker close(Kind::kIsAsked, 0);
  EXPECT_EQ(close.Wanted({3, 4, kNoLimit}), 1u);
  EXPECT_EQ(close.Wanted({4, 4, kNoLimit}), 0u);
  EXPECT_TRUE(asker.MaySpeak({9, 4, kNoLimit}));
  EXPECT_FALSE(asker.MaySpeak({9, 4, 0})) << "there may be no more";
}

TEST(AskerTest, WhoWaitsIsAskedAgainOnceThereIsSomethingNew) {
  Asker asker(Kind::kIsAsked, {});
  const Asker::Need runs{1, 4, kNoLimit};
  asker.OnSpokenTo(0, 7, 1);
  asker.OnAnswer(Reply::kNothing);
  EXPECT_FALSE(asker.IsToBeSpokenTo(runs));
  asker.OnEndings(1);
  EXPECT_TRUE(asker.IsToBeSpokenTo(runs));
  EXPECT_EQ(asker.Wanted(runs), 7u);
  asker.OnSpokenTo(1, 7, 1);
  asker.OnAnswer(Reply::kNothing);
  EXPECT_FALSE(asker.IsToBeSpokenTo(runs));
  asker.OnRows();
  EXPECT_TRUE(asker.IsToBeSpokenTo(runs)) << "others have added rows";
}

TEST(AskerTest, WithNothingToWaitForItIsAskedOnceMore) {
  Asker asker(Kind::kIsAsked, {});
  const Asker::Need nothing{0, 4, kNoLimit};
  asker.OnSpokenTo(0, 8, 0);
  asker.OnAnswer(Reply::kNothing);
  EXPECT_TRUE(asker.IsToBeSpokenTo(nothing));
  asker.OnSpokenTo(0, 8, 0);
  EXPECT_FALSE(asker.stuck());
  asker.OnAnswer(Reply::kNothing);
  EXPECT_TRUE(asker.stuck());
  EXPECT_FALSE(asker.MaySpeak(nothing));
}

TEST(AskerTest, WaitingWhileSomethingRanIsNotWaitingForNothing) {
  Asker asker(Kind::kIsAsked, {});
  asker.OnSpokenTo(0, 7, 1);
  asker.OnAnswer(Reply::kNothing);
  asker.OnEndings(1);
  asker.OnSpokenTo(1, 8, 0);
  asker.OnAnswer(Reply::kNothing);
  EXPECT_FALSE(asker.stuck());
  asker.OnSpokenTo(0, 8, 0);
  asker.OnAnswer(Reply::kRows);
  asker.OnSpokenTo(0, 8, 0);
  asker.OnAnswer(Reply::kNothing);
  EXPECT_FALSE(asker.stuck()) << "it has named rows in between";
}

TEST(AskerTest, WhoIsOnlyToldDoesNotWait) {
  Asker asker(Kind::kIsAsked, {});
  asker.OnEndings(1);
  asker.OnSpokenTo(1, 0, 0);
  asker.OnAnswer(Reply::kNothing);
  asker.OnSpokenTo(0, 8, 0);
  asker.OnAnswer(Reply::kNothing);
  EXPECT_FALSE(asker.stuck());
}

TEST(AskerTest, OneThatIsDoneOrClosedHearsNothing) {
  Asker asker(Kind::kIsAsked, {});
  asker.OnSpokenTo(0, 8, 0);
  asker.OnAnswer(Reply::kDone);
  EXPECT_TRUE(asker.done());
  EXPECT_FALSE(asker.Hears(Outcome::kOk));
  EXPECT_FALSE(asker.IsToBeSpokenTo({0, 4, kNoLimit}));
  Asker closed(Kind::kIsAsked, {});
  closed.OnSpokenTo(0, 8, 0);
  closed.Close();
  closed.OnAnswer(Reply::kRows);
  EXPECT_FALSE(closed.MaySpeak({0, 4, kNoLimit}));
  EXPECT_FALSE(closed.done());
}

TEST(AskerTest, WhoeverLooksIsToldWhatItDoes) {
  Asker none(Kind::kNone, {});
  none.Close();
  EXPECT_EQ(none.Text(), "");
  Asker asker(Kind::kIsAsked, 0);
  const Asker::Need need{0, 2, 10};
  EXPECT_EQ(asker.Text(), "is not asked: enough rows wait");
  asker.OnSpokenTo(0, asker.Wanted(need), 0);
  EXPECT_EQ(asker.Text(), "is asked for 2 rows");
  asker.OnEndings(3);
  EXPECT_EQ(asker.Text(), "has 3 results to think about");
  asker.OnAnswer(Reply::kNothing);
  asker.OnSpokenTo(3, 0, 4);
  EXPECT_EQ(asker.Text(), "has 3 results to think about");
  asker.OnAnswer(Reply::kDone);
  EXPECT_EQ(asker.Text(), "names no more rows");
}

}  // namespace
}  // namespace cq
