// The rules that say at which pace tasks start, how long they may run compared with others, and
// when enough of them have ended.
#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

class PaceTest : public CoreTest {
 protected:
  void Begin(AttemptRef ref) { Report(1, Started{kRun, {{ref.task, ref.attempt, 0}}}); }
  // It runs for a second, and its worker is heard.
  std::vector<Action> Second() {
    auto all = Tick(seconds(1));
    for (Action& action : Report(1, WorkerHeartbeat{0, 100, {}, {}})) {
      all.push_back(std::move(action));
    }
    return all;
  }
};

TEST_F(PaceTest, OneTaskStartsAfterEachDelayHoweverManySlotsAreFree) {
  options_.delay = milliseconds(500);
  Start(10);
  EXPECT_EQ(core_->DueIn(now_, seconds(1)), seconds(1)) << "nobody is there to take one";
  EXPECT_EQ(Given(Join(1, 1, 4), 1).size(), 1u);
  EXPECT_EQ(core_->DueIn(now_, seconds(1)), milliseconds(500));
  EXPECT_TRUE(Given(Tick(milliseconds(499)), 1).empty());
  EXPECT_EQ(Given(Tick(milliseconds(1)), 1).size(), 1u);
  // Another worker's slots are no others.
  EXPECT_TRUE(Given(Join(2, 2, 4), 2).empty());
  EXPECT_EQ(Given(Tick(milliseconds(500)), 1).size() + held_[2].size(), 1u);
  // One that has ended makes no room before its time.
  const auto ended = Finish(1, held_[1][0]);
  EXPECT_TRUE(Given(ended, 1).empty());
}

TEST_F(PaceTest, WhatRunsLongerThanSoManyTimesTheMedianIsEndedAsTimeout) {
  options_.timeout_percent = 300;
  options_.text.chunk = 1;
  Start(10);
  Join(1, 1, 2);
  const AttemptRef slow = held_[1][0];
  Begin(slow);
  // Too few have ended for anybody to say what is long.
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(All<Cancel>(Second()).empty());
    Finish(1, held_[1].back());
  }
  const auto fifth = Finish(1, held_[1].back());
  ASSERT_FALSE(Given(fifth, 1).empty());
  const auto told = All<Cancel>(Second());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(std::get<Cancel>(told[0].message).attempts, (std::vector<AttemptRef>{slow}));
  // Once.
  EXPECT_TRUE(All<Cancel>(Second()).empty());
  const auto results = Written<ResultRecord>(Finish(1, slow, Outcome::kCancelled));
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].result.outcome, Outcome::kTimeout);
  EXPECT_NE(results[0].result.details->error.find("ran longer than 3 s, 300 %"), std::string::npos)
      << results[0].result.details->error;
}

TEST_F(PaceTest, OneThatEndsAsItIsToldSoKeepsWhatItEndedAs) {
  options_.timeout_percent = 300;
  options_.text.chunk = 1;
  options_.retries = 1;
  Start(20);
  Join(1, 1, 3);
  const AttemptRef slow = held_[1][0];
  const AttemptRef other = held_[1][1];
  Begin(slow);
  Begin(other);
  // What fails at once says nothing of how long others take.
  for (int i = 0; i < 5; ++i) {
    TaskResult failed = ResultOf(held_[1].back(), Outcome::kError, 1000);
    Report(1, Results{kRun, {}, {failed}});
  }
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(All<Cancel>(Second()).empty());
  for (int i = 0; i < 5; ++i) Finish(1, held_[1].back());
  EXPECT_EQ(All<Cancel>(Second()).size(), 1u);
  // Its result was under way.
  const auto ok = Written<ResultRecord>(Finish(1, slow));
  ASSERT_EQ(ok.size(), 1u);
  EXPECT_EQ(ok[0].result.outcome, Outcome::kOk);
  // The other is tried again, as after any timeout.
  const auto failures = Written<FailureRecord>(Finish(1, other, Outcome::kCancelled));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].kind, FailureKind::kRetried);
  EXPECT_NE(failures[0].reason.find("timeout: ran longer"), std::string::npos);
}

TEST_F(PaceTest, AWorkerThatComesBackGoesOnWithTheTimeThatItsTasksHad) {
  options_.timeout_percent = 300;
  options_.text.chunk = 1;
  Start(20);
  Join(1, 1, 2);
  const AttemptRef slow = held_[1][0];
  Begin(slow);
  for (int i = 0; i < 5; ++i) Finish(1, held_[1].back());
  Second();
  Second();
  Join(1, 1, 2,
       {{kRun, slow.task, slow.attempt, HeldState::kRunning},
        {kRun, held_[1].back().task, held_[1].back().attempt, HeldState::kQueued}});
  Begin(slow);
  Second();
  EXPECT_EQ(All<Cancel>(Second()).size(), 1u);
  // What was told then may not have come there.
  Join(1, 1, 2,
       {{kRun, slow.task, slow.attempt, HeldState::kRunning},
        {kRun, held_[1].back().task, held_[1].back().attempt, HeldState::kQueued}});
  EXPECT_EQ(All<Cancel>(Second()).size(), 1u);
}

TEST_F(PaceTest, EnoughThatAreOkEndTheRunThoughOthersRun) {
  options_.halts = {{Halt::Of::kOk, 2, false, true, "--halt now,success=2"}};
  options_.text.chunk = 1;
  Start(10);
  Join(1, 1, 3);
  Finish(1, held_[1][0]);
  Finish(1, held_[1][1], Outcome::kError);
  EXPECT_FALSE(core_->halted());
  EXPECT_FALSE(IsFinished(Finish(1, held_[1][2]))) << "before it is durable";
  ASSERT_TRUE(core_->halted());
  EXPECT_EQ(core_->drain_reason(), "2 of 10 tasks are ok (--halt now,success=2)");
  Commit(held_[1][0]);
  Commit(held_[1][1]);
  EXPECT_TRUE(IsFinished(Commit(held_[1][2])));
}

TEST_F(PaceTest, APartOfAllTasksIsOfThoseThatThereAreNow) {
  options_.halts = {{Halt::Of::kDone, 50, true, false, ""}};
  options_.text.chunk = 1;
  Start(4);
  Join(1, 1, 1);
  Finish(1, held_[1].back());
  EXPECT_FALSE(core_->halted());
  EXPECT_EQ(All<Drain>(Finish(1, held_[1].back(), Outcome::kError)).size(), 1u);
}

TEST_F(PaceTest, ARuleThatEndsWhatRunsComesBeforeOneThatDoesNot) {
  options_.halts = {{Halt::Of::kFailed, 1, false, false, "soon"},
                    {Halt::Of::kDone, 2, false, true, "now"}};
  options_.text.chunk = 1;
  Start(10);
  Join(1, 1, 3);
  Finish(1, held_[1][0], Outcome::kError);
  ASSERT_TRUE(core_->halted());
  EXPECT_FALSE(core_->halted()->now);
  Finish(1, held_[1][1]);
  EXPECT_TRUE(core_->halted()->now);
}

}  // namespace
}  // namespace cq
