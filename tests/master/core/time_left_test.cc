// Workers whose allocations end: what they are given, and what becomes of what runs then.
#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

class TimeLeftTest : public CoreTest {
 protected:
  // A worker of this host, whose job may run for so long.
  void Come(uint8_t id, Time left, uint64_t slots = 1) {
    Join(id, id, slots);
    TimeLeft(id, left);
  }
  std::vector<Action> TimeLeft(uint8_t id, Time left) {
    core_->OnTimeLeft(now_, "local " + std::to_string(id), left, seconds(100));
    return Take();
  }
  // It runs what it was given last, or this, for so long.
  std::vector<Action> RunFor(ConnectionId from, seconds time) {
    return RunFor(from, held_[from].back(), time);
  }
  std::vector<Action> RunFor(ConnectionId from, AttemptRef ref, seconds time) {
    Report(from, Started{kRun, {{ref.task, ref.attempt, 0}}});
    Alive(time);
    return Report(from,
                  Results{kRun,
                          {},
                          {ResultOf(ref, Outcome::kOk,
                                    static_cast<uint64_t>(time / std::chrono::microseconds(1)))}});
  }
  // Time passes, and all workers are heard.
  std::vector<Action> Alive(seconds time) {
    std::vector<Action> all;
    for (int64_t i = 0; i < time.count(); ++i) {
      for (Action& action : Tick(seconds(1))) all.push_back(std::move(action));
      for (const auto& [connection, session] : session_) {
        if (gone_.contains(connection)) continue;
        for (Action& action :
             Tell(connection, session, ++sequence_[connection], WorkerHeartbeat{0, 100, {}, {}})) {
          all.push_back(std::move(action));
        }
      }
    }
    return all;
  }
  std::set<ConnectionId> gone_;
};

TEST_F(TimeLeftTest, WhatWouldNotEndBeforeIsNotBegun) {
  options_.text.chunk = 1;
  Start(50);
  Come(1, seconds(100));
  // Five of 10 s each: now they are known.
  for (int i = 0; i < 5; ++i) RunFor(1, seconds(10));
  EXPECT_EQ(held_[1].size(), 6u) << "50 s are left";
  for (int i = 0; i < 4; ++i) RunFor(1, seconds(10));
  EXPECT_EQ(held_[1].size(), 10u);
  const auto last = RunFor(1, seconds(9));
  EXPECT_TRUE(Given(last, 1).empty()) << "1 s is left";
  // It makes room for a fresh one, which goes on.
  EXPECT_EQ(All<cq::Drain>(Tick(seconds(2))).size(), 1u);
  Come(2, seconds(100));
  EXPECT_EQ(held_[2].size(), 1u);
}

// The short ones end first: what still runs says that others take longer.
TEST_F(TimeLeftTest, WhatStillRunsCountsAsFarAsItIs) {
  options_.text.chunk = 1;
  Start(50);
  Come(1, seconds(100));
  Come(2, seconds(100));
  Report(2, Started{kRun, {{held_[2][0].task, held_[2][0].attempt, 0}}});
  for (int i = 0; i < 5; ++i) RunFor(1, seconds(2));
  EXPECT_EQ(held_[1].size(), 6u);
  // 10 s have passed, and the one on the other runs.
  Come(3, seconds(9));
  RunFor(3, seconds(1));
  EXPECT_EQ(held_[3].size(), 1u) << "8 s are left";
  Come(4, seconds(20));
  RunFor(4, seconds(1));
  EXPECT_EQ(held_[4].size(), 2u);
}

