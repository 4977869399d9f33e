#include "worker/worker_core.h"

#include <gtest/gtest.h>
#include <signal.h>

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

  std::vector<WorkerAction> Take() { return core_->TakeActions(); }
  std::vector<WorkerAction> Tell(ToWorker message, SessionId session = kSession) {
    const bool counted = !std::holds_alternative<Who>(message);
    core_->OnMessage(now_, {session, counted ? ++sequence_ : 0}, std::move(message));
    return Take();
  }
  void Join() {
    Tell(Who{});
    Tell(Welcome{10'000, 30'000, {}});
    RunText text;
    text.run = kRun;
    Tell(text);
    core_->OnPrepared("");
    Take();
  }
  static Assign TasksOf(uint64_t first, uint64_t count) {
    Assign assign;
    assign.run = kRun;
    for (uint64_t i = first; i < first + count; ++i) {
      assign.tasks.push_back({i, MakeSerial(1, i), 1, 1, {}, {}, {}});
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
  Join();
  Tell(TasksOf(1, 2));
  Run(1);
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
  Join();
  Tell(TasksOf(1, 1));
  Run(1);
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  EXPECT_EQ(Sent<Results>(Tick()).size(), 1u);
  EXPECT_TRUE(Sent<Results>(Tick(seconds(1))).empty());
  core_->OnConnected(now_);
  const SessionId second = MakeSerial(1, 2);
  Tell(Who{}, second);
  sequence_ = 0;
  EXPECT_EQ(Sent<Results>(Tell(Welcome{10'000, 30'000, {}}, second)).size(), 1u);
  Tell(Ack{kRun, {Ref(1)}}, second);
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
  Join();
  Tell(TasksOf(1, 1));
  Run(1);
  EXPECT_TRUE(Sent<Started>(Tick(milliseconds(49))).empty());
  EXPECT_EQ(Sent<Started>(Tick(milliseconds(1))).size(), 1u);
  EXPECT_TRUE(Sent<Started>(Tick(milliseconds(50))).empty());
}

TEST_F(WorkerCoreTest, ResultsGatherWhileThereIsWorkAtHand) {
  Join();
  Tell(TasksOf(1, 10));
  Run(1);
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  EXPECT_TRUE(Sent<Results>(Tick(milliseconds(5))).empty());
  EXPECT_EQ(Sent<Results>(Tick(milliseconds(15))).size(), 1u);
}

TEST_F(WorkerCoreTest, OnceToldToGoOnlyOkIsAnOutcome) {
  Join();
  Tell(TasksOf(1, 3));
  Run(1);
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

TEST_F(WorkerCoreTest, ADeathByTermIsReportedASecondLaterOrHandedBack) {
  Join();
  Tell(TasksOf(1, 2));
  Run(1);
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
  Join();
  Tell(TasksOf(1, 1));
  Run(1);
  EXPECT_EQ(Done<Kill>(Tell(Cancel{kRun, {Ref(1)}})).size(), 1u);
  core_->OnFinished(now_, ResultOf(1, Outcome::kError, -SIGKILL), true);
  const auto results = Sent<Results>(Tick());
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].results[0].outcome, Outcome::kCancelled);
}

TEST_F(WorkerCoreTest, DrainsThenSaysGoodbyeOnceAllIsAcknowledged) {
  Join();
  Tell(TasksOf(1, 1));
  Run(1);
  Tell(Drain{"interrupted"});
  core_->OnFinished(now_, ResultOf(1, Outcome::kError, 3), false);
  EXPECT_TRUE(Done<Exit>(Tick()).empty());
  Tell(Ack{kRun, {Ref(1)}});
  const auto actions = Tick();
  EXPECT_EQ(Sent<Goodbye>(actions).size(), 1u);
  EXPECT_EQ(Done<Exit>(actions).size(), 1u);
}

TEST_F(WorkerCoreTest, AWorkerThatLacksTheDirectoryTakesNothingAndSaysSo) {
  Tell(Who{});
  Tell(Welcome{10'000, 30'000, {}});
  RunText text;
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
  Join();
  Tell(TasksOf(1, 3));
  Run(1);
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

TEST_F(WorkerCoreTest, AResultCancelledBeforeItWasSentIsReturned) {
  Join();
  Tell(TasksOf(1, 40));
  Run(1);
  core_->OnFinished(now_, ResultOf(1, Outcome::kOk, 0), false);
  Take();
  Tell(Cancel{kRun, {Ref(1)}});
  const auto returned = Sent<Returned>(Tick());
  ASSERT_EQ(returned.size(), 1u);
  EXPECT_EQ(returned[0].attempts[0].reason, ReturnReason::kCancelled);
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

}  // namespace
}  // namespace cq
