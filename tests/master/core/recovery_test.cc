// What is tried again, what is charged, where nothing starts, and what an earlier master left.
#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

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
  options_.halts = {{Halt::Of::kFailed, 2, false, false, "--max-failures 2"}};
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
  core_->OnAllocationEnded(now_, "local 1", "NODE_FAIL", Blame::kNobody);
  const auto explained = Take();
  ASSERT_EQ(Written<FailureRecord>(explained).size(), 1u);
  EXPECT_EQ(Written<FailureRecord>(explained)[0].kind, FailureKind::kTakenBack);
  EXPECT_EQ(Given(explained, 2).size(), 1u);
}

TEST_F(CoreTest, ATaskThatTakesItsProgramWithItIsChargedWhileItsWorkerLives) {
  options_.crash_limit = 2;
  Start(3);
  auto given = Given(Join(1, 1, 1), 1);
  const AttemptRef first = given.at(0);
  const auto crashed = Finish(1, first, Outcome::kCrashed);
  const auto failures = Written<FailureRecord>(crashed);
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].kind, FailureKind::kSlotCrashed);
  EXPECT_TRUE(Written<ResultRecord>(crashed).empty());
  // Acknowledged like any report, once it is durable.
  EXPECT_TRUE(All<Ack>(crashed).empty());
  EXPECT_EQ(All<Ack>(Commit(first)).size(), 1u);
  // It is tried again, and at the limit set aside.
  AttemptRef again{};
  for (int i = 0; i < 10 && again.attempt == 0; ++i) {
    for (const AttemptRef& ref : held_[1]) {
      if (ref.task == first.task && ref.attempt != first.attempt) again = ref;
    }
    if (again.attempt == 0) Finish(1, held_[1].at(static_cast<size_t>(i) + 1));
  }
  ASSERT_NE(again.attempt, 0u);
  const auto records = Written<ResultRecord>(Finish(1, again, Outcome::kCrashed));
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].result.outcome, Outcome::kCrashed);
}

