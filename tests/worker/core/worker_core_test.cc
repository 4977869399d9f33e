#include "worker/core/worker_core.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "protocol/limits.h"
#include "protocol/pieces.h"
#include "protocol/spans.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr RunId kRun = 9;
const SessionId kSession = MakeSerial(1, 1);

class WorkerCoreTest : public ::testing::Test {
 protected:
  WorkerCoreTest() {
    WorkerCoreOptions options;
    options.run = kRun;
    options.slots = 1;
    core_ = std::make_unique<WorkerCore>(options);
    core_->OnConnected(now_);
    Take();
  }

  std::vector<WorkerAction> Take() {
    core_->CheckInvariants();
    return core_->TakeActions();
  }
  std::vector<WorkerAction> Tell(ToWorker message, SessionId session = kSession) {
    const bool counted = !std::holds_alternative<Who>(message);
    core_->OnMessage(now_, {session, counted ? ++sequence_ : 0}, std::move(message));
    return Take();
  }
  void Join() {
    Tell(Who{});
    Tell(Welcome{10'000, 30'000, {}});
    RunText text;
    text.command = {{"true"}};
    text.run = kRun;
    Tell(text);
    core_->OnPrepared("");
    Take();
  }
  // So many tasks are at hand, and the first one runs.
  void JoinAndRun(uint64_t tasks) {
    Join();
    Tell(TasksOf(1, tasks));
    Run(1);
  }
  static Assign TasksOf(uint64_t first, uint64_t count) {
    Assign assign;
    assign.run = kRun;
    for (uint64_t i = first; i < first + count; ++i) {
      assign.tasks.push_back(For<Task>({i, MakeSerial(1, i)}));
      assign.tasks.back().seed = 1;
    }
    return assign;
  }
  static AttemptRef Ref(uint64_t i) { return {i, MakeSerial(1, i)}; }
  static TaskResult ResultOf(uint64_t i, Outcome outcome, int64_t exit) {
    TaskResult result;
    result.task = i;
    result.attempt = MakeSerial(1, i);
    result.outcome = outcome;
    result.details.Edit().exit = exit;
    return result;
  }
  void Run(uint64_t i) { core_->OnRunning({{Ref(i), 0, now_}}); }
  std::vector<WorkerAction> Tick(std::chrono::nanoseconds by = {}) {
    now_ += by;
    core_->OnTick(now_);
    return Take();
  }
  template <class M>
  static std::vector<M> Sent(const std::vector<WorkerAction>& actions) {
    std::vector<M> found;
    for (const WorkerAction& action : actions) {
      const auto* send = std::get_if<SendUp>(&action);
      if (send == nullptr) continue;
      if (const auto* message = std::get_if<M>(&send->message)) found.push_back(*message);
    }
    return found;
  }
  template <class A>
  static std::vector<A> Done(const std::vector<WorkerAction>& actions) {
    std::vector<A> found;
    for (const WorkerAction& action : actions) {
      if (const auto* wanted = std::get_if<A>(&action)) found.push_back(*wanted);
    }
    return found;
  }

  std::unique_ptr<WorkerCore> core_;
  WorkerCore::Time now_ = seconds(1);
  uint64_t sequence_ = 0;
};

TEST_F(WorkerCoreTest, AnswersWhoWithWhatItHolds) {
  JoinAndRun(2);
  core_->OnConnected(now_);
  Take();
  const auto hello = Sent<Hello>(Tell(Who{}, MakeSerial(1, 2)));
  ASSERT_EQ(hello.size(), 1u);
  ASSERT_EQ(hello[0].held.size(), 2u);
  EXPECT_EQ(hello[0].held[0].state, HeldState::kRunning);
  EXPECT_EQ(hello[0].held[1].state, HeldState::kQueued);
}

TEST_F(WorkerCoreTest, DropsTasksOfAnOlderSessionAndEpoch) {
  Join();
  EXPECT_TRUE(Done<Enqueue>(Tell(TasksOf(1, 1), MakeSerial(1, 9))).empty());
  EXPECT_TRUE(Done<Enqueue>(Tell(TasksOf(1, 1), MakeSerial(0, 1))).empty());
}

TEST_F(WorkerCoreTest, RepeatsItsHelloUntilItIsWelcome) {
  Tell(Who{});
  EXPECT_EQ(Sent<Hello>(Tick(seconds(2))).size(), 1u);
}

