// Tasks that ended for want of memory or time: where they are tried again, and when no more.
#include <bit>

#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

class EscalateTest : public CoreTest {
 protected:
  static constexpr uint64_t kGiga = 1ull << 30;

  EscalateTest() {
    options_.text.chunk = 1;
    options_.escalation = {2, 2};
    options_.requests.classes = {{.memory_bytes = kGiga}};
    options_.pools = {{"small", {{}, 4 * kGiga, {}}, 4, 0}, {"large", {{}, 16 * kGiga, {}}, 4, 0}};
  }
  std::vector<Action> Come(ConnectionId connection, const std::string& pool, uint64_t gigabytes) {
    Hello hello = HelloOf(static_cast<uint8_t>(connection), 4);
    PutCapacity(hello.extras, {{}, gigabytes * kGiga, {}}, pool);
    return JoinAs(connection, hello);
  }
  // The task that this connection was given last ends so. Returns for how much it asks from then
  // on; 0: it has its outcome.
  RaisedRecord End(ConnectionId from, Outcome outcome, std::vector<Action>* all = nullptr) {
    const AttemptRef ref = held_[from].back();
    auto actions = Finish(from, ref, outcome);
    for (Action& action : Commit(ref)) actions.push_back(std::move(action));
    const auto raised = Written<RaisedRecord>(actions);
    const auto results = Written<ResultRecord>(actions);
    EXPECT_EQ(raised.size() + results.size(), 1u);
    if (all != nullptr) *all = std::move(actions);
    return raised.empty() ? RaisedRecord{} : raised[0];
  }
};

TEST_F(EscalateTest, MoreMemoryIsTriedInTheSmallestPoolThatHasItUpToTheLargest) {
  Start(1);
  Come(1, "small", 4);
  EXPECT_EQ(End(1, Outcome::kMemory).memory_bytes, 2 * kGiga);
  ASSERT_EQ(held_[1].size(), 2u);
  EXPECT_EQ(End(1, Outcome::kMemory).memory_bytes, 4 * kGiga);
  EXPECT_EQ(End(1, Outcome::kMemory).memory_bytes, 8 * kGiga);
  EXPECT_EQ(held_[1].size(), 3u) << "it is too small";
  Come(2, "large", 16);
  ASSERT_EQ(held_[2].size(), 1u);
  EXPECT_EQ(End(2, Outcome::kMemory).memory_bytes, 16 * kGiga);
  std::vector<Action> last;
  EXPECT_EQ(End(2, Outcome::kMemory, &last).task, 0u);
  EXPECT_EQ(Written<ResultRecord>(last)[0].result.outcome, Outcome::kMemory);
  EXPECT_EQ(Written<ResultRecord>(last)[0].attempts, 5u);
}

TEST_F(EscalateTest, TheLargestIsTriedThoughItIsNotSoManyTimesAsMuch) {
  options_.pools = {{"only", {{}, 3 * kGiga, {}}, 1, 0}};
  Start(1);
  Come(1, "only", 3);
  EXPECT_EQ(End(1, Outcome::kMemory).memory_bytes, 2 * kGiga);
  EXPECT_EQ(End(1, Outcome::kMemory).memory_bytes, 3 * kGiga);
  EXPECT_EQ(End(1, Outcome::kMemory).task, 0u);
}

TEST_F(EscalateTest, OneThatAsksForNothingHadItsShare) {
  options_.requests.classes = {{}};
  for (PoolKind& pool : options_.pools) {
    pool.capacity.memory_of_task = *pool.capacity.memory_bytes / 4;
  }
  Start(1);
  Hello hello = HelloOf(1, 4);
  Capacity has{{}, 4 * kGiga, {}};
  has.memory_of_task = kGiga;
  PutCapacity(hello.extras, has, "small");
  JoinAs(1, hello);
  EXPECT_EQ(End(1, Outcome::kMemory).memory_bytes, 2 * kGiga);
}

TEST_F(EscalateTest, ATimeLimitIsRaisedToThirtyTwoTimesAtMost) {
  options_.text.timeout_ms = 1000;
  Start(1);
  Come(1, "small", 4);
  for (const uint64_t times : {2, 4, 8, 16, 32}) {
    EXPECT_EQ(End(1, Outcome::kTimeout).time_permille, times * 1000);
    EXPECT_EQ(core_->TimeLimit(static_cast<ClassId>(std::countr_zero(times)), 0), times * 1000);
    EXPECT_EQ(core_->TimeLimit(static_cast<ClassId>(std::countr_zero(times)), 30), times * 30);
  }
  EXPECT_EQ(End(1, Outcome::kTimeout).task, 0u);
}

