// Warm pools as a user has them: runs that share one, and what each loses when another, the pool,
// or a worker of it is killed: nothing.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/e2e/pool_fixture.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;
using Json = nlohmann::json;

TEST_F(PoolTest, ARunOnAPoolIsAsAnyOther) {
  StartPool();
  const Ended ended =
      Run("a", 100, {"sh", "-c", "echo $0 $POOL_TEST $CQ_CPUS; exit $(($0 % 2))", "{a}"})->Wait();
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_NE(ended.err.find("50 of 100 tasks ok, 50 error"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("on the pool 'p'"), std::string::npos) << ended.err;
  EXPECT_EQ(Column(File("a.cq/results.csv"), "cq_stdout")[1], "2 " + directory_.path() + " 1");
  // It is over, and the pool is not.
  const Json status = Status();
  EXPECT_EQ(status["state"], "running");
  EXPECT_EQ(status["slots"], 4);
  EXPECT_TRUE(status["runs"].empty());
  // What failed runs again there, since the run says so.
  EXPECT_EQ(CqHere({"resume", "a.cq", "--failed"}).status, 1);
}

TEST_F(PoolTest, ItsDirectoryIsItsUsersAlone) {
  StartPool();
  for (const char* path : {"state/cq/pools", "state/cq/pools/p"}) {
    struct stat status {};
    ASSERT_EQ(stat(File(path).c_str(), &status), 0) << path;
    EXPECT_EQ(status.st_mode & 0777, 0700u) << path;
  }
  struct stat status {};
  ASSERT_EQ(stat(File("state/cq/pools/p/pool.json").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(PoolTest, RunsShareItsSlotsEqually) {
  StartPool();
  const auto a = Run("a", 600, Short());
  ASSERT_TRUE(Has("a", 4));
  const auto b = Run("b", 600, Short());
  ASSERT_TRUE(Has("b", 2));
  EXPECT_TRUE(Has("a", 2));
  const auto c = Run("c", 1, WaitFor("c"));
  ASSERT_TRUE(Has("c", 1));
  WriteFile(File("c"), "");
  EXPECT_EQ(c->Wait().status, 0);
  EXPECT_EQ(a->Wait().status, 0);
  EXPECT_EQ(b->Wait().status, 0);
  ExpectAllOk("a", 600);
  ExpectAllOk("b", 600);
}

TEST_F(PoolTest, NothingThatRunsIsTakenAway) {
  StartPool();
  const auto a = Run("a", 8, WaitFor("a"));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  const auto b = Run("b", 3, {"echo", "{a}"});
  // It has to wait for the first that ends.
  ASSERT_TRUE(Has("a", 4));
  ASSERT_TRUE(Eventually([&] { return Status()["runs"].size() == 2; }));
  EXPECT_EQ(SlotsOf("b"), 0);
  WriteFile(File("a"), "");
  EXPECT_EQ(b->Wait().status, 0);
  EXPECT_EQ(a->Wait().status, 0);
  EXPECT_EQ(Attempts("a"), std::vector<std::string>(8, "1"));
}

TEST_F(PoolTest, AHigherPriorityGetsAllThatItWants) {
  StartPool();
  const auto a = Run("a", 600, Short());
  ASSERT_TRUE(Has("a", 4));
  const auto b = Run("b", 4, WaitFor("b"), {"--priority", "3"});
  ASSERT_TRUE(Has("b", 4));
  EXPECT_TRUE(Has("a", 0));
  WriteFile(File("b"), "");
  EXPECT_EQ(b->Wait().status, 0);
  ASSERT_TRUE(Has("a", 4));
  EXPECT_EQ(a->Wait().status, 0);
}

TEST_F(PoolTest, ARunsDeathIsItsOwn) {
  StartPool();
  auto a = Run("a", 2, WaitFor("a"));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 2; }));
  const auto b = Run("b", 4, WaitFor("b"));
  ASSERT_TRUE(Has("b", 2));
  const auto workers = BelowThePool("a.cq/connect.json");
  ASSERT_FALSE(workers.empty());
  a->Signal(SIGKILL);
  a->Wait();
  EXPECT_TRUE(Gone(workers));
  // All is the other's now.
  ASSERT_TRUE(Has("b", 4));
  WriteFile(File("b"), "");
  EXPECT_EQ(b->Wait().status, 0);
  WriteFile(File("a"), "");
  EXPECT_EQ(CqHere({"resume", "a.cq"}).status, 0);
  ExpectAllOk("a", 2);
  ExpectAllOk("b", 4);
}

TEST_F(PoolTest, APoolThatIsKilledLeavesItsRunsResumable) {
  StartPool({"-w", "6"});
  std::vector<std::unique_ptr<TestProcess>> runs;
  for (const char* name : {"a", "b", "c"}) runs.push_back(Run(name, 2, WaitFor(name)));
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_TRUE(Eventually([&] { return Started(name) == 2; })) << name;
  }
  const auto family = BelowThePool("");
  pool_->Signal(SIGKILL);
  pool_->Wait();
  EXPECT_TRUE(Gone(family));
  for (const auto& run : runs) {
    const Ended ended = run->Wait();
    EXPECT_EQ(ended.status, 3) << ended.err;
    EXPECT_NE(ended.err.find("the master of the pool 'p' is gone"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find("cq resume"), std::string::npos) << ended.err;
  }
  EXPECT_EQ(CqHere({"pool", "status", "p"}).status, 5);
  // One alone, one on the pool that was started again, one on another.
  for (const char* name : {"a", "b", "c"}) WriteFile(File(name), "");
  EXPECT_EQ(CqHere({"resume", "a.cq", "-s", "local", "-w", "2"}).status, 0);
  const Ended refused = CqHere({"resume", "b.cq"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("cq pool start p"), std::string::npos) << refused.err;
  StartPool({"-w", "2"});
  EXPECT_EQ(CqHere({"resume", "b.cq"}).status, 0);
  const TestProcess other({CQ_PROGRAM, "pool", "start", "q", "--foreground", "-w", "1"},
                          directory_.path(), Environment());
  ASSERT_TRUE(Eventually([&] { return other.Err().find("is ready") != std::string::npos; }));
  EXPECT_EQ(CqHere({"resume", "c.cq", "--on", "q"}).status, 0);
  for (const char* name : {"a", "b", "c"}) ExpectAllOk(name, 2);
}

TEST_F(PoolTest, ARunSurvivesAPoolThatComesBackSoon) {
  StartPool();
  const auto a = Run("a", 4, WaitFor("a"));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  pool_->Signal(SIGKILL);
  pool_->Wait();
  StartPool();
  ASSERT_TRUE(Eventually([&] { return Started("a") == 8; })) << a->Err();
  WriteFile(File("a"), "");
  const Ended ended = a->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectAllOk("a", 4);
}

TEST_F(PoolTest, AWorkerOfThePoolThatIsKilledCostsNoRunItsResults) {
  StartPool({"--slots", "4"});
  const auto a = Run("a", 2, WaitFor("a"));
  const auto b = Run("b", 2, WaitFor("b"));
  ASSERT_TRUE(Eventually([&] { return Started("a") + Started("b") == 4; }));
  // The pool's own, the guardian and the worker proper.
  const auto family = BelowThePool("p/connect.json");
  ASSERT_EQ(family.size(), 2u);
  const auto all = BelowThePool("");
  kill(family[1], SIGKILL);
  EXPECT_TRUE(Gone(all));
  // Any of the four may have been the cause: they are tried one at a time.
  ASSERT_TRUE(Eventually([&] { return Started("a") + Started("b") == 5; }));
  WriteFile(File("a"), "");
  WriteFile(File("b"), "");
  EXPECT_EQ(a->Wait().status, 0);
  EXPECT_EQ(b->Wait().status, 0);
  ExpectAllOk("a", 2);
  ExpectAllOk("b", 2);
}

// A task that takes the pool's worker with it is found out, and nobody beside it is set aside.
TEST_F(PoolTest, ADeadlyTaskIsSetAsideAndItsNeighboursAreNot) {
  StartPool({"--slots", "4"});
  WriteProgram(File("deadly"),
               "#!/bin/sh\n"
               "if [ $1 != 3 ]; then sleep 0.3; echo lived; exit 0; fi\n"
               // Its run's worker, that one's guardian, and the pool's worker above.
               "sleep 0.2\n"
               "pid=$PPID\n"
               "for i in 1 2; do pid=$(awk '{print $4}' /proc/$pid/stat); done\n"
               "kill -9 $pid\n"
               "sleep 60\n");
  const auto b = Run("b", 40, {"sleep", "0.3"});
  const auto a = Run("a", 8, {"./deadly", "{a}"});
  const Ended ended = a->Wait();
  EXPECT_EQ(ended.status, 1) << ended.err;
  auto expected = std::vector<std::string>(8, "ok");
  expected[2] = "crashed";
  EXPECT_EQ(Column(File("a.cq/results.csv"), "cq_status"), expected) << ended.err;
  EXPECT_EQ(b->Wait().status, 0);
  ExpectAllOk("b", 40);
}

// One that a worker died of waits at a slot that is busy, and is asked back for another that is
// free: it keeps nobody from anything.
TEST_F(PoolTest, ATaskThatIsAskedBackBeforeItsTurnKeepsNobodyWaiting) {
  StartPool({"--slots", "2"});
  const auto a =
      Run("a", 2,
          {"sh", "-c",
           "echo $0 $PPID >> a.started; while [ ! -e a$0 ]; do sleep 0.02; done; echo $0", "{a}"});
  ASSERT_TRUE(Eventually([&] { return Started("a") == 2; }));
  const std::string started = Slurp(File("a.started"));
  const size_t first = started.starts_with("1 ") ? 0 : started.find("\n1 ") + 1;
  kill(std::stoi(started.substr(first + 2)), SIGKILL);
  WriteFile(File("a1"), "");
  WriteFile(File("a2"), "");
  const Ended ended = a->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectAllOk("a", 2);
}

TEST_F(PoolTest, ARunUsesWhatThePoolHasNow) {
  StartPool({"-w", "1"});
  const auto a = Run("a", 6, WaitFor("a"));
  ASSERT_TRUE(Has("a", 1));
  pool_->Signal(SIGKILL);
  pool_->Wait();
  StartPool({"-w", "3"});
  ASSERT_TRUE(Has("a", 3));
  WriteFile(File("a"), "");
  EXPECT_EQ(a->Wait().status, 0);
}

TEST_F(PoolTest, OfTwoThatAreStartedAtOnceOneIsThere) {
  std::vector<std::unique_ptr<TestProcess>> starts;
  for (int i = 0; i < 4; ++i) {
    starts.push_back(std::make_unique<TestProcess>(
        Words{CQ_PROGRAM, "pool", "start", "p", "-w", "1"}, directory_.path(), Environment()));
  }
  int there = 0;
  for (const auto& start : starts) {
    const Ended ended = start->Wait();
    there += ended.status == 0 ? 1 : 0;
    if (ended.status == 0) continue;
    EXPECT_EQ(ended.status, 2) << ended.err;
    EXPECT_NE(ended.err.find("is there already"), std::string::npos) << ended.err;
  }
  EXPECT_EQ(there, 1);
  EXPECT_EQ(Run("a", 2, {"true"})->Wait().status, 0);
  EXPECT_EQ(CqHere({"pool", "stop", "p", "--now"}).status, 0);
}

TEST_F(PoolTest, AnInterruptedRunLeavesThePoolToOthers) {
  StartPool();
  const auto a = Run("a", 8, WaitFor("a"));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  a->Signal(SIGTERM);
  const Ended ended = a->Wait();
  EXPECT_EQ(ended.status, 130) << ended.err;
  EXPECT_TRUE(Gone(BelowThePool("a.cq/connect.json")));
  EXPECT_EQ(Run("b", 4, {"echo", "{a}"})->Wait().status, 0);
}

TEST_F(PoolTest, StopLetsWhatRunsEnd) {
  StartPool();
  const auto a = Run("a", 8, WaitFor("a"));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  EXPECT_EQ(CqHere({"pool", "stop", "p"}).status, 0);
  EXPECT_EQ(Status()["state"], "ending");
  // Nobody new is let in.
  const Ended late = Run("b", 1, {"true"})->Wait();
  EXPECT_EQ(late.status, 3) << late.err;
  EXPECT_NE(late.err.find("about to end"), std::string::npos) << late.err;
  WriteFile(File("a"), "");
  const Ended ended = a->Wait();
  EXPECT_EQ(ended.status, 3) << ended.err;
  EXPECT_NE(ended.err.find("told to end"), std::string::npos) << ended.err;
  EXPECT_EQ(pool_->Wait().status, 0);
  EXPECT_FALSE(std::filesystem::exists(File("state/cq/pools/p")));
  const auto status = Column(File("a.cq/results.csv"), "cq_status");
  EXPECT_EQ(std::count(status.begin(), status.end(), "ok"), 4);
  EXPECT_EQ(CqHere({"resume", "a.cq", "-s", "local"}).status, 0);
  EXPECT_EQ(Attempts("a"), std::vector<std::string>(8, "1"));
}

TEST_F(PoolTest, StopNowLeavesNoProcess) {
  StartPool();
  const auto a = Run("a", 8, WaitFor("a"));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  const auto family = BelowThePool("");
  EXPECT_EQ(CqHere({"pool", "stop", "p", "--now"}).status, 0);
  EXPECT_TRUE(Gone(family));
  EXPECT_EQ(pool_->Wait().status, 0);
  EXPECT_EQ(a->Wait().status, 3);
  WriteFile(File("a"), "");
  EXPECT_EQ(CqHere({"resume", "a.cq", "-s", "local"}).status, 0);
  ExpectAllOk("a", 8);
}

TEST_F(PoolTest, WithinBoundsItHasAsManyWorkersAsRunsAskFor) {
  StartPool({"-w", "0:3", "--worker-idle-timeout", "300ms"});
  EXPECT_EQ(Status()["workers"], 0);
  const auto a = Run("a", 8, WaitFor("a"));
  ASSERT_TRUE(Has("a", 3));
  EXPECT_EQ(Status()["workers"], 3);
  WriteFile(File("a"), "");
  EXPECT_EQ(a->Wait().status, 0);
  ExpectAllOk("a", 8);
  EXPECT_TRUE(Eventually([&] { return Status()["workers"] == 0; })) << Status();
  EXPECT_NE(CqHere({"pool", "status", "p"}).out.find("0 workers of 0 to 3"), std::string::npos);
  // And again.
  EXPECT_EQ(Run("b", 2, {"true"})->Wait().status, 0);
}

TEST_F(PoolTest, ItIsGivenOtherNumbersOfWorkersWhileARunIsOnIt) {
  StartPool({"-w", "2"});
  const auto a = Run("a", 9,
                     {"sh", "-c",
                      "echo $0 >> a.started; while [ ! -e go.$0 ] && [ ! -e go ]; do sleep 0.02; "
                      "done",
                      "{a}"});
  ASSERT_TRUE(Eventually([&] { return Started("a") == 2; }));
  const Ended scaled = CqHere({"scale", "p", "-w", "1"});
  EXPECT_EQ(scaled.status, 0) << scaled.err;
  EXPECT_EQ(scaled.out, "the pool 'p': 1 workers from now on\n");
  // What runs is not taken away; what is free then is not used again.
  ASSERT_TRUE(Eventually([&] { return Status()["slots"] == 1; }));
  EXPECT_EQ(SlotsOf("a"), 2);
  std::istringstream started(Slurp(File("a.started")));
  for (std::string row; std::getline(started, row);) WriteFile(File("go." + row), "");
  ASSERT_TRUE(Has("a", 1));
  ASSERT_TRUE(Eventually([&] { return Status()["workers"] == 1; }));
  EXPECT_EQ(Started("a"), 3u);
  EXPECT_EQ(CqHere({"scale", "p", "-w", "3"}).status, 0);
  ASSERT_TRUE(Has("a", 3));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 5; }));
  WriteFile(File("go"), "");
  EXPECT_EQ(a->Wait().status, 0);
  ExpectAllOk("a", 9);
  EXPECT_EQ(Attempts("a"), std::vector<std::string>(9, "1"));
  const Ended refused = CqHere({"scale", "p", "-w", "9000000"});
  EXPECT_EQ(refused.status, 2) << refused.err;
  const Ended none = CqHere({"scale", "q", "-w", "1"});
  EXPECT_EQ(none.status, 2);
  EXPECT_NE(none.err.find("neither a run here nor a warm pool"), std::string::npos) << none.err;
  // A run of that name is there, too.
  const Ended both = Run("p", 1, {"true"})->Wait();
  EXPECT_EQ(both.status, 0) << both.err;
  const Ended which = CqHere({"scale", "p", "-w", "1"});
  EXPECT_EQ(which.status, 2);
  EXPECT_NE(which.err.find("./p.cq"), std::string::npos) << which.err;
}