TEST_F(WorkerCoreTest, ATaskGivenTwiceIsRunOnce) {
  Join();
  EXPECT_EQ(Done<Enqueue>(Tell(TasksOf(1, 1))).size(), 1u);
  EXPECT_TRUE(Done<Enqueue>(Tell(TasksOf(1, 1))).empty());
}

TEST_F(WorkerCoreTest, KeepsAResultUntilItIsAcknowledgedAndSendsItAgainAfterAReconnect) {
  JoinAndRun(1);
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  EXPECT_EQ(Sent<Results>(Tick()).size(), 1u);
  EXPECT_TRUE(Sent<Results>(Tick(seconds(1))).empty());
  core_->OnConnected(now_);
  const SessionId second = MakeSerial(1, 2);
  Tell(Who{}, second);
  sequence_ = 0;
  EXPECT_EQ(Sent<Results>(Tell(Welcome{10'000, 30'000, {}}, second)).size(), 1u);
  Tell(Ack{kRun, {{1, Ref(1).attempt}}}, second);
  core_->OnConnected(now_);
  Take();
  EXPECT_TRUE(Sent<Hello>(Tell(Who{}, MakeSerial(1, 3)))[0].held.empty());
}

TEST_F(WorkerCoreTest, AMissingSequenceNumberStartsANewHandshake) {
  Join();
  sequence_ += 5;
  const auto hello = Sent<Hello>(Tell(MasterHeartbeat{}));
  EXPECT_EQ(hello.size(), 1u);
}

TEST_F(WorkerCoreTest, StartsAreReportedAfterFiftyMilliseconds) {
  JoinAndRun(1);
  EXPECT_TRUE(Sent<Started>(Tick(milliseconds(49))).empty());
  EXPECT_EQ(Sent<Started>(Tick(milliseconds(1))).size(), 1u);
  EXPECT_TRUE(Sent<Started>(Tick(milliseconds(50))).empty());
}

TEST_F(WorkerCoreTest, ResultsGatherWhileThereIsWorkAtHand) {
  JoinAndRun(10);
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  EXPECT_TRUE(Sent<Results>(Tick(milliseconds(5))).empty());
  EXPECT_EQ(Sent<Results>(Tick(milliseconds(15))).size(), 1u);
}

TEST_F(WorkerCoreTest, OnceToldToGoOnlyOkIsAnOutcome) {
  JoinAndRun(3);
  core_->OnToldToGo(now_, "SIGTERM");
  auto actions = Take();
  EXPECT_EQ(Sent<Leaving>(actions).size(), 1u);
  ASSERT_EQ(Done<TakeBack>(actions).size(), 1u);
  core_->OnTakenBack({Ref(2), Ref(3)}, ReturnReason::kToldToGo);
  core_->OnFinished(now_, ResultOf(1, Outcome::kError, 1), false);
  actions = Tick();
  ASSERT_EQ(Sent<Returned>(actions).size(), 1u);
  EXPECT_EQ(Sent<Returned>(actions)[0].attempts.size(), 3u);
  EXPECT_TRUE(Sent<Results>(actions).empty());
  EXPECT_EQ(Sent<Goodbye>(actions).size(), 1u);
  EXPECT_EQ(Done<Exit>(actions).size(), 1u);
}

// A shell goes on after the command that the signal ended, and exits with 0.
TEST_F(WorkerCoreTest, WhatACommandComesToWhenItsJobIsSignalledIsNoResult) {
  JoinAndRun(2);
  core_->OnToldToGo(now_, "SIGTERM");
  // What the guardian passed on came first.
  core_->OnToldToGo(now_, "SIGTERM", WorkerCore::Told::kJob);
  Take();
  core_->OnTakenBack({Ref(2)}, ReturnReason::kToldToGo);
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  const auto actions = Tick();
  EXPECT_TRUE(Sent<Results>(actions).empty());
  ASSERT_EQ(Sent<Returned>(actions).size(), 1u);
  EXPECT_EQ(Sent<Returned>(actions)[0].attempts.size(), 2u);
}

TEST_F(WorkerCoreTest, WhatItEndsWellWhenItAloneIsToldToGoCounts) {
  JoinAndRun(1);
  core_->OnToldToGo(now_, "SIGTERM");
  Take();
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  EXPECT_EQ(Sent<Results>(Tick()).size(), 1u);
}