TEST_F(EscalateTest, ATimeLimitIsRaisedToTheMostAndNotBySoLittleThatItIsNone) {
  options_.escalation.time = 40;
  Start(1);
  Come(1, "small", 4);
  EXPECT_EQ(End(1, Outcome::kTimeout).time_permille, 32'000u);
  EXPECT_EQ(End(1, Outcome::kTimeout).task, 0u);
  options_.escalation.time = 1.0005;
  Start(1);
  Come(1, "small", 4);
  EXPECT_EQ(End(1, Outcome::kTimeout).task, 0u);
}

// How long a row takes is not known from one that was cut off.
TEST_F(EscalateTest, WhatWasCutOffSaysNothingOfHowLongItsLikeTake) {
  Start(20);
  Come(1, "small", 4);
  for (int i = 0; i < 6; ++i) End(1, Outcome::kMemory);
  EXPECT_FALSE(core_->Look(now_, 10, 10).left);
}

TEST_F(EscalateTest, WhatFailedForAnotherReasonIsNotTried) {
  Start(2);
  Come(1, "small", 4);
  EXPECT_EQ(End(1, Outcome::kError).task, 0u);
  options_.escalation = {};
  Start(1);
  Come(1, "small", 4);
  EXPECT_EQ(End(1, Outcome::kMemory).task, 0u) << "nobody asked for it";
}

TEST_F(EscalateTest, OneWhosePoolIsSaidStaysThere) {
  options_.requests.classes = {{.memory_bytes = 2 * kGiga, .pool = "small"}};
  Start(1);
  Come(1, "small", 4);
  EXPECT_EQ(End(1, Outcome::kMemory).memory_bytes, 4 * kGiga);
  EXPECT_EQ(End(1, Outcome::kMemory).task, 0u);
}

TEST_F(EscalateTest, ALaterMasterKnows) {
  Recovered recovered;
  recovered.mark = 2;
  TriedTask tried;
  tried.task = 1;
  tried.attempts = 1;
  recovered.tried = {tried};
  recovered.raised = {{1, 8 * kGiga, 0, 2000}};
  Start(2, 1, recovered);
  Come(1, "small", 4);
  ASSERT_EQ(held_[1].size(), 1u) << "the other";
  EXPECT_EQ(held_[1][0].task, 2u);
  Come(2, "large", 16);
  ASSERT_EQ(held_[2].size(), 1u);
  EXPECT_EQ(End(2, Outcome::kMemory).memory_bytes, 16 * kGiga);
}

// A worker that its scheduler ended for its memory, with one task.
TEST_F(EscalateTest, WhatTookAWorkersMemoryIsTriedWhereThereIsMore) {
  Start(1);
  Come(1, "small", 4);
  const AttemptRef ref = held_[1][0];
  Report(1, Started{kRun, {{ref.task, ref.attempt, 0}}});
  core_->OnAllocationEnded(now_, "local 1", "out of memory", Blame::kMemory);
  auto actions = Pass(seconds(31));
  const auto raised = Written<RaisedRecord>(actions);
  ASSERT_EQ(raised.size(), 1u);
  EXPECT_EQ(raised[0].memory_bytes, 8 * kGiga) << "twice the worker's";
  Come(2, "large", 16);
  EXPECT_EQ(held_[2].size(), 1u);
}

// Rows that outlive the workers of their pool.
TEST_F(EscalateTest, WhatOutlivesItsPoolsWorkersGoesToOneThatLivesLonger) {
  options_.escalation = {};
  options_.requests.classes = {{}};
  options_.pools = {{"short", {}, 1, 100'000}, {"long", {}, 1, 1'000'000}};
  Start(1);
  const auto come = [&](ConnectionId connection, const std::string& pool, seconds lives) {
    Hello hello = HelloOf(static_cast<uint8_t>(connection), 1);
    PutCapacity(hello.extras, {}, pool);
    JoinAs(connection, hello);
    core_->OnTimeLeft(now_, "local " + std::to_string(connection), lives, lives);
    Take();
  };
  come(1, "short", seconds(97));
  ASSERT_EQ(held_[1].size(), 1u);
  Report(1, Started{kRun, {{1, held_[1][0].attempt, 0}}});
  now_ += seconds(96);
  Report(1, Goodbye{"told to go"});
  core_->OnAllocationEnded(now_, "local 1", "its time limit", Blame::kNobody);
  Tick(seconds(1));
  come(2, "short", seconds(97));
  EXPECT_TRUE(held_[2].empty()) << "it would not end there";
  come(3, "long", seconds(997));
  EXPECT_EQ(held_[3].size(), 1u);
}

}  // namespace
}  // namespace cq