TEST_F(PoolTest, OneThatNobodyUsesEnds) {
  StartPool({"-w", "1", "--idle-timeout", "300ms"});
  EXPECT_EQ(pool_->Wait().status, 0);
  EXPECT_NE(CqHere({"pool", "list"}).out.find("there is no pool"), std::string::npos);
}

TEST_F(PoolTest, ItRunsOnItsOwn) {
  const Ended started = CqHere({"pool", "start", "p", "-w", "1"});
  ASSERT_EQ(started.status, 0) << started.err;
  EXPECT_NE(started.out.find("1 slots"), std::string::npos) << started.out;
  EXPECT_NE(CqHere({"pool", "list"}).out.find("p: running, 1 workers (local)"), std::string::npos);
  const Ended twice = CqHere({"pool", "start", "p"});
  EXPECT_EQ(twice.status, 2);
  EXPECT_NE(twice.err.find("is there already"), std::string::npos) << twice.err;
  EXPECT_EQ(Run("a", 2, {"true"})->Wait().status, 0);
  const auto pid = static_cast<pid_t>(Status()["pid"].get<int>());
  EXPECT_EQ(CqHere({"pool", "stop", "p", "--now"}).status, 0);
  EXPECT_TRUE(Eventually([pid] { return !Lives(pid); }));
}