TEST_F(WorkerCoreTest, ADeathByTermIsReportedASecondLaterOrHandedBack) {
  JoinAndRun(2);
  core_->OnFinished(now_, ResultOf(1, Outcome::kError, -SIGTERM), false);
  EXPECT_TRUE(Sent<Results>(Tick(milliseconds(500))).empty());
  EXPECT_EQ(Sent<Results>(Tick(milliseconds(530))).size(), 1u);
  Run(2);
  core_->OnFinished(now_, ResultOf(2, Outcome::kError, -SIGKILL), false);
  Tick(milliseconds(500));
  core_->OnToldToGo(now_, "SIGTERM");
  const auto returned = Sent<Returned>(Tick());
  ASSERT_EQ(returned.size(), 1u);
  EXPECT_EQ(returned[0].attempts[0].reason, ReturnReason::kToldToGo);
}

TEST_F(WorkerCoreTest, WhatWeKilledIsCancelled) {
  JoinAndRun(1);
  EXPECT_EQ(Done<Kill>(Tell(Cancel{kRun, {Ref(1)}})).size(), 1u);
  core_->OnFinished(now_, ResultOf(1, Outcome::kError, -SIGKILL), true);
  const auto results = Sent<Results>(Tick());
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].results[0].outcome, Outcome::kCancelled);
}

TEST_F(WorkerCoreTest, DrainsThenSaysGoodbyeOnceAllIsAcknowledged) {
  JoinAndRun(1);
  Tell(Drain{"interrupted"});
  core_->OnFinished(now_, ResultOf(1, Outcome::kError, 3), false);
  EXPECT_TRUE(Done<Exit>(Tick()).empty());
  Tell(Ack{kRun, {{1, Ref(1).attempt}}});
  const auto actions = Tick();
  EXPECT_EQ(Sent<Goodbye>(actions).size(), 1u);
  EXPECT_EQ(Done<Exit>(actions).size(), 1u);
}

TEST_F(WorkerCoreTest, AWorkerThatLacksTheDirectoryTakesNothingAndSaysSo) {
  Tell(Who{});
  Tell(Welcome{10'000, 30'000, {}});
  RunText text;
  text.command = {{"true"}};
  text.run = kRun;
  Tell(text);
  Tell(TasksOf(1, 1));
  core_->OnPrepared("no such directory");
  const auto actions = Take();
  ASSERT_EQ(Sent<WorkerHeartbeat>(actions).size(), 1u);
  EXPECT_EQ(Sent<WorkerHeartbeat>(actions)[0].capacity, 0u);
  EXPECT_EQ(Sent<WorkerHeartbeat>(actions)[0].problem, "no such directory");
  EXPECT_EQ(Done<TakeBack>(actions)[0].reason, ReturnReason::kRefused);
}

TEST_F(WorkerCoreTest, HearingNothingForHalfALeaseItConnectsAnew) {
  Join();
  EXPECT_TRUE(Done<Reconnect>(Tick(seconds(10))).empty());
  EXPECT_EQ(Done<Reconnect>(Tick(seconds(10))).size(), 1u);
}

TEST_F(WorkerCoreTest, ABrokenConnectionIsMadeAnewAtOnceAndThenWithEveryHeartbeat) {
  Join();
  core_->OnDisconnected();
  EXPECT_EQ(Done<Reconnect>(Take()).size(), 1u);
  core_->OnConnected(now_);
  Take();
  // The new one breaks, too: nobody was there to welcome us.
  core_->OnDisconnected();
  EXPECT_TRUE(Done<Reconnect>(Take()).empty());
  EXPECT_TRUE(Done<Reconnect>(Tick(seconds(9))).empty());
  EXPECT_EQ(Done<Reconnect>(Tick(seconds(1))).size(), 1u);
  core_->OnConnected(now_);
  EXPECT_EQ(Done<Reconnect>(Tick(seconds(10))).size(), 1u);
}

TEST_F(WorkerCoreTest, ASchedulersWorkerLeavesAMasterThatStaysSilent) {
  Join();
  int exits = 0;
  for (int minute = 0; minute < 40 && exits == 0; ++minute) {
    for (const WorkerAction& action : Tick(seconds(60))) {
      if (std::holds_alternative<Reconnect>(action)) core_->OnConnected(now_);
      exits += std::holds_alternative<Exit>(action) ? 1 : 0;
    }
  }
  EXPECT_EQ(exits, 1);
}

