#include "master/core/core.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "master/core/dispatch.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr RunId kRun = 9;

// Drives a core with time that moves only when a test moves it; invariants are checked after every
// step.
class CoreTest : public ::testing::Test {
 protected:
  void Start(uint64_t tasks, uint64_t expected_slots = 1, Recovered recovered = {},
             bool marked = true) {
    options_.text.run = kRun;
    options_.tasks = tasks;
    options_.expected_slots = expected_slots;
    core_ = std::make_unique<Core>(options_, std::move(recovered));
    held_.clear();
    core_->OnTick(now_);
    core_->Flush(now_);
    core_->TakeActions();
    if (marked) core_->OnCommitted(now_, {{}, {}, tasks, {}});
  }

  // Time passes in steps, as it does for a master that runs.
  std::vector<Action> Pass(seconds time) {
    std::vector<Action> all;
    for (int64_t i = 0; i < time.count(); ++i) {
      for (Action& action : Tick(seconds(1))) all.push_back(std::move(action));
    }
    return all;
  }
  std::vector<Action> Tick(Time by) {
    now_ += by;
    core_->OnTick(now_);
    return Take();
  }

  std::vector<Action> Take() {
    core_->Flush(now_);
    core_->CheckInvariants();
    auto actions = core_->TakeActions();
    for (const Action& action : actions) {
      const auto* give = std::get_if<Give>(&action);
      if (give == nullptr) continue;
      for (const auto& grant : give->tasks) held_[give->to].push_back({grant.task, grant.attempt});
    }
    return actions;
  }

  std::vector<Action> Tell(ConnectionId from, SessionId session, uint64_t sequence,
                           FromWorker message) {
    core_->OnMessage(now_, from, {session, sequence}, std::move(message));
    return Take();
  }

  static Hello HelloOf(uint8_t id, uint64_t slots, std::vector<Held> held = {}) {
    Hello hello;
    hello.run = kRun;
    hello.worker = {id};
    hello.host = "h" + std::to_string(id);
    hello.allocation = "local " + std::to_string(id);
    hello.slots = slots;
    hello.capacity = slots * 100;
    hello.held = std::move(held);
    return hello;
  }

  // Knocks, answers the `who`, and returns what the accepted hello led to, once its row in the
  // journal is durable.
  std::vector<Action> Join(ConnectionId connection, uint8_t id, uint64_t slots,
                           std::vector<Held> held = {}) {
    const auto offered = Tell(connection, 0, 0, HelloOf(id, slots));
    session_[connection] = Only<Who>(offered).session;
    sequence_[connection] = 0;
    auto actions = Tell(connection, session_[connection], 0, HelloOf(id, slots, std::move(held)));
    for (const Action& action : actions) {
      const auto* write = std::get_if<Write>(&action);
      if (write == nullptr) continue;
      if (const auto* worker = std::get_if<WorkerRecord>(&write->record)) {
        core_->OnCommitted(now_, {{}, {worker->worker}, 0, {}});
      }
    }
    for (Action& action : Take()) actions.push_back(std::move(action));
    return actions;
  }

  std::vector<Action> Report(ConnectionId from, FromWorker message) {
    return Tell(from, session_[from], ++sequence_[from], std::move(message));
  }

  static TaskResult ResultOf(AttemptRef ref, Outcome outcome = Outcome::kOk,
                             uint64_t wall_us = 1'000'000) {
    TaskResult result;
    result.task = ref.task;
    result.attempt = ref.attempt;
    result.outcome = outcome;
    result.wall_us = wall_us;
    return result;
  }
  std::vector<Action> Finish(ConnectionId from, AttemptRef ref, Outcome outcome = Outcome::kOk) {
    return Report(from, Results{kRun, {}, {ResultOf(ref, outcome)}});
  }
  // The worker could not start it.
  std::vector<Action> CannotStart(ConnectionId from, AttemptRef ref) {
    TaskResult result = ResultOf(ref, Outcome::kError);
    result.unstartable = true;
    result.exit = 127;
    return Report(from, Results{kRun, {}, {result}});
  }
  std::vector<Action> Commit(AttemptRef ref) {
    core_->OnCommitted(now_, {{ref}, {}, 0, {}});
    return Take();
  }