// Those that agree in the columns of --kind are each other's measure.
TEST_F(TimeLeftTest, EachKindTakesAsLongAsItsLike) {
  options_.text.chunk = 1;
  options_.requests.classes = {{.kind = "short"}, {.kind = "long"}};
  options_.requests.of = std::vector<uint16_t>(40, 0);
  for (TaskId task = 21; task <= 40; ++task) options_.requests.of[task - 1] = 1;
  for (TaskId task = 1; task <= 40; ++task) options_.order.tasks.push_back(task);
  options_.order.sections = {{0, 0}, {20, 1}};
  Start(40);
  Come(1, seconds(100));
  for (int i = 0; i < 6; ++i) RunFor(1, seconds(1));
  // Of the long ones nobody knows anything: half of a worker's time is a fair try, and no less.
  Come(2, seconds(40));
  ASSERT_EQ(held_[2].size(), 1u);
  EXPECT_LE(held_[2][0].task, 20u);
  while (held_[1].back().task <= 20) RunFor(1, seconds(1));
  ASSERT_GT(held_[1].back().task, 20u);
  RunFor(2, seconds(1));
  EXPECT_EQ(held_[2].size(), 1u) << "less than half of its time is left";
}

TEST_F(TimeLeftTest, OneWithoutAnEndTakesAll) {
  options_.text.chunk = 1;
  Start(50);
  Join(1, 1, 1);
  for (int i = 0; i < 20; ++i) RunFor(1, seconds(100));
  EXPECT_EQ(held_[1].size(), 21u);
}

TEST_F(TimeLeftTest, WhatNobodyKnowsIsTriedInTheFirstHalf) {
  options_.text.chunk = 1;
  Start(50);
  Come(1, seconds(100));
  RunFor(1, seconds(40));
  EXPECT_EQ(held_[1].size(), 2u) << "60 of 100 s are left";
  EXPECT_TRUE(Given(RunFor(1, seconds(20)), 1).empty()) << "40 are left";
}

TEST_F(TimeLeftTest, WhatRowsSayCounts) {
  options_.text.chunk = 1;
  options_.requests.classes = {{.time_ms = 30'000}};
  Start(50);
  Come(1, seconds(100));
  RunFor(1, seconds(60));
  EXPECT_EQ(held_[1].size(), 2u) << "40 s are left, and it takes 30";
  EXPECT_TRUE(Given(RunFor(1, seconds(15)), 1).empty()) << "25 are left";
}

TEST_F(TimeLeftTest, WhatWaitsBehindOthersIsAskedBack) {
  Start(50);
  Come(1, seconds(100));
  for (size_t i = 0; i < 6; ++i) RunFor(1, held_[1][i], seconds(10));
  // One runs, and one waits at hand.
  ASSERT_EQ(held_[1].size(), 8u);
  const AttemptRef runs = held_[1][6];
  const AttemptRef waits = held_[1][7];
  Report(1, Started{kRun, {{runs.task, runs.attempt, 0}}});
  const auto asked = All<cq::Retract>(Alive(seconds(32)));
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(std::get<cq::Retract>(asked[0].message).attempts, std::vector<AttemptRef>{waits});
  // It does not come back to whom it was taken from.
  const auto back =
      Report(1, Returned{kRun, {{waits.task, waits.attempt, ReturnReason::kRetracted, 0, {}}}});
  EXPECT_TRUE(Given(back, 1).empty());
  Come(2, seconds(100));
  ASSERT_FALSE(held_[2].empty());
  EXPECT_EQ(held_[2][0].task, waits.task);
}

// Its scheduler says so only later.
TEST_F(TimeLeftTest, WhatEndedWithItsWorkersTimeIsNotCharged) {
  options_.text.chunk = 1;
  options_.crash_limit = 1;
  Start(1);
  Come(1, seconds(100));
  const AttemptRef ref = held_[1].back();
  Alive(seconds(70));
  core_->OnTimeLeft(now_, "local 1", seconds(5), seconds(100));
  // Begun late: there is more time elsewhere.
  Report(1, Started{kRun, {{ref.task, ref.attempt, 0}}});
  Alive(seconds(5));
  core_->OnAllocationEnded(now_, "local 1", "TIMEOUT", Blame::kFinal);
  gone_.insert(1);
  auto lost = Pass(seconds(60));
  for (const FailureRecord& failure : Written<FailureRecord>(lost)) {
    EXPECT_NE(failure.kind, FailureKind::kCharged);
  }
  EXPECT_EQ(core_->counts().done, 0u);
  Come(2, seconds(100));
  EXPECT_EQ(held_[2].size(), 1u) << "a fresh one has time enough";
}

TEST_F(TimeLeftTest, ARowThatTakesMoreThanAnyWorkerHasEndsAsTimeout) {
  options_.text.chunk = 1;
  Start(1);
  Come(1, seconds(100));
  const AttemptRef ref = held_[1].back();
  Report(1, Started{kRun, {{ref.task, ref.attempt, 0}}});
  Alive(seconds(99));
  Returned returned{kRun, {{ref.task, ref.attempt, ReturnReason::kToldToGo, -15, "SIGTERM"}}};
  const auto ended = Report(1, returned);
  const auto results = Written<ResultRecord>(ended);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].result.outcome, Outcome::kTimeout);
  EXPECT_EQ(results[0].result.details->error,
            "it ran for 99 s until its worker's time was over, and no worker has more than 100 s");
}

