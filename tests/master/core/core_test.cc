// Sessions, giving and reporting, silence.
#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

TEST_F(CoreTest, AWorkerGetsNoTaskBeforeItsHelloRepeatsTheSession) {
  Start(10);
  const auto offered = Tell(1, 0, 0, HelloOf(1, 1));
  EXPECT_EQ(All<Who>(offered).size(), 1u);
  EXPECT_TRUE(Given(offered, 1).empty());
  const auto wrong = Tell(1, 12345, 0, HelloOf(1, 1));
  EXPECT_TRUE(All<Welcome>(wrong).empty());
  EXPECT_TRUE(Given(wrong, 1).empty());
}

TEST_F(CoreTest, AWorkerIsNotWelcomeBeforeItsRowIsDurable) {
  Start(10);
  const SessionId session = Only<Who>(Tell(1, 0, 0, HelloOf(1, 1))).session;
  auto accepted = Tell(1, session, 0, HelloOf(1, 1));
  EXPECT_TRUE(All<Welcome>(accepted).empty());
  EXPECT_TRUE(Given(accepted, 1).empty());
  // It says so again, and comes no further.
  EXPECT_TRUE(All<Welcome>(Tell(1, session, 0, HelloOf(1, 1))).empty());
  core_->OnCommitted(now_, {{}, {1}, 0, {}});
  accepted = Take();
  EXPECT_EQ(All<Welcome>(accepted).size(), 1u);
  EXPECT_EQ(All<RunText>(accepted).size(), 1u);
  EXPECT_FALSE(Given(accepted, 1).empty());
}

// Otherwise it would go on with what it holds, and a later master would not know of it.
TEST_F(CoreTest, AWorkerThatCameBackIsNotWelcomeBeforeThatIsDurable) {
  Start(10);
  const auto given = Given(Join(1, 1, 1), 1);
  Pass(seconds(40));
  const Hello hello = HelloOf(1, 1, {{kRun, given[0].task, given[0].attempt, HeldState::kQueued}});
  const SessionId session = Only<Who>(Tell(2, 0, 0, hello)).session;
  const auto accepted = Tell(2, session, 0, hello);
  EXPECT_EQ(Written<WorkerRecord>(accepted).size(), 1u);
  EXPECT_TRUE(All<Welcome>(accepted).empty());
  core_->OnCommitted(now_, {{}, {1}, 0, {}});
  EXPECT_EQ(All<Welcome>(Take()).size(), 1u);
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
  core_->OnAllocationEnded(now_, "local 1", "killed", Blame::kFinal);
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
  core_->OnAllocationEnded(now_, "local 1", "preempted", Blame::kNobody);
  EXPECT_TRUE(Written<FailureRecord>(Take()).empty());
}

TEST_F(CoreTest, ATaskThatTakesItsWorkerWithItThreeTimesIsSetAside) {
  Start(1);
  for (uint8_t i = 1; i <= 3; ++i) {
    const auto given = Given(Join(i, i, 1), i);
    ASSERT_EQ(given.size(), 1u);
    Report(i, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
    core_->OnAllocationEnded(now_, "local " + std::to_string(i), "killed", Blame::kFinal);
    const auto results = Written<ResultRecord>(Take());
    EXPECT_EQ(results.size(), i == 3 ? 1u : 0u);
    if (!results.empty()) {
      EXPECT_EQ(results[0].result.outcome, Outcome::kCrashed);
      EXPECT_EQ(results[0].attempts, 3u);
    }
  }
}

// A worker whose memory is gone with one task on it shows whose fault it was.
TEST_F(CoreTest, WhatRanAloneWhereTheMemoryWentEndsAsMemory) {
  Start(1);
  Join(1, 1, 1);
  const AttemptRef only = held_[1].at(0);
  Report(1, Started{kRun, {{only.task, only.attempt, 0}}});
  core_->OnAllocationEnded(now_, "local 1", "OUT_OF_MEMORY", Blame::kMemory);
  const auto results = Written<ResultRecord>(Take());
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].result.outcome, Outcome::kMemory);
  EXPECT_EQ(results[0].worker, 1u);
  EXPECT_NE(results[0].result.details->error.find("it ran alone there: OUT_OF_MEMORY"),
            std::string::npos);
}

