// What is left when a master, a worker or a guardian is killed: no process, and the run goes on.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <thread>

#include "tests/support/process.h"

namespace cq {
namespace {

using std::chrono::seconds;
using Words = std::vector<std::string>;

// A run whose tasks leave a daemonised grandchild behind and block until a file exists.
class KillTest : public ::testing::Test {
 protected:
  KillTest() {
    WriteFile(directory_.File("in.csv"), "a,b\n1,2\n3,4\n5,6\n");
    WriteProgram(directory_.File("task"),
                 "#!/bin/sh\n"
                 "setsid sh -c 'exec sleep 3600' </dev/null >/dev/null 2>&1 &\n"
                 "echo started >> started\n"
                 "while [ ! -e go ]; do sleep 0.02; done\n"
                 "echo done $1\n");
    master_ = std::make_unique<TestProcess>(
        Words{CQ_PROGRAM, "run", "in.csv", "-w", "2", "--lease", "3s", "--", "./task", "{a}"},
        directory_.path(), std::map<std::string, std::string>{{"KILL_TEST", directory_.path()}});
    EXPECT_TRUE(Eventually([&] { return Grandchildren().size() >= 2; })) << master_->Err();
  }
  ~KillTest() override {
    for (const pid_t pid : ProcessesWith("KILL_TEST=" + directory_.path())) kill(pid, SIGKILL);
  }

  std::vector<pid_t> Mine() { return ProcessesWith("KILL_TEST=" + directory_.path()); }
  std::vector<pid_t> Grandchildren() { return DescendantsWith(master_->pid(), "sleep 3600"); }
  std::vector<pid_t> Guardians() {
    std::vector<pid_t> guardians;
    for (const pid_t pid : DescendantsWith(master_->pid(), " worker ")) {
      if (!DescendantsWith(pid, "--life-fd").empty()) guardians.push_back(pid);
    }
    return guardians;
  }
  std::vector<pid_t> Workers() { return DescendantsWith(master_->pid(), "--life-fd"); }

  // All of these are gone within a second.
  static void ExpectGone(const std::vector<pid_t>& pids) {
    const auto gone = [&] {
      return std::none_of(pids.begin(), pids.end(), [](pid_t pid) { return Lives(pid); });
    };
    EXPECT_TRUE(Eventually(gone, kASecond));
  }
  std::vector<pid_t> FamilyOf(pid_t pid) {
    auto family = DescendantsWith(pid, "");
    family.push_back(pid);
    return family;
  }
  void ExpectTheRunToGoOn() {
    WriteFile(directory_.File("go"), "");
    const Ended ended = master_->Wait();
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(Column(directory_.File("in.cq/results.csv"), "cq_stdout"),
              (Words{"done 1", "done 3", "done 5"}));
    EXPECT_TRUE(Eventually([&] { return Mine().empty(); }, kASecond));
  }

  TemporaryDirectory directory_;
  std::unique_ptr<TestProcess> master_;
};

TEST_F(KillTest, OfTheMasterLeavesNoProcess) {
  const auto family = FamilyOf(master_->pid());
  ASSERT_GE(family.size(), 1u + 2 + 2 + 2 + 2);
  master_->Signal(SIGKILL);
  EXPECT_EQ(master_->Wait().status, 128 + SIGKILL);
  ExpectGone(family);
  EXPECT_TRUE(Eventually([&] { return Mine().empty(); }, kASecond));
}

TEST_F(KillTest, OfAWorkerLeavesNoneOfItsProcessesAndTheRunGoesOn) {
  const auto guardians = Guardians();
  ASSERT_EQ(guardians.size(), 2u);
  const auto family = FamilyOf(guardians[0]);
  const auto worker = DescendantsWith(guardians[0], "--life-fd");
  ASSERT_EQ(worker.size(), 1u);
  kill(worker[0], SIGKILL);
  ExpectGone(family);
  EXPECT_TRUE(Eventually([&] { return Grandchildren().size() >= 2; })) << master_->Err();
  ExpectTheRunToGoOn();
}

TEST_F(KillTest, OfAGuardianLeavesNoneOfItsProcessesAndTheRunGoesOn) {
  const auto guardians = Guardians();
  ASSERT_EQ(guardians.size(), 2u);
  const auto family = FamilyOf(guardians[0]);
  kill(guardians[0], SIGKILL);
  ExpectGone(family);
  EXPECT_TRUE(Eventually([&] { return Grandchildren().size() >= 2; })) << master_->Err();
  ExpectTheRunToGoOn();
}

TEST_F(KillTest, TheFirstInterruptFinishesWhatRuns) {
  master_->Signal(SIGINT);
  EXPECT_TRUE(Eventually([&] {
    return master_->Err().find("2 running tasks") != std::string::npos;
  })) << master_->Err();
  WriteFile(directory_.File("go"), "");
  const Ended ended = master_->Wait();
  EXPECT_EQ(ended.status, 130) << ended.err;
  auto statuses = Column(directory_.File("in.cq/results.csv"), "cq_status");
  std::sort(statuses.begin(), statuses.end());
  EXPECT_EQ(statuses, (Words{"ok", "ok", "pending"}));
  EXPECT_TRUE(Eventually([&] { return Mine().empty(); }, kASecond));
}

TEST_F(KillTest, TheSecondInterruptStopsNow) {
  master_->Signal(SIGINT);
  EXPECT_TRUE(Eventually([&] { return master_->Err().find("Ctrl-C") != std::string::npos; }));
  master_->Signal(SIGINT);
  EXPECT_EQ(master_->Wait().status, 130);
  EXPECT_EQ(Column(directory_.File("in.cq/results.csv"), "cq_status"),
            (Words{"pending", "pending", "pending"}));
  EXPECT_TRUE(Eventually([&] { return Mine().empty(); }, kASecond));
}

TEST_F(KillTest, TermStopsNow) {
  master_->Signal(SIGTERM);
  EXPECT_EQ(master_->Wait().status, 130);
  EXPECT_TRUE(Eventually([&] { return Mine().empty(); }, kASecond));
}

// Ctrl-Z for longer than the lease, and fg: the time in which the master did not run is nobody's
// silence.
TEST_F(KillTest, AMasterThatWasStoppedGoesOnAndChargesNobody) {
  master_->Signal(SIGSTOP);
  std::this_thread::sleep_for(
      seconds(5));  // it is the time itself that is tested; the lease is 3 s
  master_->Signal(SIGCONT);
  ExpectTheRunToGoOn();
  EXPECT_EQ(Cq({"query", "in.cq", "SELECT count(*) FROM failures"}, directory_.path()).out,
            "count(*)\n0\n");
}

TEST_F(KillTest, AWorkerToldToGoHandsItsTasksOn) {
  const auto guardians = Guardians();
  ASSERT_EQ(guardians.size(), 2u);
  kill(guardians[0], SIGTERM);
  EXPECT_TRUE(
      Eventually([&] { return master_->Err().find("leaves: SIGTERM") != std::string::npos; }));
  ExpectTheRunToGoOn();
}

TEST(NohupTest, AnIgnoredHangUpStaysIgnored) {
  TemporaryDirectory directory;
  WriteFile(directory.File("in.csv"), "a\n1\n");
  TestProcess run(
      {"sh", "-c",
       std::string("trap '' HUP; exec ") + CQ_PROGRAM +
           " run in.csv -- sh -c 'echo s > started; while [ ! -e go ]; do sleep 0.02; done'"},
      directory.path());
  ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(directory.File("started")); }));
  run.Signal(SIGHUP);
  // What would stop it is handled before a drain that comes later.
  EXPECT_EQ(Cq({"cancel", "in.cq", "--drain"}, directory.path()).status, 0);
  WriteFile(directory.File("go"), "");
  const Ended ended = run.Wait();
  EXPECT_EQ(ended.status, 130);
  EXPECT_EQ(Column(directory.File("in.cq/results.csv"), "cq_status"), Words{"ok"});
}