TEST_F(PoolTest, TasksHaveTheRunsEnvironmentAndNotThePools) {
  auto environment = Environment();
  environment["OF_THE_POOL"] = "pool";
  environment["OF_BOTH"] = "pool";
  pool_ = std::make_unique<TestProcess>(
      Words{CQ_PROGRAM, "pool", "start", "p", "--foreground", "-w", "1"}, directory_.path(),
      environment);
  ASSERT_TRUE(Eventually([&] { return pool_->Err().find("is ready") != std::string::npos; }));
  WriteFile(File("a.csv"), "a\n1\n");
  environment = Environment();
  environment["OF_THE_RUN"] = "run's \n own";
  environment["OF_BOTH"] = "run";
  const Ended ended =
      Cq({"run", "a.csv", "--on", "p", "--env", "GIVEN=x", "--", "sh", "-c",
          "echo ${OF_THE_POOL-none}/$OF_BOTH/$OF_THE_RUN/$GIVEN/${CQ_SEED:+seed}/$CQ_TASK"},
         directory_.path(), environment);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column(File("a.cq/results.csv"), "cq_stdout")[0], "none/run/run's own/x/seed/1");
  // It is in no file of the run.
  EXPECT_EQ(Slurp(File("a.cq/journal.db")).find("run's \n own"), std::string::npos);
}