TEST_F(CoreTest, OfSeveralThatMayHaveTakenTheMemoryEachIsTriedAloneAndNoneIsCharged) {
  Start(6);
  Join(1, 1, 2);
  const auto held = held_[1];
  ASSERT_GE(held.size(), 2u);
  Report(1,
         Started{kRun, {{held[0].task, held[0].attempt, 0}, {held[1].task, held[1].attempt, 1}}});
  core_->OnAllocationEnded(now_, "local 1", "OUT_OF_MEMORY", Blame::kMemory);
  const auto lost = Take();
  EXPECT_TRUE(Written<ResultRecord>(lost).empty());
  EXPECT_TRUE(Written<FailureRecord>(lost).empty());
  Join(2, 2, 2);
  ASSERT_EQ(held_[2].size(), 1u);
  EXPECT_EQ(held_[2][0].task, held[0].task);
  // It was innocent; the next one was not.
  Finish(2, held_[2][0]);
  ASSERT_EQ(held_[2].size(), 2u);
  EXPECT_EQ(held_[2][1].task, held[1].task);
  core_->OnAllocationEnded(now_, "local 2", "OUT_OF_MEMORY", Blame::kMemory);
  const auto results = Written<ResultRecord>(Take());
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].result.task, held[1].task);
  EXPECT_EQ(results[0].result.outcome, Outcome::kMemory);
  Join(3, 3, 2);
  EXPECT_GT(held_[3].size(), 1u);
}

// Slurm says so of a job of which one task was killed for that, however it ends in the end.
TEST_F(CoreTest, ATaskIsNotBlamedForTheMemoryOfOneBefore) {
  Start(2);
  Join(1, 1, 1);
  const auto held = held_[1];
  ASSERT_GE(held.size(), 1u);
  Report(1, Started{kRun, {{held[0].task, held[0].attempt, 0}}});
  Finish(1, held[0], Outcome::kMemory);
  const AttemptRef next = held_[1].at(1);
  Report(1, Started{kRun, {{next.task, next.attempt, 0}}});
  core_->OnAllocationEnded(now_, "local 1", "OUT_OF_MEMORY", Blame::kMemory);
  const auto lost = Take();
  EXPECT_TRUE(Written<ResultRecord>(lost).empty());
  ASSERT_EQ(Written<FailureRecord>(lost).size(), 1u);
  EXPECT_EQ(Written<FailureRecord>(lost)[0].kind, FailureKind::kCharged);
}

TEST_F(CoreTest, AWorkerThatFellSilentBeforeItsMemoryWasBlamed) {
  options_.explained_late = true;
  Start(1);
  Join(1, 1, 1);
  const AttemptRef only = held_[1].at(0);
  Report(1, Started{kRun, {{only.task, only.attempt, 0}}});
  Pass(seconds(31));
  // It is tried again meanwhile.
  Join(2, 2, 1);
  ASSERT_EQ(held_[2].size(), 1u);
  core_->OnAllocationEnded(now_, "local 1", "OUT_OF_MEMORY", Blame::kMemory);
  const auto actions = Take();
  const auto results = Written<ResultRecord>(actions);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].result.outcome, Outcome::kMemory);
  EXPECT_EQ(Written<FailureRecord>(actions)[0].kind, FailureKind::kTakenBack);
  // Where it runs now it is ended.
  EXPECT_EQ(Only<Cancel>(actions).to, 2u);
}