// It is dead before anybody could report that it runs.
TEST(CrashTest, ATaskThatKillsItsWorkerAtOnceIsSetAsideAndTheRestRuns) {
  TemporaryDirectory directory;
  WriteFile(directory.File("in.csv"), "a,b\n1,2\nkill,4\n5,6\n7,8\n");
  for (const char* workers : {"1", "2"}) {
    const Ended ended = Cq({"run", "in.csv", "--fresh", "-w", workers, "--", "sh", "-c",
                            "[ {a} = kill ] && kill -9 $PPID; echo {a}"},
                           directory.path());
    EXPECT_EQ(ended.status, 1) << ended.err;
    EXPECT_EQ(Column(directory.File("in.cq/results.csv"), "cq_status"),
              (Words{"ok", "crashed", "ok", "ok"}));
  }
}

// A task that kills its worker every time does not hold up the others, and is set aside.
TEST(CrashTest, ATaskThatKillsItsWorkerIsSetAsideAndTheRestRuns) {
  TemporaryDirectory directory;
  WriteFile(directory.File("in.csv"), "a,b\n1,2\nkill,4\n5,6\n7,8\n");
  const std::string task =
      "if [ {a} = kill ]; then sleep 0.2; kill -9 $PPID; sleep 60; else echo {a}; fi";
  const Ended ended = Cq({"run", "in.csv", "-w", "2", "--", "sh", "-c", task}, directory.path());
  EXPECT_EQ(ended.status, 1) << ended.err;
  const std::string results = directory.File("in.cq/results.csv");
  EXPECT_EQ(Column(results, "cq_status"), (Words{"ok", "crashed", "ok", "ok"}));
  EXPECT_EQ(Column(results, "cq_attempts")[1], "3");
}

// A task with side effects must not run twice at a time, whatever its silent worker does: here it
// is stopped, and its task runs on until the master ends the worker.
TEST(FenceTest, ATaskOfAStoppedWorkerStartsAgainOnlyAfterItsEnd) {
  TemporaryDirectory directory;
  WriteFile(directory.File("in.csv"), "a\n1\n2\n");
  WriteProgram(directory.File("task"),
               "#!/bin/sh\n"
               "exec 9>lock-$1\n"
               "flock -n 9 || echo $1 >> overlapped\n"
               "echo $1 >> begun\n"
               "while [ ! -e go ]; do sleep 0.02; done\n"
               "echo done $1\n");
  TestProcess master(
      {CQ_PROGRAM, "run", "in.csv", "-w", "2", "--lease", "3s", "--fence", "--", "./task", "{a}"},
      directory.path());
  const auto begun = [&] { return Slurp(directory.File("begun")).size() / 2; };
  ASSERT_TRUE(Eventually([&] { return begun() == 2; })) << master.Err();
  const auto workers = DescendantsWith(master.pid(), "--life-fd");
  ASSERT_EQ(workers.size(), 2u);
  kill(workers[0], SIGSTOP);
  EXPECT_TRUE(Eventually([&] { return begun() == 3; }, seconds(40))) << master.Err();
  EXPECT_FALSE(Lives(workers[0]));
  WriteFile(directory.File("go"), "");
  const Ended ended = master.Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column(directory.File("in.cq/results.csv"), "cq_status"), (Words{"ok", "ok"}));
  EXPECT_EQ(Slurp(directory.File("overlapped")), "");
}

}  // namespace
}  // namespace cq