TEST_F(WorkerCoreTest, ARefusalEndsItWithStatusFour) {
  const auto exit = Done<Exit>(Tell(Refuse{"9", "/p", "another version"}, 0));
  ASSERT_EQ(exit.size(), 1u);
  EXPECT_EQ(exit[0].status, 4);
}

TEST_F(WorkerCoreTest, AMissingMessageBeforeTheWelcomeStartsOverAndTheWelcomeDoesNotCount) {
  Tell(Who{});
  ++sequence_;  // a cancel that was lost
  const auto actions = Tell(Welcome{10'000, 30'000, {}});
  EXPECT_EQ(Sent<Hello>(actions).size(), 1u);
  EXPECT_TRUE(Done<StartUntil>(actions).empty());
  EXPECT_FALSE(core_->welcomed());
}

TEST_F(WorkerCoreTest, ItsLeaseCountsFromWhatTheMasterIsKnownToHaveHeard) {
  Tell(Who{});
  now_ += seconds(3);
  const auto welcome = Done<StartUntil>(Tell(Welcome{10'000, 30'000, {}}));
  ASSERT_EQ(welcome.size(), 1u);
  EXPECT_EQ(welcome[0].until, now_ - seconds(3) + seconds(30));
  const auto beat = Tick(seconds(10));
  ASSERT_EQ(Sent<WorkerHeartbeat>(beat).size(), 1u);
  const auto sent_at = now_;
  now_ += seconds(4);
  const auto renewed = Done<StartUntil>(Tell(MasterHeartbeat{1}));
  ASSERT_EQ(renewed.size(), 1u);
  EXPECT_EQ(renewed[0].until, sent_at + seconds(30));
}

TEST_F(WorkerCoreTest, AFencedWorkerKillsWhatRunsAtTheEndOfItsLease) {
  Tell(Who{});
  Tell(Welcome{10'000, 30'000, {}});
  RunText text;
  text.command = {{"true"}};
  text.run = kRun;
  text.fence = true;
  Tell(text);
  core_->OnPrepared("");
  Tell(TasksOf(1, 1));
  Run(1);
  EXPECT_TRUE(Done<Kill>(Tick(seconds(29))).empty());
  EXPECT_EQ(Done<Kill>(Tick(seconds(2))).size(), 1u);
}

TEST_F(WorkerCoreTest, ToldToGoWithoutAMasterItLeavesItsResultsInAFile) {
  JoinAndRun(3);
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  Tick();
  Run(2);
  core_->OnConnected(now_);  // the connection is gone, and nobody answers
  Take();
  core_->OnToldToGo(now_, "SIGTERM");
  auto actions = Take();
  ASSERT_EQ(Done<TakeBack>(actions).size(), 1u);
  core_->OnTakenBack({Ref(3)}, ReturnReason::kToldToGo);
  core_->OnFinished(now_, ResultOf(2, Outcome::kError, -SIGTERM), false);
  actions = Tick();
  ASSERT_EQ(Done<Spool>(actions).size(), 1u);
  EXPECT_EQ(Done<Spool>(actions)[0].results.results.size(), 1u);
  EXPECT_EQ(Done<Exit>(actions).size(), 1u);
}

// Its master may want what it ended as: it did not know that it has ended.
TEST_F(WorkerCoreTest, AResultCancelledBeforeItWasSentIsSent) {
  JoinAndRun(40);
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  Take();
  Tell(Cancel{kRun, {Ref(1)}});
  const auto actions = Tick(milliseconds(30));
  EXPECT_TRUE(Sent<Returned>(actions).empty());
  const auto results = Sent<Results>(actions);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].results[0].outcome, Outcome::kOk);
}

TEST_F(WorkerCoreTest, WithoutAnyAnswerItLeavesAfterAMinute) {
  bool left = false;
  for (int i = 0; i < 63; ++i) {
    for (const WorkerAction& action : Tick(seconds(1))) {
      if (std::holds_alternative<Reconnect>(action)) core_->OnConnected(now_);
      left = left || std::holds_alternative<Exit>(action);
    }
    EXPECT_TRUE(!left || i > 55) << i;
  }
  EXPECT_TRUE(left);
}