TEST_F(CoreTest, OfAWorkerThatCameBackOnlyWhatItHeldThenIsToBlameForItsMemory) {
  options_.explained_late = true;
  options_.crash_limit = 1;
  Start(2);
  Join(1, 1, 1);
  const AttemptRef first = held_[1].at(0);
  Report(1, Started{kRun, {{first.task, first.attempt, 0}}});
  Pass(seconds(31));
  // It was out of reach, and has nothing any more; the other task takes its memory.
  Join(2, 1, 1);
  const AttemptRef second = held_[2].at(0);
  ASSERT_NE(second.task, first.task);
  Report(2, Started{kRun, {{second.task, second.attempt, 0}}});
  Pass(seconds(31));
  core_->OnAllocationEnded(now_, "local 1", "OUT_OF_MEMORY", Blame::kMemory);
  const auto results = Written<ResultRecord>(Take());
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].result.task, second.task);
  EXPECT_EQ(results[0].result.outcome, Outcome::kMemory);
  Join(3, 3, 1);
  ASSERT_EQ(held_[3].size(), 1u);
  EXPECT_EQ(held_[3][0].task, first.task);
}

// As where its scheduler says so at once.
TEST_F(CoreTest, OfSeveralOnAWorkerThatFellSilentNoneIsChargedForItsMemory) {
  options_.explained_late = true;
  options_.crash_limit = 1;
  Start(6);
  Join(1, 1, 2);
  const auto held = held_[1];
  Report(1,
         Started{kRun, {{held[0].task, held[0].attempt, 0}, {held[1].task, held[1].attempt, 1}}});
  Pass(seconds(31));
  core_->OnAllocationEnded(now_, "local 1", "OUT_OF_MEMORY", Blame::kMemory);
  const auto lost = Take();
  EXPECT_TRUE(Written<ResultRecord>(lost).empty());
  for (const FailureRecord& failure : Written<FailureRecord>(lost)) {
    EXPECT_EQ(failure.kind, FailureKind::kTakenBack);
  }
  Join(2, 2, 2);
  ASSERT_EQ(held_[2].size(), 1u) << "each is tried alone";
}

TEST_F(CoreTest, WhatMayHaveKilledItsWorkerUnreportedIsTriedAloneAndThenCharged) {
  Start(4);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_EQ(given.size(), 2u);
  for (uint8_t i = 2; i <= 4; ++i) {
    core_->OnAllocationEnded(now_, "local " + std::to_string(i - 1), "killed", Blame::kFinal);
    const auto lost = Take();
    EXPECT_EQ(Written<FailureRecord>(lost).size(), i == 2 ? 0u : 1u);
    const auto alone = Given(Join(i, i, 1), i);
    ASSERT_EQ(alone.size(), 1u);
    EXPECT_EQ(alone[0].task, given[0].task);
  }
  core_->OnAllocationEnded(now_, "local 4", "killed", Blame::kFinal);
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
  core_->OnAllocationEnded(now_, "local 1", "killed", Blame::kFinal);
  const auto failures = Written<FailureRecord>(Take());
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].attempt, given[1]);
}

