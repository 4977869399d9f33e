// Warm pools of a real Slurm's workers, which live on when a master does not.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/e2e/pool_fixture.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

class SlurmPoolTest : public PoolTest {
 protected:
  SlurmPoolTest() {
    StartPool({"-s", "slurm", "-w", "2", "--slots", "2"});
    EXPECT_TRUE(Eventually([&] { return Status()["slots"] == 4; })) << pool_->Err();
  }
  ~SlurmPoolTest() override {
    pool_.reset();
    Shell("scancel --user=$(id -un)");
    EXPECT_TRUE(Eventually([] { return Shell("squeue -h -r").empty(); }));
  }
  static std::string Shell(const std::string& command) {
    return TestProcess({"sh", "-c", command}, "/").Wait().out;
  }
  std::string Query(const std::string& run, const std::string& sql) {
    return CqHere({"query", run + ".cq", sql}).out;
  }
};

TEST_F(SlurmPoolTest, RunsGoOnWithoutThePoolsMasterAndAnotherTakesThePoolBack) {
  const auto a = Run("a", 400, {"sleep", "0.05"});
  const auto b = Run("b", 2, WaitFor("b"));
  ASSERT_TRUE(Has("a", 2));
  ASSERT_TRUE(Has("b", 2));
  pool_->Signal(SIGKILL);
  pool_->Wait();
  // Neither loses anything.
  const auto done = [&] {
    const Ended status = CqHere({"status", "a.cq", "--json"});
    return nlohmann::json::parse(status.out)["done"].get<int>();
  };
  const int before = done();
  ASSERT_TRUE(Eventually([&] { return done() > before + 20; }));
  StartPool({"-s", "slurm", "-w", "2", "--slots", "2"});
  ASSERT_TRUE(Has("a", 2)) << pool_->Err();
  ASSERT_TRUE(Has("b", 2));
  EXPECT_EQ(Shell("squeue -h -r | wc -l"), "2\n");
  WriteFile(File("b"), "");
  EXPECT_EQ(b->Wait().status, 0);
  ASSERT_TRUE(Has("a", 4));
  EXPECT_EQ(a->Wait().status, 0);
  EXPECT_EQ(Attempts("a"), std::vector<std::string>(400, "1"));
  EXPECT_EQ(Attempts("b"), std::vector<std::string>(2, "1"));
}

TEST_F(SlurmPoolTest, ItsJobsAreAsManyAsItIsToldWhileARunIsOnIt) {
  const auto a = Run("a", 8, WaitFor("a"));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  EXPECT_EQ(CqHere({"scale", "p", "-w", "1"}).status, 0);
  ASSERT_TRUE(Eventually([&] { return Status()["slots"] == 2; }));
  EXPECT_EQ(Started("a"), 4u) << "what runs is not taken away";
  WriteFile(File("a"), "");
  EXPECT_EQ(a->Wait().status, 0);
  EXPECT_EQ(Attempts("a"), std::vector<std::string>(8, "1"));
  EXPECT_TRUE(Eventually([] { return Shell("squeue -h -r | wc -l") == "1\n"; }));
  EXPECT_EQ(CqHere({"scale", "p", "-w", "3"}).status, 0);
  EXPECT_TRUE(Eventually([&] { return Status()["slots"] == 6; })) << pool_->Err();
  EXPECT_EQ(Shell("squeue -h -r | wc -l"), "3\n");
}

