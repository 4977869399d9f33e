// Tasks that come one by one, that nobody wants any more, and that go out in another order.
#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

std::vector<TaskId> TasksOf(const std::vector<AttemptRef>& refs) {
  std::vector<TaskId> tasks;
  for (const AttemptRef& ref : refs) tasks.push_back(ref.task);
  return tasks;
}

class OpenCoreTest : public CoreTest {
 protected:
  OpenCoreTest() { options_.open = true; }
  // As after a start in which `known` was submitted and has no result.
  void Resume(const std::vector<TaskId>& known) {
    Recovered recovered;
    recovered.mark = known.back();
    recovered.held_back = known;
    options_.epoch = 2;
    Start(known.back(), 1, std::move(recovered), false);
  }
};

TEST_F(OpenCoreTest, TheRunEndsWithItsLastTaskOnceItIsClosed) {
  Start(0);
  Join(1, 1, 1);
  EXPECT_FALSE(IsFinished(Take()));
  core_->OnAdded(1);
  core_->OnCommitted(now_, {{}, {}, 100, {}});
  const auto given = Given(Take(), 1);
  ASSERT_EQ(TasksOf(given), std::vector<TaskId>{1});
  Finish(1, given[0]);
  EXPECT_FALSE(IsFinished(Commit(given[0])));
  EXPECT_EQ(core_->counts().tasks, 1u);
  core_->OnClosed();
  EXPECT_TRUE(IsFinished(Take()));
}

TEST_F(OpenCoreTest, TheMarkIsAheadOfTasksThatMayCome) {
  Start(0, 1, {}, false);
  EXPECT_EQ(core_->counts().tasks, 0u);
  Join(1, 1, 1);
  core_->OnAdded(3);
  // Asked for at the start; nothing goes out before it is durable.
  EXPECT_TRUE(Given(Take(), 1).empty());
  core_->OnCommitted(now_, {{}, {}, 2, {}});
  EXPECT_EQ(TasksOf(Given(Take(), 1)), (std::vector<TaskId>{1, 2}));
}

TEST_F(OpenCoreTest, ACancelledTaskEndsAtOnceAndItsAttemptIsEnded) {
  Start(3);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_GE(given.size(), 1u);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  core_->OnCancelled({1, 3, 3, 99});
  const auto actions = Take();
  const auto results = Written<ResultRecord>(actions);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].result.outcome, Outcome::kCancelled);
  EXPECT_NE(results[0].result.attempt, given[0].attempt);
  const auto cancel = std::get<Cancel>(Only<Cancel>(actions).message);
  EXPECT_EQ(cancel.attempts, std::vector<AttemptRef>{given[0]});
  // What the attempt says later is dropped and acknowledged.
  const auto late = Finish(1, given[0]);
  EXPECT_TRUE(Written<ResultRecord>(late).empty());
  EXPECT_EQ(All<Ack>(late).size(), 1u);
  core_->OnCancelled({1});
  EXPECT_TRUE(Written<ResultRecord>(Take()).empty());
}

TEST_F(OpenCoreTest, ATaskThatWaitsForItsRetryCanBeCancelled) {
  options_.retries = 1;
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  Finish(1, given[0], Outcome::kError);
  core_->OnCancelled({1});
  EXPECT_EQ(Written<ResultRecord>(Take()).size(), 1u);
  EXPECT_TRUE(Given(Pass(seconds(5)), 1).empty());
}

TEST_F(OpenCoreTest, WhatAnEarlierProgramAskedForWaitsUntilItIsWanted) {
  Resume({1, 2, 3});
  EXPECT_TRUE(Given(Join(1, 1, 1), 1).empty());
  core_->OnWanted(now_, 3);
  core_->OnWanted(now_, 3);
  EXPECT_EQ(TasksOf(Given(Take(), 1)), std::vector<TaskId>{3});
}