TEST_F(CoreTest, WhatWasNeverStartedIsNotCountedAsTried) {
  Start(1);
  Join(1, 1, 1);
  core_->OnAllocationEnded(now_, "local 1", "killed", Blame::kFinal);
  Take();
  uint64_t gives = 0;
  for (const Action& action : Join(2, 2, 1)) {
    const auto* give = std::get_if<struct Give>(&action);
    if (give == nullptr) continue;
    ++gives;
    EXPECT_EQ(give->grants[0].attempt_number, 1u);
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
      for (const auto& grant : give->grants) {
        results.results.push_back(ResultOf(grant.span.first(), Outcome::kOk, 1));
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
  core_->OnAllocationEnded(now_, "local 1", "killed", Blame::kFinal);
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

// Its place in the table is another's by then, and so is its number when it comes back.
TEST_F(CoreTest, TheLateOkOfAWorkerThatWasForgottenCountsFromItAlone) {
  options_.remembered = seconds(60);
  Start(1);
  Join(1, 1, 1);
  const AttemptRef first = held_[1].at(0);
  Report(1, Started{kRun, {{first.task, first.attempt, 0}}});
  Pass(seconds(31));
  Join(2, 2, 1);
  EXPECT_EQ(held_[2].size(), 1u);
  const auto alive = [&](ConnectionId connection, int minutes) {
    for (int i = 0; i < 6 * minutes; ++i) {
      Pass(seconds(10));
      Report(connection, WorkerHeartbeat{100, {}, {}});
    }
  };
  alive(2, 2);
  Join(3, 3, 1);
  EXPECT_TRUE(Written<ResultRecord>(Finish(3, first)).empty());
  Join(4, 1, 1, {{kRun, first.task, first.attempt, HeldState::kRunning}});
  EXPECT_EQ(Written<ResultRecord>(Finish(4, first)).size(), 1u);
}

TEST_F(CoreTest, AnErrorOfAnAttemptThatWasGivenUpDoesNotCount) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  Pass(seconds(31));
  Join(2, 2, 1);
  Join(3, 1, 1, {{kRun, given[0].task, given[0].attempt, HeldState::kRunning}});
  const auto late = Finish(3, given[0], Outcome::kError);
  EXPECT_TRUE(Written<ResultRecord>(late).empty());
  EXPECT_EQ(All<Ack>(late).size(), 1u);
}

// Nobody would tell of its end a second time.
TEST_F(CoreTest, TheLastWordsOfAWorkerWhoseProcessHasEndedDoNotBringItBack) {
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  core_->OnAllocationEnded(now_, "local 1", "killed", Blame::kNobody);
  Take();
  const auto offered = Tell(2, 0, 0, HelloOf(1, 1));
  EXPECT_TRUE(Tell(2, Only<Who>(offered).session, 0,
                   HelloOf(1, 1, {{kRun, given[0].task, given[0].attempt, HeldState::kRunning}}))
                  .empty());
  EXPECT_EQ(core_->workers(), 0u);
  EXPECT_EQ(Given(Join(3, 3, 1), 3).size(), 1u);
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
  EXPECT_EQ(PrefetchPerSlot(std::chrono::nanoseconds(10)), kPrefetchMax);
}

TEST_F(CoreTest, ManySlotsShareWhatIsOutInAll) {
  Start(1'000'000, 400'000);
  const auto given = Given(Join(1, 1, 1), 1);
  TaskResult result = ResultOf(given[0]);
  result.wall_us = 1;
  Report(1, Results{kRun, {}, {result}});
  // So short that it could take as many as its capacity allows.
  EXPECT_EQ(core_->counts().out, 11u);
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

// Workers of different sizes hold the same number: the idle slot gets it.
TEST_F(CoreTest, WhatIsAskedBackForAnIdleSlotGoesThere) {
  Start(3);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_EQ(given.size(), 2u);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  const auto joined = Join(2, 2, 2);
  ASSERT_EQ(Given(joined, 2).size(), 1u);
  const auto asked = std::get<Retract>(Only<Retract>(joined).message).attempts;
  ASSERT_EQ(asked.size(), 1u);
  const auto back = Report(
      1, Returned{kRun, {{asked[0].task, asked[0].attempt, ReturnReason::kRetracted, 0, ""}}});
  EXPECT_EQ(Given(back, 2).size(), 1u);
  EXPECT_TRUE(Given(back, 1).empty());
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

// Nobody reports what another worker has, or what nobody was given.
TEST_F(CoreTest, AResultCountsOnlyFromAWorkerThatHasOrHadTheAttempt) {
  Start(50);
  const auto given = Given(Join(1, 1, 1), 1);
  Join(2, 2, 1);
  for (const Outcome outcome : {Outcome::kOk, Outcome::kError, Outcome::kSkipped}) {
    EXPECT_TRUE(Written<ResultRecord>(Finish(2, given[0], outcome)).empty());
    // A task that is fresh, with an attempt of another.
    EXPECT_TRUE(Written<ResultRecord>(Finish(2, {40, given[0].attempt}, outcome)).empty());
  }
  // It was handed back, and done all the same.
  Report(1, Returned{kRun, {{given[0].task, given[0].attempt, ReturnReason::kRetracted, 0, ""}}});
  EXPECT_TRUE(Written<ResultRecord>(Finish(2, given[0])).empty());
  EXPECT_EQ(Written<ResultRecord>(Finish(1, given[0])).size(), 1u);
}

}  // namespace
}  // namespace cq