  // The only message of type M among the actions.
  template <class M>
  static Send Only(const std::vector<Action>& actions) {
    const auto found = All<M>(actions);
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Send{} : found[0];
  }
  template <class M>
  static std::vector<Send> All(const std::vector<Action>& actions) {
    std::vector<Send> found;
    for (const Action& action : actions) {
      const auto* send = std::get_if<Send>(&action);
      if (send != nullptr && std::holds_alternative<M>(send->message)) found.push_back(*send);
    }
    return found;
  }
  // The attempts given to a connection.
  static std::vector<AttemptRef> Given(const std::vector<Action>& actions, ConnectionId to) {
    std::vector<AttemptRef> refs;
    for (const Action& action : actions) {
      const auto* give = std::get_if<Give>(&action);
      if (give == nullptr || give->to != to) continue;
      for (const auto& grant : give->tasks) refs.push_back({grant.task, grant.attempt});
    }
    return refs;
  }
  template <class R>
  static std::vector<R> Written(const std::vector<Action>& actions) {
    std::vector<R> records;
    for (const Action& action : actions) {
      const auto* write = std::get_if<Write>(&action);
      if (write == nullptr) continue;
      if (const auto* record = std::get_if<R>(&write->record)) records.push_back(*record);
    }
    return records;
  }
  static bool IsFinished(const std::vector<Action>& actions) {
    return std::any_of(actions.begin(), actions.end(),
                       [](const Action& a) { return std::holds_alternative<Finished>(a); });
  }

  CoreOptions options_;
  std::unique_ptr<Core> core_;
  /// All that was given to each connection so far.
  std::map<ConnectionId, std::vector<AttemptRef>> held_;
  Time now_ = seconds(100);
  std::map<ConnectionId, SessionId> session_;
  std::map<ConnectionId, uint64_t> sequence_;
};

TEST_F(CoreTest, AWorkerGetsNoTaskBeforeItsHelloRepeatsTheSession) {
  Start(10);
  const auto offered = Tell(1, 0, 0, HelloOf(1, 1));
  EXPECT_EQ(All<Who>(offered).size(), 1u);
  EXPECT_TRUE(Given(offered, 1).empty());
  const auto wrong = Tell(1, 12345, 0, HelloOf(1, 1));
  EXPECT_TRUE(All<Welcome>(wrong).empty());
  EXPECT_TRUE(Given(wrong, 1).empty());
}

TEST_F(CoreTest, AWorkerGetsNoTaskBeforeItsRowIsDurable) {
  Start(10);
  const SessionId session = Only<Who>(Tell(1, 0, 0, HelloOf(1, 1))).session;
  const auto accepted = Tell(1, session, 0, HelloOf(1, 1));
  EXPECT_EQ(All<Welcome>(accepted).size(), 1u);
  EXPECT_EQ(All<RunText>(accepted).size(), 1u);
  EXPECT_TRUE(Given(accepted, 1).empty());
  core_->OnCommitted(now_, {{}, {1}, 0, {}});
  EXPECT_FALSE(Given(Take(), 1).empty());
}

TEST_F(CoreTest, AnyMessageOfAStrangerIsAnsweredWithTheSameWho) {
  Start(10);
  const auto first = Tell(5, 77, 3, WorkerHeartbeat{});
  const auto second = Tell(5, 77, 4, Results{kRun, {}, {}});
  EXPECT_EQ(Only<Who>(first).session, Only<Who>(second).session);
}

TEST_F(CoreTest, AHelloOfAnotherRunIsRefused) {
  Start(10);
  Hello hello = HelloOf(1, 1);
  hello.run = kRun + 1;
  EXPECT_EQ(All<Refuse>(Tell(1, 0, 0, hello)).size(), 1u);
}

TEST_F(CoreTest, AResultIsAcknowledgedOnlyOnceItIsCommitted) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_EQ(given.size(), 1u);
  const auto reported = Finish(1, given[0]);
  EXPECT_EQ(Written<ResultRecord>(reported).size(), 1u);
  EXPECT_TRUE(All<Ack>(reported).empty());
  EXPECT_FALSE(IsFinished(reported));
  const auto committed = Commit(given[0]);
  EXPECT_EQ(All<Ack>(committed).size(), 1u);
  EXPECT_TRUE(IsFinished(committed));
  EXPECT_EQ(All<Stop>(committed).size(), 1u);
}

TEST_F(CoreTest, ARepeatedResultIsRecordedOnceAndAcknowledged) {
  Start(2);
  const auto given = Given(Join(1, 1, 2), 1);
  ASSERT_EQ(given.size(), 2u);
  Finish(1, given[0]);
  const auto repeated = Finish(1, given[0]);
  EXPECT_TRUE(Written<ResultRecord>(repeated).empty());
  EXPECT_TRUE(All<Ack>(repeated).empty());  // not before the commit
  EXPECT_EQ(All<Ack>(Commit(given[0])).size(), 1u);
  EXPECT_EQ(All<Ack>(Finish(1, given[0])).size(), 1u);
}