TEST_F(OpenCoreTest, WhatAWorkerHoldsOfItIsAdoptedAndWaitsAgainOnceItIsGivenUp) {
  Resume({1, 2});
  const AttemptId old = MakeSerial(1, 7);
  Join(1, 1, 1, {{kRun, 1, old, HeldState::kQueued}});
  EXPECT_EQ(core_->counts().out, 1u);
  const auto returned = Report(1, Returned{kRun, {{1, old, ReturnReason::kRetracted, 0, ""}}});
  EXPECT_TRUE(Given(returned, 1).empty());
  EXPECT_EQ(core_->counts().out, 0u);
  core_->OnWanted(now_, 1);
  EXPECT_EQ(TasksOf(Given(Take(), 1)), std::vector<TaskId>{1});
}

TEST_F(CoreTest, TasksGoOutInTheirOrderAndUnderAMarkForAll) {
  options_.order.tasks = {3, 1, 4, 2};
  options_.text.chunk = 4;
  Start(4, 1, {}, false);
  EXPECT_TRUE(Given(Join(1, 1, 1), 1).empty());
  core_->OnCommitted(now_, {{}, {}, 4, {}});
  EXPECT_EQ(TasksOf(Given(Take(), 1)), (std::vector<TaskId>{3, 1, 4, 2}));
}

// Workers take, as theirs do, a task of the group that they are on first. What counts is how often
// they change it.
TEST_F(CoreTest, EachGroupIsLoadedByFewWorkers) {
  constexpr uint64_t kGroups = 6;
  constexpr uint64_t kOfEach = 20;
  constexpr uint64_t kWorkers = 4;
  options_.order.grouped = true;
  for (TaskId task = 1; task <= kGroups * kOfEach; ++task) {
    if ((task - 1) % kOfEach == 0) options_.order.sections.push_back({task - 1, 0});
    options_.order.tasks.push_back(task);
  }
  Start(kGroups * kOfEach, kWorkers);
  const auto group_of = [](const AttemptRef& ref) { return (ref.task - 1) / kOfEach; };
  for (uint8_t i = 1; i <= kWorkers; ++i) Join(i, i, 1);
  std::map<ConnectionId, std::optional<uint64_t>> on;
  std::vector<uint64_t> loads;
  size_t done = 0;
  for (bool any = true; std::exchange(any, false);) {
    for (ConnectionId worker = 1; worker <= kWorkers; ++worker) {
      auto& held = held_[worker];
      if (held.empty()) continue;
      const auto mine = std::find_if(held.begin(), held.end(), [&](const AttemptRef& ref) {
        return on[worker] == group_of(ref);
      });
      const AttemptRef ref = mine == held.end() ? held.front() : *mine;
      std::erase(held, ref);
      if (on[worker] != group_of(ref)) loads.push_back(group_of(ref));
      on[worker] = group_of(ref);
      for (const Send& back : All<Retract>(Finish(worker, ref))) {
        Returned returned{kRun, {}};
        for (const AttemptRef& asked : std::get<Retract>(back.message).attempts) {
          if (std::erase(held_[back.to], asked) == 0) continue;
          returned.attempts.push_back({asked.task, asked.attempt, ReturnReason::kRetracted, 0, ""});
        }
        Report(back.to, returned);
      }
      Commit(ref);
      ++done;
      any = true;
    }
  }
  EXPECT_EQ(done, kGroups * kOfEach);
  EXPECT_LE(loads.size(), kGroups + kWorkers);
  // Nobody joins a group as long as there is one that nobody is on.
  loads.resize(kGroups);
  EXPECT_EQ(loads, (std::vector<uint64_t>{0, 1, 2, 3, 4, 5}));
}

TEST_F(CoreTest, AChunkIsWhatASlotHasAtATime) {
  options_.text.chunk = 3;
  Start(100);
  const auto given = Given(Join(1, 1, 2), 1);
  EXPECT_EQ(given.size(), 6u);
  EXPECT_EQ(Given(Finish(1, given[0]), 1).size(), 1u);
}

}  // namespace
}  // namespace cq