TEST_F(SlurmPoolTest, ANodeThatCrashesIsHeldAgainstNoTaskOfAnyRun) {
  // One worker a node.
  CqHere({"pool", "stop", "p", "--now"});
  pool_->Wait();
  StartPool({"-s", "slurm", "-w", "2", "--slots", "4", "--lease", "6s"});
  ASSERT_TRUE(Eventually([&] { return Status()["slots"] == 8; })) << pool_->Err();
  const auto a = Run("a", 4, WaitFor("a"), {"--lease", "6s"});
  const auto b = Run("b", 4, WaitFor("b"), {"--lease", "6s"});
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4 && Started("b") == 4; }));
  std::string node = Shell("squeue -h -r -o %N | head -1");
  node.pop_back();
  const std::string cluster = CQ_SOURCE_DIR "/tests/slurm/slurm-cluster ";
  Shell(cluster + "fail-node $(dirname $SLURM_CONF) " + node);
  for (const char* run : {"a", "b"}) {
    const std::string charged = "SELECT count(*) > 0 AS n FROM failures";
    EXPECT_TRUE(Eventually([&] { return Query(run, charged) == "n\n1\n"; })) << run;
    const std::string still = "SELECT count(*) AS n FROM failures WHERE kind > 0";
    EXPECT_TRUE(Eventually([&] { return Query(run, still) == "n\n0\n"; }, std::chrono::seconds(60)))
        << run << pool_->Err();
  }
  Shell(cluster + "start-node $(dirname $SLURM_CONF) " + node);
  EXPECT_TRUE(Eventually(
      [&] { return Shell("sinfo -h -n " + node + " -o %t").find("idle") != std::string::npos; },
      std::chrono::seconds(60)));
  WriteFile(File("a"), "");
  WriteFile(File("b"), "");
  EXPECT_EQ(a->Wait().status, 0) << a->Err();
  EXPECT_EQ(b->Wait().status, 0) << b->Err();
  ExpectAllOk("a", 4);
  ExpectAllOk("b", 4);
}

TEST_F(SlurmPoolTest, WhatRunsWhenARunsMasterDiesIsNotRunAgain) {
  const auto a = Run("a", 4, WaitFor("a"), {"--lease", "3s"});
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  a->Signal(SIGKILL);
  a->Wait();
  const auto resumed = std::make_unique<TestProcess>(Words{CQ_PROGRAM, "resume", "a.cq"},
                                                     directory_.path(), Environment());
  ASSERT_TRUE(Has("a", 4)) << resumed->Err();
  WriteFile(File("a"), "");
  const Ended ended = resumed->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Attempts("a"), std::vector<std::string>(4, "1")) << ended.err;
  EXPECT_EQ(Started("a"), 4u);
}

TEST_F(SlurmPoolTest, ARunWhoseMasterDiedGoesOnElsewhere) {
  const auto a = Run("a", 4, WaitFor("a"), {"--lease", "3s"});
  const auto b = Run("b", 1, WaitFor("b"), {"--lease", "3s"});
  ASSERT_TRUE(Eventually([&] { return Started("a") + Started("b") >= 4; }));
  a->Signal(SIGKILL);
  a->Wait();
  b->Signal(SIGKILL);
  b->Wait();
  WriteFile(File("a"), "");
  WriteFile(File("b"), "");
  // What it has on the pool is ended first.
  EXPECT_EQ(CqHere({"resume", "a.cq", "-s", "local", "-w", "2"}).status, 0);
  ExpectAllOk("a", 4);
  pool_->Signal(SIGKILL);
  pool_->Wait();
  EXPECT_EQ(CqHere({"cancel", "b.cq"}).status, 0);
  EXPECT_EQ(CqHere({"resume", "b.cq", "-s", "local"}).status, 0);
  ExpectAllOk("b", 1);
}

TEST_F(SlurmPoolTest, ItsWorkersStayWhenItsTerminalCloses) {
  const auto a = Run("a", 4, WaitFor("a"));
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  pool_->Signal(SIGHUP);
  EXPECT_EQ(pool_->Wait().status, 3);
  EXPECT_EQ(Shell("squeue -h -r | wc -l"), "2\n");
  StartPool({"-s", "slurm", "-w", "2", "--slots", "2"});
  ASSERT_TRUE(Has("a", 4));
  WriteFile(File("a"), "");
  EXPECT_EQ(a->Wait().status, 0);
  EXPECT_EQ(Started("a"), 4u);
}

TEST_F(SlurmPoolTest, WhatNoMasterTookIsInTheSpoolAndTheSlotsAreFreeAgain) {
  const auto a = Run("a", 4, WaitFor("a"), {"--lease", "3s", "--on-master-loss", "1s"});
  ASSERT_TRUE(Eventually([&] { return Started("a") == 4; }));
  a->Signal(SIGKILL);
  a->Wait();
  WriteFile(File("a"), "");
  ASSERT_TRUE(Eventually([&] { return Status()["lent"] == 0; }));
  EXPECT_FALSE(std::filesystem::is_empty(File("a.cq/spool")));
  EXPECT_EQ(CqHere({"resume", "a.cq"}).status, 0);
  EXPECT_EQ(Attempts("a"), std::vector<std::string>(4, "1"));
  EXPECT_EQ(Started("a"), 4u);
}

}  // namespace
}  // namespace cq