// Its programs are warm, and stay.
TEST_F(WorkerCoreTest, AResumedMastersTextIsTheSameThoughFewerTasksAreLeft) {
  Join();
  RunText text;
  text.command = {{"true"}};
  text.run = kRun;
  text.tasks = 10;
  text.cpus = 3;
  EXPECT_EQ(Done<Prepare>(Tell(text)).size(), 1u);
  text.tasks = 4;
  EXPECT_TRUE(Done<Prepare>(Tell(text)).empty());
  text.cpus = 4;
  EXPECT_EQ(Done<Prepare>(Tell(text)).size(), 1u);
}

// ---- spans ----

class WorkerSpanTest : public WorkerCoreTest {
 protected:
  static AttemptSpan Span(uint64_t first, uint64_t count) {
    return {first, MakeSerial(1, first), count};
  }
  void Assign(uint64_t first, uint64_t count) {
    cq::Assign assign;
    assign.run = kRun;
    auto span = For<Task>(Span(first, count));
    for (uint64_t i = 0; i < count; ++i) AppendPiece(span.rows, "a row");
    assign.tasks = {span};
    const auto queued = Done<Enqueue>(Tell(assign));
    ASSERT_EQ(queued.size(), 1u);
    EXPECT_EQ(queued[0].tasks, assign.tasks);
  }
  void Answer(uint64_t first, uint64_t count) {
    auto span = For<TaskResult>(Span(first, count));
    span.started_us = 1;
    span.wall_us = count;
    for (uint64_t i = 0; i < count; ++i) AppendAnswer(span.answers, 1, std::to_string(first + i));
    core_->OnFinished(now_, std::move(span), false);
  }
  // What the results say, task by task.
  static std::vector<TaskId> TasksIn(const std::vector<Results>& all) {
    std::vector<TaskId> tasks;
    for (const Results& results : all) {
      for (const TaskResult& span : results.results) {
        if (span.answers.empty()) continue;
        std::string_view answers = span.answers;
        cq::Answer answer;
        for (TaskId task = span.task; TakeAnswer(answers, answer); ++task) {
          EXPECT_EQ(answer.value, std::to_string(task));
          tasks.push_back(task);
        }
      }
    }
    return tasks;
  }
  std::map<TaskId, HeldState> HeldNow() {
    core_->OnConnected(now_);
    Take();
    std::map<TaskId, HeldState> held;
    const auto hello = Sent<Hello>(Tell(Who{}, MakeSerial(1, ++sessions_)));
    sequence_ = 0;
    for (const Held& h : hello.at(0).held) held[h.task] = h.state;
    return held;
  }
  uint64_t sessions_ = 1;
};

TEST_F(WorkerSpanTest, PartsAreReportedAsTheyEndAndForgottenWhenTheyAreDurable) {
  Join();
  Assign(1, 10);
  Run(1);
  Answer(1, 4);
  Run(5);
  EXPECT_EQ(TasksIn(Sent<Results>(Tick(milliseconds(30)))), (std::vector<TaskId>{1, 2, 3, 4}));
  Answer(5, 6);
  EXPECT_EQ(TasksIn(Sent<Results>(Tick())), (std::vector<TaskId>{5, 6, 7, 8, 9, 10}));
  // The master may have cut them otherwise.
  Tell(Ack{kRun, {Span(1, 2), Span(3, 5)}});
  const auto held = HeldNow();
  EXPECT_EQ(held.size(), 3u);
  EXPECT_TRUE(held.contains(8) && held.contains(9) && held.contains(10));
}

TEST_F(WorkerSpanTest, OneOfASpanRunsAndTheOthersWait) {
  Join();
  Assign(1, 3);
  Run(2);
  const auto held = HeldNow();
  EXPECT_EQ(held, (std::map<TaskId, HeldState>{
                      {1, HeldState::kQueued}, {2, HeldState::kRunning}, {3, HeldState::kQueued}}));
}

TEST_F(WorkerSpanTest, TwoSlotsReportTheirPartsOfASpan) {
  Join();
  Assign(1, 10);
  core_->OnRunning({{Ref(1), 0, now_}, {Ref(6), 1, now_}});
  const auto started = Sent<Started>(Tick(milliseconds(60)));
  ASSERT_EQ(started.size(), 1u);
  EXPECT_EQ(started[0].attempts,
            (std::vector<StartedAttempt>{{1, MakeSerial(1, 1), 0}, {6, MakeSerial(1, 6), 1}}));
  Answer(6, 5);
  Answer(1, 5);
  EXPECT_EQ(TasksIn(Sent<Results>(Tick())).size(), 10u);
}