TEST_F(PoolTest, WhatCannotBeIsToldBeforeAnythingStarts) {
  WriteFile(File("a.csv"), "a\n1\n");
  const auto refused = [&](const Words& words, const std::string& why) {
    const Ended ended = CqHere(words);
    EXPECT_EQ(ended.status, 2) << words[1];
    EXPECT_NE(ended.err.find(why), std::string::npos) << ended.err;
  };
  refused({"run", "a.csv", "--on", "p", "--", "true"}, "there is no pool 'p'");
  refused({"run", "a.csv", "--on", "../p", "--", "true"}, "is no name for a pool");
  refused({"run", "a.csv", "--priority", "2", "--", "true"}, "--on NAME");
  refused({"pool", "start", "p", "-s", "slurm"}, "needs --workers");
  refused({"pool", "start", "p", "--now"}, "--now is not for 'cq pool start'");
  refused({"pool", "start"}, "cq pool start NAME");
  refused({"pool", "begin", "p"}, "cq pool start NAME");
  refused({"pool", "stop", "p"}, "there is no pool 'p'");
  StartPool({"-w", "1"});
  refused({"run", "a.csv", "--on", "pp", "--", "true"}, "did you mean 'p'");
  refused({"run", "a.csv", "--on", "p", "-s", "local", "--", "true"}, "choose one");
  refused({"run", "a.csv", "--on", "p", "--slots", "2", "--", "true"}, "single slots");
  refused({"run", "a.csv", "--on", "p", "--task-cpus", "2", "--", "true"}, "a run's own workers");
  refused({"run", "a.csv", "--on", "p", "--pool", "q:cpus=2", "--", "true"}, "choose one");
  refused({"run", "a.csv", "--on", "p", "--worker-init", "true", "--", "true"}, "--worker-init");
  EXPECT_FALSE(std::filesystem::exists(File("a.cq")));
}

}  // namespace
}  // namespace cq