TEST_F(CoreTest, NonsenseOfAPeerIsCountedAndAcknowledged) {
  Start(2);
  const auto given = Given(Join(1, 1, 1), 1);
  for (const AttemptRef ref :
       {AttemptRef{99, given[0].attempt}, AttemptRef{0, 1}, AttemptRef{1, MakeSerial(1, 999)},
        AttemptRef{1, MakeSerial(9, 1)}}) {
    const auto actions = Finish(1, ref);
    EXPECT_EQ(All<Ack>(actions).size(), 1u);
    EXPECT_TRUE(Written<ResultRecord>(actions).empty());
  }
  EXPECT_EQ(core_->counts().rejected, 4u);
  EXPECT_TRUE(
      All<Ack>(Report(1, Returned{kRun, {{77, 5, ReturnReason::kRetracted, 0, ""}}})).empty());
}

TEST_F(CoreTest, ALostWorkersTasksGoToOthersAndOnlyRunningOnesAreCharged) {
  Start(4);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_GE(given.size(), 2u);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  core_->OnAllocationEnded(now_, "local 1", "killed", false);
  const auto lost = Take();
  const auto failures = Written<FailureRecord>(lost);
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].attempt, given[0]);
  const auto regiven = Given(Join(2, 2, 2), 2);
  std::set<TaskId> tasks;
  for (const AttemptRef& ref : regiven) {
    tasks.insert(ref.task);
    EXPECT_GT(ref.attempt, given.back().attempt);
  }
  EXPECT_TRUE(tasks.contains(given[0].task));
}

TEST_F(CoreTest, ALossThatTheSchedulerExplainsChargesNobody) {
  Start(4);
  const auto given = Given(Join(1, 1, 1), 1);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  core_->OnAllocationEnded(now_, "local 1", "preempted", true);
  EXPECT_TRUE(Written<FailureRecord>(Take()).empty());
}

TEST_F(CoreTest, ATaskThatTakesItsWorkerWithItThreeTimesIsSetAside) {
  Start(1);
  for (uint8_t i = 1; i <= 3; ++i) {
    const auto given = Given(Join(i, i, 1), i);
    ASSERT_EQ(given.size(), 1u);
    Report(i, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
    core_->OnAllocationEnded(now_, "local " + std::to_string(i), "killed", false);
    const auto results = Written<ResultRecord>(Take());
    EXPECT_EQ(results.size(), i == 3 ? 1u : 0u);
    if (!results.empty()) {
      EXPECT_EQ(results[0].result.outcome, Outcome::kCrashed);
      EXPECT_EQ(results[0].attempts, 3u);
    }
  }
}

TEST_F(CoreTest, WhatMayHaveKilledItsWorkerUnreportedIsTriedAloneAndThenCharged) {
  Start(4);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_EQ(given.size(), 2u);
  for (uint8_t i = 2; i <= 4; ++i) {
    core_->OnAllocationEnded(now_, "local " + std::to_string(i - 1), "killed", false);
    const auto lost = Take();
    EXPECT_EQ(Written<FailureRecord>(lost).size(), i == 2 ? 0u : 1u);
    const auto alone = Given(Join(i, i, 1), i);
    ASSERT_EQ(alone.size(), 1u);
    EXPECT_EQ(alone[0].task, given[0].task);
  }
  core_->OnAllocationEnded(now_, "local 4", "killed", false);
  const auto results = Written<ResultRecord>(Take());
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].result.outcome, Outcome::kCrashed);
  EXPECT_EQ(results[0].result.task, given[0].task);
}

TEST_F(CoreTest, InOneSlotOnlyWhatStartedLastIsCharged) {
  Start(4);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_GE(given.size(), 2u);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  Report(1, Started{kRun, {{given[1].task, given[1].attempt, 0}}});
  core_->OnAllocationEnded(now_, "local 1", "killed", false);
  const auto failures = Written<FailureRecord>(Take());
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].attempt, given[1]);
}