// When that is noticed, it is later still.
TEST_F(TimeLeftTest, WhatHadOnlyPartOfItsWorkersTimeIsNotSaidToHaveHadAllOfIt) {
  options_.text.chunk = 1;
  Start(2);
  Come(1, seconds(100));
  RunFor(1, seconds(30));
  const AttemptRef ref = held_[1].back();
  Report(1, Started{kRun, {{ref.task, ref.attempt, 0}}});
  Alive(seconds(70));
  gone_.insert(1);
  Pass(seconds(29));
  core_->OnAllocationEnded(now_, "local 1", "TIMEOUT", Blame::kNobody);
  EXPECT_TRUE(Written<ResultRecord>(Take()).empty());
  Come(2, seconds(100));
  ASSERT_EQ(held_[2].size(), 1u);
  EXPECT_EQ(held_[2][0].task, ref.task);
}

// It may have ended, and its result be lost on the way.
TEST_F(TimeLeftTest, WhatRanOnAWorkerThatWasNotHeardBeforeItsEndIsNotSaidToHaveHadAllOfItsTime) {
  options_.text.chunk = 1;
  Start(1);
  Come(1, seconds(40));
  const AttemptRef ref = held_[1].back();
  Report(1, Started{kRun, {{ref.task, ref.attempt, 0}}});
  Alive(seconds(10));
  gone_.insert(1);
  EXPECT_TRUE(Written<ResultRecord>(Pass(seconds(35))).empty());
  core_->OnAllocationEnded(now_, "local 1", "TIMEOUT", Blame::kNobody);
  EXPECT_TRUE(Written<ResultRecord>(Take()).empty());
  Come(2, seconds(40));
  EXPECT_EQ(held_[2].size(), 1u);
}

// It was begun late in its worker's time, and needs most of one: a worker that is not fresh is
// none.
TEST_F(TimeLeftTest, ARowThatTheWallEndedIsTriedWhereThereIsMoreTime) {
  options_.text.chunk = 1;
  Start(1);
  Come(1, seconds(100));
  const AttemptRef ref = held_[1].back();
  Report(1, Started{kRun, {{ref.task, ref.attempt, 0}}});
  // Its end comes early, as where somebody shortens it.
  Alive(seconds(60));
  TimeLeft(1, seconds(1));
  Report(1, Returned{kRun, {{ref.task, ref.attempt, ReturnReason::kToldToGo, -15, "SIGTERM"}}});
  EXPECT_EQ(core_->counts().done, 0u);
  gone_.insert(1);
  Join(2, 2, 1);
  EXPECT_EQ(held_[2].size(), 1u) << "nobody knows of an end";
}

}  // namespace
}  // namespace cq