TEST_F(WorkerSpanTest, WhatIsRetractedIsReturnedAndTheRestIsAnswered) {
  Join();
  Assign(1, 5);
  Run(1);
  core_->OnTakenBack({Ref(4), Ref(5)}, ReturnReason::kRetracted);
  const auto returned = Sent<Returned>(Tick());
  ASSERT_EQ(returned.size(), 1u);
  EXPECT_EQ(returned[0].attempts.size(), 2u);
  Answer(1, 3);
  EXPECT_EQ(TasksIn(Sent<Results>(Tick())), (std::vector<TaskId>{1, 2, 3}));
}

TEST_F(WorkerSpanTest, AFailureInTheMiddleIsAResultOfItsOwn) {
  Join();
  Assign(1, 5);
  Run(1);
  Answer(1, 2);
  core_->OnFinished(now_, ResultOf(3, Outcome::kError, 1), false);
  Answer(4, 2);
  const auto results = Sent<Results>(Tick());
  EXPECT_EQ(TasksIn(results), (std::vector<TaskId>{1, 2, 4, 5}));
  ASSERT_EQ(results[0].results.size(), 3u);
  EXPECT_EQ(results[0].results[1].first(), Ref(3));
  EXPECT_EQ(results[0].results[1].outcome, Outcome::kError);
}

TEST_F(WorkerSpanTest, ACancelledResultIsSentWithTheOthers) {
  Join();
  Assign(1, 9);
  Run(1);
  Answer(1, 9);
  Tell(Cancel{kRun, {Ref(1), Ref(5)}});
  const auto actions = Tick(milliseconds(30));
  EXPECT_EQ(TasksIn(Sent<Results>(actions)), (std::vector<TaskId>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_TRUE(Sent<Returned>(actions).empty());
}

TEST_F(WorkerSpanTest, AfterAWelcomeWhatIsKeptIsSentAgain) {
  Join();
  Assign(1, 6);
  Run(1);
  Answer(1, 6);
  Tick();
  Tell(Ack{kRun, {Span(2, 2)}});
  HeldNow();
  const auto again = Sent<Results>(Tell(Welcome{10'000, 30'000, {}}, MakeSerial(1, sessions_)));
  EXPECT_EQ(TasksIn(again), (std::vector<TaskId>{1, 4, 5, 6}));
}

TEST_F(WorkerSpanTest, ToldToGoItGivesBackWhatDoesNotRun) {
  Join();
  Assign(1, 4);
  Run(1);
  core_->OnToldToGo(now_, "SIGTERM");
  const auto take = Done<TakeBack>(Take());
  ASSERT_EQ(take.size(), 1u);
  EXPECT_EQ(take[0].attempts, (std::vector<AttemptRef>{Ref(2), Ref(3), Ref(4)}));
  core_->OnTakenBack(take[0].attempts, ReturnReason::kToldToGo);
  Answer(1, 1);
  Tell(Ack{kRun, {Span(1, 1)}});
  EXPECT_EQ(Sent<Goodbye>(Tick()).size(), 1u);
}

// Whatever a master sends: a worker lives, and says what is wrong.
TEST_F(WorkerCoreTest, AMasterCannotGiveItWhatWouldEndIt) {
  Tell(Who{});
  Tell(Welcome{10'000, 30'000, {}});
  RunText text;
  text.run = kRun;
  const auto no_command = Sent<WorkerHeartbeat>(Tell(text));
  ASSERT_EQ(no_command.size(), 1u);
  EXPECT_EQ(no_command[0].problem, "the run has no command");
  text.program.words = {"python3"};
  text.program.columns = {"a", "b"};
  text.program.types = {ColumnType::kText};
  const auto no_types = Sent<WorkerHeartbeat>(Tell(text));
  ASSERT_EQ(no_types.size(), 1u);
  EXPECT_EQ(no_types[0].problem, "the run has 2 columns of 1 types");
  text.program.types.push_back(ColumnType::kText);
  text.timeout_ms = UINT64_MAX;
  const auto good = Done<Prepare>(Tell(text));
  ASSERT_EQ(good.size(), 1u);
  EXPECT_LT(good[0].text.timeout_ms, uint64_t{1} << 43);
  core_->OnPrepared("");
  Take();
  Assign assign = TasksOf(1, 3);
  assign.tasks[0].values = {"1", "2"};
  assign.tasks[0].details.Edit().timeout_ms = UINT64_MAX;
  assign.tasks[1].values = {"1"};
  assign.tasks[2].task = 0;
  assign.tasks.push_back(For<Task>({4, 1}));
  assign.tasks.back().values = {"1", "2"};
  const auto queued = Done<Enqueue>(Tell(assign));
  ASSERT_EQ(queued.size(), 1u);
  ASSERT_EQ(queued[0].tasks.size(), 2u);
  EXPECT_LT(queued[0].tasks[0].details->timeout_ms, uint64_t{1} << 43);
  EXPECT_EQ(queued[0].tasks[1].details->problem,
            "the task came with 1 values, and its run has 2 columns");
}

// Of whatever number: the largest has none behind it.
TEST_F(WorkerCoreTest, TheLastOfAllAttemptsMayBeGivenAgain) {
  Join();
  Assign assign;
  assign.run = kRun;
  assign.tasks = {For<Task>({1, UINT64_MAX})};
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Done<Enqueue>(Tell(assign)).size(), 1u);
    core_->OnTakenBack({{1, UINT64_MAX}}, ReturnReason::kRetracted);
  }
}