TEST_F(CoreTest, WhatWasNeverStartedIsNotCountedAsTried) {
  Start(1);
  Join(1, 1, 1);
  core_->OnAllocationEnded(now_, "local 1", "killed", false);
  Take();
  uint64_t gives = 0;
  for (const Action& action : Join(2, 2, 1)) {
    const auto* give = std::get_if<struct Give>(&action);
    if (give == nullptr) continue;
    ++gives;
    EXPECT_EQ(give->tasks[0].attempt_number, 1u);
  }
  EXPECT_EQ(gives, 1u);
}

TEST_F(CoreTest, WhenTheJournalIsBehindNothingMoreIsGiven) {
  Start(100'000);
  auto actions = Join(1, 1, 200);
  uint64_t finished = 0;
  // Every task ends at once and nothing is ever committed.
  for (int round = 0; round < 2000; ++round) {
    Results results{kRun, {}, {}};
    for (const Action& action : actions) {
      const auto* give = std::get_if<Give>(&action);
      if (give == nullptr) continue;
      for (const auto& grant : give->tasks) {
        results.results.push_back(ResultOf({grant.task, grant.attempt}, Outcome::kOk, 1));
      }
    }
    finished += results.results.size();
    core_->OnMessage(now_, 1, {session_[1], ++sequence_[1]}, std::move(results));
    core_->Flush(now_);
    actions = core_->TakeActions();
  }
  EXPECT_GT(finished, 10'000u);
  EXPECT_LT(finished, 60'000u);
}

TEST_F(CoreTest, ChargedTasksNeverShareAWorker) {
  Start(2);
  const auto given = Given(Join(1, 1, 2), 1);
  ASSERT_EQ(given.size(), 2u);
  Report(1, Started{kRun,
                    {{given[0].task, given[0].attempt, 0}, {given[1].task, given[1].attempt, 1}}});
  core_->OnAllocationEnded(now_, "local 1", "killed", false);
  Take();
  EXPECT_EQ(Given(Join(2, 2, 2), 2).size(), 1u);
  EXPECT_EQ(Given(Join(3, 3, 2), 3).size(), 1u);
}

TEST_F(CoreTest, ASilentWorkerIsLostAfterItsLeaseAndItsLateOkStillCounts) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  for (int s = 0; s < 31; ++s) {
    now_ += seconds(1);
    core_->OnTick(now_);
  }
  Take();
  const auto regiven = Given(Join(2, 2, 1), 2);
  ASSERT_EQ(regiven.size(), 1u);
  // The first worker comes back: its attempt runs on, the first `ok` wins, the other attempt is
  // cancelled.
  Join(3, 1, 1, {{kRun, given[0].task, given[0].attempt, HeldState::kRunning}});
  const auto won = Finish(3, given[0]);
  ASSERT_EQ(Written<ResultRecord>(won).size(), 1u);
  const auto cancel = Only<Cancel>(won);
  EXPECT_EQ(cancel.to, 2u);
  EXPECT_EQ(std::get<Cancel>(cancel.message).attempts[0], regiven[0]);
  EXPECT_EQ(All<Ack>(Finish(2, regiven[0], Outcome::kCancelled)).size(), 1u);
}

TEST_F(CoreTest, AnErrorOfAnAttemptThatWasGivenUpDoesNotCount) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  core_->OnAllocationEnded(now_, "local 1", "gone", true);
  Take();
  Join(2, 2, 1);
  Join(3, 1, 1, {{kRun, given[0].task, given[0].attempt, HeldState::kRunning}});
  const auto late = Finish(3, given[0], Outcome::kError);
  EXPECT_TRUE(Written<ResultRecord>(late).empty());
  EXPECT_EQ(All<Ack>(late).size(), 1u);
}

TEST_F(CoreTest, AReconnectRequeuesWhatTheWorkerLacksFreeOfCharge) {
  Start(4);
  const auto given = Given(Join(1, 1, 2), 1);
  ASSERT_EQ(given.size(), 4u);
  // It comes back on another connection and holds only the first: the rest was lost on the way.
  const auto actions =
      Join(2, 1, 2, {{kRun, given[0].task, given[0].attempt, HeldState::kRunning}});
  const auto again = Given(actions, 2);
  EXPECT_EQ(again.size(), 3u);
  EXPECT_TRUE(Written<FailureRecord>(actions).empty());
}

TEST_F(CoreTest, ARepeatedHelloIsAnsweredAndNotReconciled) {
  Start(4);
  const auto given = Given(Join(1, 1, 2), 1);
  const auto repeated = Tell(1, session_[1], 0, HelloOf(1, 2));
  EXPECT_EQ(All<Welcome>(repeated).size(), 1u);
  EXPECT_TRUE(Given(repeated, 1).empty());
  EXPECT_EQ(core_->counts().out, given.size());
}

TEST_F(CoreTest, AMissingSequenceNumberStartsANewHandshake) {
  Start(4);
  Join(1, 1, 1);
  const auto gap = Tell(1, session_[1], 5, WorkerHeartbeat{0, 100, ""});
  EXPECT_EQ(All<Who>(gap).size(), 1u);
}

TEST_F(CoreTest, UnstartedTasksAreRetractedForAnIdleWorkerAndMoveOnlyOnceReturned) {
  Start(4);
  const auto given = Given(Join(1, 1, 2), 1);
  ASSERT_EQ(given.size(), 4u);
  const auto joined = Join(2, 2, 2);
  EXPECT_TRUE(Given(joined, 2).empty());
  const auto retracts = All<Retract>(joined);
  ASSERT_FALSE(retracts.empty());
  const Send retract = retracts[0];
  EXPECT_EQ(retract.to, 1u);
  const auto asked = std::get<Retract>(retract.message).attempts;
  ASSERT_FALSE(asked.empty());
  const auto returned = Report(
      1, Returned{kRun, {{asked[0].task, asked[0].attempt, ReturnReason::kRetracted, 0, ""}}});
  const auto moved = Given(returned, 2);
  ASSERT_EQ(moved.size(), 1u);
  EXPECT_EQ(moved[0].task, asked[0].task);
}

TEST_F(CoreTest, TheFirstWorkerDoesNotTakeEverything) {
  Start(8, 4);
  EXPECT_EQ(Given(Join(1, 1, 1), 1).size(), 2u);
  EXPECT_EQ(Given(Join(2, 2, 1), 2).size(), 2u);
}

TEST_F(CoreTest, ShortTasksAreGivenInBatchesAndLongOnesAreNot) {
  EXPECT_EQ(PrefetchPerSlot({}), 1u);
  EXPECT_EQ(PrefetchPerSlot(seconds(10)), 1u);
  EXPECT_EQ(PrefetchPerSlot(milliseconds(1)), 50u);
  EXPECT_EQ(PrefetchPerSlot(std::chrono::nanoseconds(10)), 1024u);
}

TEST_F(CoreTest, DrainFinishesWhatRunsAndLeavesTheRestPending) {
  Start(10);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_EQ(given.size(), 2u);
  core_->OnDrain(now_, "interrupted");
  EXPECT_EQ(All<Drain>(Take()).size(), 1u);
  Report(1, Returned{kRun, {{given[1].task, given[1].attempt, ReturnReason::kRetracted, 0, ""}}});
  EXPECT_FALSE(IsFinished(Finish(1, given[0])));
  EXPECT_TRUE(IsFinished(Commit(given[0])));
}

TEST_F(CoreTest, ACancelledThatNobodyAskedForIsTriedAgain) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  const auto actions = Finish(1, given[0], Outcome::kCancelled);
  EXPECT_TRUE(Written<ResultRecord>(actions).empty());
  EXPECT_EQ(Given(actions, 1).size(), 1u);
}

