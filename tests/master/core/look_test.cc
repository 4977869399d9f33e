// What the core says of a run to people who ask: what goes on, and why a task has not ended.
#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

class LookTest : public CoreTest {
 protected:
  RunView Look(size_t rows = 100) { return core_->Look(now_, rows, 100); }
  bool Says(TaskId task, const std::string& text) {
    const auto lines = core_->Explain(now_, task);
    const bool any = std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find(text) != std::string::npos;
    });
    if (!any) ADD_FAILURE() << "no '" << text << "' in: " << testing::PrintToString(lines);
    return any;
  }
  // The first that this worker holds and does not run yet runs, and has ended after `time`.
  void RunFor(ConnectionId from, size_t which, seconds time) {
    const AttemptRef ref = held_[from].at(which);
    Report(from, Started{kRun, {{ref.task, ref.attempt, 0}}});
    Alive(time);
    Report(from, Results{kRun,
                         {},
                         {ResultOf(ref, Outcome::kOk,
                                   static_cast<uint64_t>(time / std::chrono::microseconds(1)))}});
    Commit(ref);
  }
  void Alive(seconds time) {
    for (int64_t i = 0; i < time.count(); ++i) {
      Tick(seconds(1));
      for (const auto& [connection, session] : session_) {
        Tell(connection, session, ++sequence_[connection], WorkerHeartbeat{0, 100, {}, {}});
      }
    }
  }
};

TEST_F(LookTest, WhatRunsIsListedTheLongestFirst) {
  options_.text.chunk = 1;
  Start(10);
  Join(1, 1, 2);
  ASSERT_EQ(held_[1].size(), 2u);
  Report(1, Started{kRun, {{held_[1][1].task, held_[1][1].attempt, 0}}});
  now_ += seconds(5);
  Report(1, Started{kRun, {{held_[1][0].task, held_[1][0].attempt, 1}}});
  now_ += seconds(2);
  const RunView view = Look();
  ASSERT_EQ(view.rows.size(), 2u);
  EXPECT_EQ(view.rows[0].task, held_[1][1].task);
  EXPECT_EQ(view.rows[0].running, seconds(7));
  EXPECT_EQ(view.rows[1].running, seconds(2));
  EXPECT_EQ(view.running, 2u);
  EXPECT_EQ(Look(1).rows.size(), 1u);
  EXPECT_EQ(Look(1).running, 2u);
  EXPECT_EQ(view.ready, 8u);
  ASSERT_EQ(view.workers.size(), 1u);
  EXPECT_EQ(view.workers[0].busy, 2u);
  EXPECT_EQ(view.bound, "slots: 8 rows wait for one of 2");
}

TEST_F(LookTest, HowLongItTakesStillIsARangeThatHoldsForRowsAsTheLastOnes) {
  options_.text.chunk = 1;
  Start(30);
  Join(1, 1, 1);
  EXPECT_FALSE(Look().left) << "nobody knows how long they take";
  for (size_t i = 0; i < 10; ++i) RunFor(1, i, seconds(i % 2 == 0 ? 5 : 15));
  const auto view = Look();
  ASSERT_TRUE(view.left);
  // 20 rows of 10 s on one slot.
  EXPECT_LT(view.left->first, seconds(200));
  EXPECT_GT(view.left->second, seconds(200));
  EXPECT_GT(view.left->first, seconds(80));
  EXPECT_LT(view.left->second, seconds(320));
  ASSERT_TRUE(view.rate);
  EXPECT_NEAR(*view.rate, 0.1, 0.02);
  // Nobody is there to do it.
  Report(1, Goodbye{"its time is over"});
  EXPECT_FALSE(Look().left);
  EXPECT_EQ(Look().bound, "workers: none is here");
}

TEST_F(LookTest, TheRowsThatRunBoundTheEnd) {
  options_.text.chunk = 1;
  Start(1);
  Join(1, 1, 2);
  Report(1, Started{kRun, {{1, held_[1][0].attempt, 0}}});
  now_ += seconds(9);
  EXPECT_EQ(Look().bound,
            "the rows that run: nothing else is left, and the longest, 1, runs for 9 s");
}