TEST_F(WorkerSpanTest, ASpanOfWhatIsHeldAlreadyIsNone) {
  Join();
  Assign(5, 4);
  Run(6);
  Answer(5, 3);
  cq::Assign again;
  again.run = kRun;
  for (const AttemptSpan& span :
       {Span(1, 10), Span(8, 3), Span(9, 0), AttemptSpan{9, UINT64_MAX, 2}, Span(9, 2)}) {
    again.tasks.push_back(For<Task>(span));
  }
  const auto queued = Done<Enqueue>(Tell(again));
  ASSERT_EQ(queued.size(), 1u);
  ASSERT_EQ(queued[0].tasks.size(), 1u);
  EXPECT_EQ(AttemptSpan(queued[0].tasks[0]), Span(9, 2));
}

// What the master would refuse is never sent, and so never sent again.
TEST_F(WorkerCoreTest, AResultBeyondALimitIsAnErrorThatNamesIt) {
  JoinAndRun(2);
  TaskResult names = ResultOf(1, Outcome::kOk, 0);
  for (size_t i = 0; i <= kNamesMax; ++i) names.values.emplace_back(std::to_string(i), int64_t{1});
  core_->OnFinished(now_, std::move(names), false);
  Run(2);
  TaskResult bytes = ResultOf(2, Outcome::kOk, 0);
  bytes.values.emplace_back("x", std::string(kResultBytesMax, 'x'));
  core_->OnFinished(now_, std::move(bytes), false);
  std::vector<TaskResult> sent;
  for (const Results& message : Sent<Results>(Tick(seconds(1)))) {
    sent.insert(sent.end(), message.results.begin(), message.results.end());
  }
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].outcome, Outcome::kError);
  EXPECT_EQ(sent[0].details->error, "it returned 65537 names; a result may have 65536");
  EXPECT_EQ(sent[1].outcome, Outcome::kError);
  EXPECT_NE(sent[1].details->error.find("(16 MiB)"), std::string::npos);
}

TEST_F(WorkerCoreTest, ATaskWithoutRoomIsHandedBackAndNoOtherIsTakenForAWhile) {
  JoinAndRun(2);
  core_->OnNoRoom(now_, Ref(1), "no room");
  const auto told = Tick();
  ASSERT_FALSE(Sent<WorkerHeartbeat>(told).empty());
  EXPECT_EQ(Sent<WorkerHeartbeat>(told)[0].problem, "");
  EXPECT_EQ(Sent<WorkerHeartbeat>(told)[0].capacity, 0u);
  EXPECT_EQ(Sent<WorkerHeartbeat>(told)[0].waits_for, "no room");
  ASSERT_EQ(Sent<Returned>(told).size(), 1u);
  EXPECT_EQ(Sent<Returned>(told)[0].attempts[0].reason, ReturnReason::kRefused);
  const auto later = Sent<WorkerHeartbeat>(Tick(seconds(31)));
  ASSERT_FALSE(later.empty());
  EXPECT_EQ(later[0].problem, "");
  EXPECT_GT(later[0].capacity, 0u);
}

}  // namespace
}  // namespace cq