TEST_F(CoreTest, AStalledMastersOwnGapIsNobodysSilence) {
  Start(1);
  Join(1, 1, 1);
  core_->OnTick(now_);
  now_ += seconds(3600);
  core_->OnTick(now_);
  EXPECT_EQ(core_->counts().workers, 1u);
}

TEST_F(CoreTest, AWorkerThatLeavesIsGivenNothing) {
  Start(10);
  const auto given = Given(Join(1, 1, 1), 1);
  Report(1, Leaving{"SIGTERM"});
  EXPECT_TRUE(Given(Finish(1, given[0]), 1).empty());
}

TEST_F(CoreTest, TheReasonOfAWorkerThatTakesNothingIsKnown) {
  Start(1);
  Join(1, 1, 1);
  EXPECT_EQ(core_->CommonProblem(), "");
  Report(1, WorkerHeartbeat{0, 0, "no such directory"});
  EXPECT_EQ(core_->CommonProblem(), "no such directory");
}

// ---- retries, provisional charges, fences ----

TEST_F(CoreTest, AFailedTaskIsTriedAgainAfterItsBackOffAndAcknowledgedOnceThatIsDurable) {
  options_.retries = 1;
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  const auto failed = Finish(1, given[0], Outcome::kError);
  EXPECT_TRUE(Written<ResultRecord>(failed).empty());
  ASSERT_EQ(Written<FailureRecord>(failed).size(), 1u);
  EXPECT_EQ(Written<FailureRecord>(failed)[0].kind, FailureKind::kRetried);
  EXPECT_TRUE(All<Ack>(failed).empty());
  EXPECT_TRUE(Given(failed, 1).empty());
  EXPECT_EQ(All<Ack>(Commit(given[0])).size(), 1u);
  EXPECT_TRUE(Given(Tick(milliseconds(900)), 1).empty());
  const auto again = Given(Tick(milliseconds(200)), 1);
  ASSERT_EQ(again.size(), 1u);
  const auto last = Finish(1, again[0], Outcome::kError);
  ASSERT_EQ(Written<ResultRecord>(last).size(), 1u);
  EXPECT_EQ(Written<ResultRecord>(last)[0].attempts, 2u);
}