TEST_F(CoreTest, AnotherWorkerOfTheSameAllocationExplainsTheLossOfTheFirst) {
  options_.explained_late = true;
  Start(2);
  const auto given = Given(Join(1, 1, 1), 1);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  EXPECT_EQ(Written<FailureRecord>(Pass(seconds(31))).at(0).kind, FailureKind::kProvisional);
  // Requeued: a worker of the same name for the scheduler, and another for us.
  Hello again = HelloOf(2, 1);
  again.allocation = HelloOf(1, 1).allocation;
  const auto offered = Tell(2, 0, 0, again);
  const auto accepted = Tell(2, Only<Who>(offered).session, 0, again);
  EXPECT_EQ(Written<FailureRecord>(accepted).at(0).kind, FailureKind::kTakenBack);
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
  core_->OnAllocationEnded(now_, "local 1", "NODE_FAIL", Blame::kNobody);
  const auto asked = Take();
  EXPECT_EQ(core_->counts().workers, 1u);
  session_[1] = Only<Who>(asked).session;
  Tell(1, session_[1], 0, HelloOf(1, 1));
  Tick(seconds(4));
  EXPECT_EQ(core_->counts().workers, 1u);
  core_->OnAllocationEnded(now_, "local 1", "NODE_FAIL", Blame::kNobody);
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

// A task under suspicion runs alone. That its worker lives after all says that it is no killer: the
// worker's other slots do not wait for it.
TEST_F(CoreTest, ASuspicionEndsWithTheReturnOfTheWorkerThatWasThoughtDead) {
  Start(4);
  const auto given = Given(Join(1, 1, 2), 1);
  ASSERT_GE(given.size(), 2u);
  Report(1, Started{kRun, {{given[0].task, given[0].attempt, 0}}});
  Pass(seconds(31));
  std::vector<Held> held{{kRun, given[0].task, given[0].attempt, HeldState::kRunning}};
  for (size_t i = 1; i < given.size(); ++i) {
    held.push_back({kRun, given[i].task, given[i].attempt, HeldState::kQueued});
  }
  Join(2, 1, 2, held);
  const auto more = Given(Finish(2, given[0]), 2);
  EXPECT_EQ(given.size() + more.size(), 4u);
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
  EXPECT_EQ(Written<ResultRecord>(refused)[0].result.details->exit, 127);
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
  Recovered recovered = OneKnownWorker(5, "slurm 1_1", true);
  Start(5, 1, recovered);
  EXPECT_TRUE(Given(Join(2, 2, 1), 2).empty());
  core_->OnAllocationEnded(now_, "slurm 1_1", "gone", Blame::kNobody);
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

// Its scheduler still may explain the charge when a second attempt at it comes back, and is handed
// back.
TEST_F(CoreTest, ATaskAtItsLimitWaitsForItsSchedulersWordWhoeverElseComesBackWithIt) {
  options_.explained_late = true;
  options_.crash_limit = 1;
  Recovered recovered = OneKnownWorker(4, "slurm 1", true);
  for (uint8_t i = 2; i <= 3; ++i) {
    KnownWorker known;
    known.number = i;
    known.id = {i};
    known.allocation = "slurm " + std::to_string(i);
    known.watched = true;
    recovered.workers.push_back(known);
  }
  recovered.last_worker = 3;
  Start(4, 1, std::move(recovered));
  Join(1, 9, 1, {{kRun, 1, MakeSerial(1, 10), HeldState::kRunning}});
  Pass(seconds(31));
  const AttemptId second = MakeSerial(1, 20);
  Join(2, 2, 1, {{kRun, 1, second, HeldState::kRunning}});
  Report(2, Returned{kRun, {{1, second, ReturnReason::kToldToGo, 0, {}}}});
  Join(3, 3, 1);
  EXPECT_TRUE(Written<ResultRecord>(Take()).empty());
  // Nobody explains it.
  const auto results = Written<ResultRecord>(Pass(seconds(130)));
  const bool crashed = std::any_of(results.begin(), results.end(), [](const ResultRecord& r) {
    return r.result.task == 1 && r.result.outcome == Outcome::kCrashed;
  });
  EXPECT_TRUE(crashed);
}

// A charge is of an attempt at one task, though somebody says that he has it for another.
TEST_F(CoreTest, AnotherTasksChargeIsNotTakenBack) {
  options_.explained_late = true;
  options_.epoch = 2;
  Start(4);
  const AttemptId attempt = MakeSerial(1, 10);
  Join(2, 2, 1, {{kRun, 2, attempt, HeldState::kRunning}});
  Pass(seconds(91));
  Join(1, 1, 1, {{kRun, 1, attempt, HeldState::kRunning}});
  Pass(seconds(71));
  const auto back = Join(12, 2, 1, {{kRun, 2, attempt, HeldState::kRunning}});
  EXPECT_EQ(Written<FailureRecord>(back).size(), 1u);
  Pass(seconds(130));
}

TEST_F(CoreTest, ARequeuedJobsNewWorkerEndsTheWaitForTheOldOne) {
  Recovered recovered = OneKnownWorker(5, "local 2", true);
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

TEST_F(CoreTest, AHelloThatIsOlderThanTheEndOfAnAttemptDoesNotBringItBack) {
  options_.retries = 2;
  Start(1);
  const auto given = Given(Join(1, 1, 1), 1);
  ASSERT_EQ(given.size(), 1u);
  // The worker failed at it, left its report in a file, and is gone; a hello of before comes now.
  core_->OnSpooled(now_, Results{kRun, {}, {ResultOf(given[0], Outcome::kError)}});
  EXPECT_EQ(Written<FailureRecord>(Take()).size(), 1u);
  Join(2, 1, 1, {{kRun, 1, given[0].attempt, HeldState::kRunning}});
  EXPECT_EQ(core_->counts().out, 0u);
}

}  // namespace
}  // namespace cq