TEST_F(LookTest, SlotsWithoutATaskAreCounted) {
  options_.text.chunk = 1;
  Start(1);
  Join(1, 1, 3);
  Alive(seconds(10));
  EXPECT_EQ(core_->ledger().vacant_us, 20'000'000u) << "two slots idle, for 10 s";
}

TEST_F(LookTest, WhatWasRunForNothingIsCounted) {
  Start(1);
  Join(1, 1, 1);
  Report(1, Started{kRun, {{1, held_[1][0].attempt, 0}}});
  Alive(seconds(10));
  core_->OnAllocationEnded(now_, "local 1", "its node failed", Blame::kNobody);
  Alive(seconds(5));
  Tick(seconds(40));
  EXPECT_GE(core_->ledger().lost_us, 10'000'000u);
}

TEST_F(LookTest, ATaskThatIsOutIsSaidToBeWhereItIs) {
  options_.text.chunk = 2;
  Start(10);
  Join(1, 1, 1);
  const AttemptRef first = held_[1][0];
  EXPECT_TRUE(Says(first.task, "it was given to worker 1 on h1"));
  Report(1, Started{kRun, {{first.task, first.attempt, 0}}});
  now_ += seconds(4);
  EXPECT_TRUE(Says(first.task, "it runs, attempt 1, on worker 1 on h1, for 4.0 s"));
  EXPECT_TRUE(Says(held_[1][1].task, "2 tasks for 1 places"));
  Finish(1, first);
  EXPECT_TRUE(Says(first.task, "it has ended"));
  EXPECT_TRUE(Says(99, "there is no such task"));
}

TEST_F(LookTest, ATaskThatWaitsIsSaidToWaitForWhat) {
  options_.text.chunk = 1;
  options_.retries = 1;
  Start(10);
  EXPECT_TRUE(Says(5, "no worker is here"));
  Join(1, 1, 1);
  EXPECT_TRUE(Says(5, "it waits for a slot, as do 8 others"));
  EXPECT_TRUE(Says(5, "3 stand before it"));
  EXPECT_TRUE(Says(5, "1 worker: busy: it has 1 tasks for 1 places"));
  const AttemptRef first = held_[1][0];
  Finish(1, first, Outcome::kError);
  EXPECT_TRUE(Says(first.task, "it was tried 1 times, and waits for 1.0 s"));
  core_->OnDrain(now_, "interrupted");
  EXPECT_TRUE(Says(5, "nothing more is started: interrupted"));
}

TEST_F(LookTest, AWorkerThatIsTooSmallSaysSo) {
  options_.requests.classes = {{}, {.cpus = 4}};
  options_.requests.of = {1, 1};
  options_.order.tasks = {1, 2};
  options_.order.sections = {{0, 1}};
  Start(2);
  Hello hello = HelloOf(1, 2);
  PutCapacity(hello.extras, {2, std::nullopt, {}}, "");
  JoinAs(1, hello);
  EXPECT_TRUE(Says(1, "it asks for 4 CPUs"));
  EXPECT_TRUE(Says(1, "1 worker: too small for it"));
  EXPECT_NE(Look().bound.find("what rows ask for: 2 slots idle"), std::string::npos)
      << Look().bound;
}

TEST_F(LookTest, WorkersOfAnEarlierMasterAreWaitedFor) {
  Start(10, 1, OneKnownWorker(5, "slurm 1", true), false);
  EXPECT_TRUE(Says(2, "1 workers of an earlier master may run it"));
  EXPECT_NE(Look().bound.find("1 workers of an earlier master"), std::string::npos);
  ASSERT_EQ(Look().workers.size(), 1u);
  EXPECT_EQ(Look().workers[0].state, "of an earlier master, not heard yet");
}

}  // namespace
}  // namespace cq