TEST_F(CoreTest, AMemoryOutcomeIsNeverTriedAgain) {
  options_.retries = 5;
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  EXPECT_EQ(Written<ResultRecord>(Finish(1, given[0], Outcome::kMemory)).size(), 1u);
}

TEST_F(CoreTest, AfterMaxFailuresNothingMoreIsStarted) {
  options_.max_failures = 2;
  Start(10);
  auto given = Given(Join(1, 1, 1), 1);
  ASSERT_EQ(given.size(), 2u);
  Finish(1, given[0], Outcome::kError);
  const auto second = Finish(1, given[1], Outcome::kError);
  EXPECT_EQ(All<Drain>(second).size(), 1u);
  EXPECT_TRUE(Given(second, 1).empty());
  EXPECT_NE(core_->drain_reason().find("--max-failures"), std::string::npos);
}

TEST_F(CoreTest, ASilentLossIsChargedProvisionallyAndTakenBackIfItIsExplainedInTime) {
  options_.explained_late = true;
  options_.crash_limit = 1;
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  const auto lost = Pass(seconds(31));
  ASSERT_EQ(Written<FailureRecord>(lost).size(), 1u);
  EXPECT_EQ(Written<FailureRecord>(lost)[0].kind, FailureKind::kProvisional);
  // Not set aside, and not given out, before the scheduler has had its time.
  EXPECT_TRUE(Written<ResultRecord>(lost).empty());
  EXPECT_TRUE(Given(Join(2, 2, 1), 2).empty());
  core_->OnAllocationEnded(now_, "local 1", "NODE_FAIL", true);
  const auto explained = Take();
  ASSERT_EQ(Written<FailureRecord>(explained).size(), 1u);
  EXPECT_EQ(Written<FailureRecord>(explained)[0].kind, FailureKind::kTakenBack);
  EXPECT_EQ(Given(explained, 2).size(), 1u);
}

TEST_F(CoreTest, AnUnexplainedLossIsFinalAfterTwoMinutes) {
  options_.explained_late = true;
  options_.crash_limit = 1;
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  Pass(seconds(31));
  std::vector<ResultRecord> results;
  for (int i = 0; i < 130 && results.empty(); ++i)
    results = Written<ResultRecord>(Tick(seconds(1)));
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].result.outcome, Outcome::kCrashed);
}

TEST_F(CoreTest, AWorkerThatAnswersIsAliveWhateverItsSchedulerSays) {
  options_.explained_late = true;
  Start(4);
  Join(1, 1, 1);
  core_->OnAllocationEnded(now_, "local 1", "NODE_FAIL", true);
  const auto asked = Take();
  EXPECT_EQ(core_->counts().workers, 1u);
  session_[1] = Only<Who>(asked).session;
  Tell(1, session_[1], 0, HelloOf(1, 1));
  Tick(seconds(4));
  EXPECT_EQ(core_->counts().workers, 1u);
  core_->OnAllocationEnded(now_, "local 1", "NODE_FAIL", true);
  Take();
  Tick(seconds(4));
  EXPECT_EQ(core_->counts().workers, 0u);
}

TEST_F(CoreTest, ARunningAttemptThatComesBackTakesItsChargeBack) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  Pass(seconds(31));
  const auto back = Join(2, 1, 1, {{kRun, given[0].task, given[0].attempt, HeldState::kRunning}});
  ASSERT_EQ(Written<FailureRecord>(back).size(), 1u);
  EXPECT_EQ(Written<FailureRecord>(back)[0].kind, FailureKind::kTakenBack);
  EXPECT_EQ(Written<ResultRecord>(Finish(2, given[0])).size(), 1u);
}

TEST_F(CoreTest, AFencedTaskWaitsForLeaseAndGraceBeforeItsNextAttempt) {
  options_.text.fence = true;
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  Pass(seconds(31));
  EXPECT_TRUE(Given(Join(2, 2, 1), 2).empty());
  uint64_t waited = 0;
  for (size_t got = 0; got == 0 && waited < 100; ++waited) {
    Report(2, WorkerHeartbeat{0, 100, ""});
    got = Given(Tick(seconds(1)), 2).size();
  }
  EXPECT_GE(waited, 35u);
  EXPECT_LE(waited, 36u);
}

// ---- machines where nothing starts ----

TEST_F(CoreTest, WhatCannotBeStartedGoesElsewhereUnchargedAndNotBack) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  Join(2, 2, 1);
  const auto refused = CannotStart(1, given[0]);
  EXPECT_TRUE(Written<FailureRecord>(refused).empty());
  EXPECT_TRUE(Written<ResultRecord>(refused).empty());
  EXPECT_EQ(All<Ack>(refused).size(), 1u);
  EXPECT_TRUE(Given(refused, 1).empty());
  const auto elsewhere = Given(refused, 2);
  ASSERT_EQ(elsewhere.size(), 1u);
  const auto done = Finish(2, elsewhere[0]);
  ASSERT_EQ(Written<ResultRecord>(done).size(), 1u);
  EXPECT_EQ(Written<ResultRecord>(done)[0].attempts, 1u);
}

TEST_F(CoreTest, WhatNobodyCanStartIsAnErrorWithItsReason) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  const auto refused = CannotStart(1, given[0]);
  ASSERT_EQ(Written<ResultRecord>(refused).size(), 1u);
  EXPECT_EQ(Written<ResultRecord>(refused)[0].result.exit, 127);
  // Not while another worker is about to come.
  Start(1);
  const auto first = Given(Join(1, 1, 1), 1);
  core_->OnExpected(1);
  EXPECT_TRUE(Written<ResultRecord>(CannotStart(1, first[0])).empty());
  core_->OnExpected(0);
  EXPECT_EQ(Written<ResultRecord>(Take()).size(), 1u);
}

TEST_F(CoreTest, AWorkerThatCannotStartWhatOthersCanIsDrainedAndItsHostAvoided) {
  Start(20);
  Join(1, 1, 1);
  Join(2, 2, 1);
  size_t drains = 0;
  std::string avoided;
  const auto look = [&](const std::vector<Action>& actions) {
    drains += All<Drain>(actions).size();
    for (const Action& action : actions) {
      if (const auto* avoid = std::get_if<AvoidHost>(&action)) avoided = avoid->host;
    }
  };
  for (int i = 0; i < 3; ++i) look(CannotStart(1, held_[1].at(static_cast<size_t>(i))));
  EXPECT_TRUE(Given(Tick(milliseconds(1)), 1).empty()) << "on probation it gets nothing";
  EXPECT_EQ(drains, 0u);
  for (size_t i = 0; i < held_[2].size() && drains == 0; ++i) look(Finish(2, held_[2][i]));
  EXPECT_EQ(drains, 1u);
  EXPECT_EQ(avoided, "h1");
}

TEST_F(CoreTest, RowsThatStartNowhereDrainNobody) {
  Start(20);
  Join(1, 1, 1);
  Join(2, 2, 1);
  size_t drains = 0;
  // Every task fails to start on both, as rows with a bad program do.
  for (int round = 0; round < 100; ++round) {
    for (const ConnectionId from : {1, 2}) {
      if (held_[from].empty()) continue;
      const AttemptRef ref = held_[from].front();
      held_[from].erase(held_[from].begin());
      drains += All<Drain>(CannotStart(from, ref)).size();
    }
  }
  EXPECT_EQ(core_->counts().outcomes[static_cast<size_t>(Outcome::kError)], 20u);
  EXPECT_EQ(drains, 0u);
}

// ---- what an earlier master left ----

TEST_F(CoreTest, TasksBelowTheMarkWaitForTheWorkersOfAnEarlierMaster) {
  options_.epoch = 2;
  Recovered recovered;
  recovered.mark = 3;
  KnownWorker known;
  known.number = 7;
  known.id = {1};
  known.watched = true;
  recovered.workers = {known};
  recovered.last_worker = 7;
  Start(5, 1, recovered);
  const auto fresh = Given(Join(2, 2, 1), 2);
  ASSERT_FALSE(fresh.empty());
  for (const AttemptRef& ref : fresh) EXPECT_GT(ref.task, 3u);
  // It comes back and runs task 2: that one is its own, the others go out.
  const auto back = Join(1, 1, 1, {{kRun, 2, MakeSerial(1, 2), HeldState::kRunning}});
  std::set<TaskId> out;
  for (const AttemptRef& ref : Given(back, 1)) out.insert(ref.task);
  for (const AttemptRef& ref : Given(back, 2)) out.insert(ref.task);
  EXPECT_FALSE(out.contains(2));
  EXPECT_EQ(Written<ResultRecord>(Finish(1, {2, MakeSerial(1, 2)})).size(), 1u);
}

TEST_F(CoreTest, AWorkerThatCannotLiveAnyMoreIsNotWaitedFor) {
  options_.epoch = 2;
  Recovered recovered;
  recovered.mark = 5;
  KnownWorker known;
  known.number = 1;
  known.id = {9};
  known.allocation = "slurm 1_1";
  known.watched = true;
  recovered.workers = {known};
  Start(5, 1, recovered);
  EXPECT_TRUE(Given(Join(2, 2, 1), 2).empty());
  core_->OnAllocationEnded(now_, "slurm 1_1", "gone", true);
  EXPECT_FALSE(Given(Take(), 2).empty());
  // One that nobody watches is given up after two leases.
  recovered.workers[0].watched = false;
  Start(5, 1, recovered);
  EXPECT_TRUE(Given(Join(2, 2, 1), 2).empty());
  bool given = false;
  for (int i = 0; i < 62; ++i) {
    Report(2, WorkerHeartbeat{0, 100, ""});
    given = given || !Given(Tick(seconds(1)), 2).empty();
    EXPECT_TRUE(!given || i >= 58) << i;
  }
  EXPECT_TRUE(given);
}

TEST_F(CoreTest, ARequeuedJobsNewWorkerEndsTheWaitForTheOldOne) {
  options_.epoch = 2;
  Recovered recovered;
  recovered.mark = 5;
  KnownWorker known;
  known.number = 1;
  known.id = {9};
  known.allocation = "local 2";
  known.watched = true;
  recovered.workers = {known};
  Start(5, 1, recovered);
  EXPECT_FALSE(Given(Join(2, 2, 1), 2).empty());
}

TEST_F(CoreTest, AttemptsOfTasksThatWereSetToRunAgainNoLongerCount) {
  options_.epoch = 2;
  Recovered recovered;
  recovered.resets = {{1, 1, 2}};
  Start(2, 1, recovered);
  const auto joined = Join(1, 1, 1, {{kRun, 1, MakeSerial(1, 1), HeldState::kRunning}});
  EXPECT_EQ(Only<Cancel>(joined).to, 1u);
  EXPECT_TRUE(Written<ResultRecord>(Finish(1, {1, MakeSerial(1, 1)})).empty());
}

TEST_F(CoreTest, ResultsBeyondTheLimitCountThoughTheirTasksDoNotRun) {
  options_.epoch = 2;
  Recovered recovered;
  recovered.closed.Insert(2);
  recovered.closed_count = 1;
  recovered.beyond.Insert(2);
  Start(2, 1, recovered);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_EQ(given.size(), 1u);
  EXPECT_EQ(given[0].task, 1u);
  core_->OnSpooled(now_, Results{kRun, {}, {ResultOf({2, MakeSerial(1, 5)})}});
  EXPECT_EQ(Written<ResultRecord>(Take()).size(), 1u);
  core_->OnSpooled(now_, Results{kRun, {}, {ResultOf({2, MakeSerial(1, 5)})}});
  EXPECT_TRUE(Written<ResultRecord>(Take()).empty());
}

TEST_F(CoreTest, AFailureThatAWorkerKeptCountsIfNobodyGaveItsAttemptUp) {
  options_.epoch = 2;
  Start(1, 1, {});
  core_->OnSpooled(now_, Results{kRun, {}, {ResultOf({1, MakeSerial(1, 5)}, Outcome::kError)}});
  EXPECT_EQ(Written<ResultRecord>(Take()).size(), 1u);
}

TEST_F(CoreTest, NothingGoesOutAboveTheDurableMark) {
  options_.mark_stride = 4;
  Start(100, 1, {}, false);
  const auto joined = Join(1, 1, 8);
  EXPECT_TRUE(Given(joined, 1).empty());
  core_->OnCommitted(now_, {{}, {}, 4, {}});
  const auto given = Given(Take(), 1);
  EXPECT_EQ(given.size(), 4u);
}

}  // namespace
}  // namespace cq
