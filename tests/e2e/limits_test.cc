// Tasks that hang, take too much, print too much, or cannot be started; and ends of a run from
// outside.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "tests/support/process.h"

namespace cq {
namespace {

using std::chrono::seconds;
using Words = std::vector<std::string>;

class LimitsTest : public ::testing::Test {
 protected:
  ~LimitsTest() override {
    for (const pid_t pid : Mine()) kill(pid, SIGKILL);
  }
  Ended Run(const std::string& csv, const Words& options, const Words& command) {
    WriteFile(directory_.File("in.csv"), csv);
    Words words = {"run", "in.csv", "--fresh"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return Cq(words, directory_.path(), {{"LIMITS_TEST", directory_.path()}});
  }
  std::vector<pid_t> Mine() { return ProcessesWith("LIMITS_TEST=" + directory_.path()); }
  Words Column(const std::string& name) {
    return cq::Column(directory_.File("in.cq/results.csv"), name);
  }

  TemporaryDirectory directory_;
};

TEST_F(LimitsTest, ATaskThatRunsTooLongIsEndedWithAllThatItStarted) {
  const Ended ended = Run("a,limit\n1,300ms\n2,\n", {"--slots", "2", "--task-timeout", "{limit}"},
                          {"sh", "-c", "[ {a} = 2 ] && exit; (setsid sleep 3600 &); sleep 3600"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"timeout", "ok"}));
  EXPECT_EQ(Column("cq_exit")[0], "SIGTERM");
  EXPECT_TRUE(Eventually([&] { return Mine().empty(); }, kASecond));
}

TEST_F(LimitsTest, WhatIgnoresTermIsKilledAfterItsGrace) {
  const Ended ended =
      Run("a,limit\n1,200ms\n2,\n", {"--slots", "2", "--task-timeout", "{limit}"},
          {"sh", "-c", "[ {a} = 2 ] && exit; trap '' TERM; while :; do sleep 1; done"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"timeout", "ok"}));
  EXPECT_EQ(Column("cq_exit")[0], "SIGKILL");
  const double took = std::stod(Column("cq_seconds")[0]);
  EXPECT_GT(took, 5.0);
  EXPECT_LT(took, 20.0);
}

// The last row of each half waits, so that what is open can be counted after few tasks and after
// many. CQ_LEAK_TASKS=100000 makes it large.
TEST_F(LimitsTest, ManyTasksLeaveNoDescriptorAndNoZombie) {
  const char* wanted = getenv("CQ_LEAK_TASKS");
  const int tasks = wanted != nullptr ? std::atoi(wanted) : 3000;
  std::string csv = "a\n";
  for (int i = 1; i <= tasks; ++i) {
    csv += i == 100 ? "first\n" : i == tasks ? "second\n" : "x\n";
  }
  WriteFile(directory_.File("in.csv"), csv);
  WriteProgram(
      directory_.File("task"),
      "#!/bin/sh\n[ $1 = x ] || { touch at.$1; while [ ! -e go.$1 ]; do sleep 0.02; done; }\n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--", "./task", "{a}"},
                     directory_.path(), {{"LIMITS_TEST", directory_.path()}});
  const auto open = [&] {
    std::map<pid_t, size_t> counts;
    // The guardian, and the worker.
    std::vector<pid_t> pids = DescendantsWith(master.pid(), "--master-fd");
    pids.push_back(master.pid());
    for (const pid_t pid : pids) {
      const std::filesystem::directory_iterator fds("/proc/" + std::to_string(pid) + "/fd");
      counts[pid] = static_cast<size_t>(std::distance(begin(fds), end(fds)));
    }
    return counts;
  };
  const auto reached = [&](const std::string& name) {
    return Eventually([&] { return std::filesystem::exists(directory_.File("at." + name)); },
                      std::chrono::minutes(10));
  };
  ASSERT_TRUE(reached("first")) << master.Err();
  const auto before = open();
  EXPECT_EQ(before.size(), 3u);
  WriteFile(directory_.File("go.first"), "");
  ASSERT_TRUE(reached("second")) << master.Err();
  const auto after = open();
  ASSERT_EQ(after.size(), before.size());
  for (const auto& [pid, count] : after) EXPECT_LE(count, before.at(pid) + 2) << pid;
  // The task's own shell reaps its sleeping child a moment after its end; what is left stays.
  EXPECT_TRUE(Eventually([&] { return ZombiesOf(master.pid()) == 0; }));
  WriteFile(directory_.File("go.second"), "");
  EXPECT_EQ(master.Wait().status, 0);
}

TEST_F(LimitsTest, ATimeLimitIsCheckedBeforeAnythingStarts) {
  const Ended ended = Run("a,limit\n1,1s\n2,soon\n", {"--task-timeout", "{limit}"}, {"true"});
  EXPECT_EQ(ended.status, 2);
  EXPECT_NE(ended.err.find("in.csv:3"), std::string::npos) << ended.err;
}

// perl is on every Debian; the string is touched as it is made.
TEST_F(LimitsTest, ATaskThatTakesTooMuchMemoryEndsAndTheRestRuns) {
  const Ended ended =
      Run("a\n1\n2\n3\n", {"--slots", "1", "--task-memory", "150M"},
          {"perl", "-e",
           "if ($ARGV[0] == 2) { $n = 400 << 20; $x = 'a' x $n; sleep 60 } print 'done'", "{a}"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "memory", "ok"}));
}

// Less than a program needs to start, and than the kernel may have kept of the task before.
TEST_F(LimitsTest, ALimitThatIsMetBeforeTheTaskRunsIsAMemoryLimit) {
  const Ended ended =
      Run("a\n1\n2\n3\n", {"--slots", "1", "--task-memory", "64K"}, {"sleep", "60"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(3, "memory")) << Column("cq_error")[1];
  EXPECT_EQ(Column("cq_error")[1], "ended at its memory limit of 0.0625 MiB (--task-memory)");
}

TEST_F(LimitsTest, MemoryIsThatOfAllProcessesOfATask) {
  const Ended ended = Run(
      "a\n1\n", {"--task-memory", "150M"},
      {"perl", "-e",
       "$n = 60 << 20; for (1..4) { if (!fork) { $x = 'a' x $n; sleep 60; exit } } wait for 1..4"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"memory"}));
  EXPECT_TRUE(Eventually([&] { return Mine().empty(); }, kASecond));
}

TEST_F(LimitsTest, ASegmentationFaultIsAnError) {
  Run("a\n1\n", {}, {"sh", "-c", "kill -SEGV $$"});
  EXPECT_EQ(Column("cq_status"), (Words{"error"}));
  EXPECT_EQ(Column("cq_exit"), (Words{"SIGSEGV"}));
}

TEST_F(LimitsTest, RetriesTryAgainAndCount) {
  const Ended ended =
      Run("a\n1\n2\n", {"--retries", "2", "--slots", "2"},
          {"sh", "-c", "[ {a} = 1 ] && [ $CQ_ATTEMPT -lt 2 ] && exit 1; [ {a} = 1 ]"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "error"}));
  EXPECT_EQ(Column("cq_attempts"), (Words{"2", "3"}));
}

// What fails on all workers counts.
TEST_F(LimitsTest, MaxFailuresEndsTheRunAndTheRestStaysPending) {
  std::string csv = "a\n";
  for (int i = 1; i <= 200; ++i) csv += std::to_string(i) + "\n";
  for (const char* workers : {"1", "3"}) {
    const Ended ended =
        Run(csv, {"-w", workers, "--max-failures", "6"}, {"sh", "-c", "sleep 0.05; exit 1"});
    EXPECT_EQ(ended.status, 1) << ended.err;
    EXPECT_NE(ended.err.find("tasks failed (--max-failures 6)"), std::string::npos) << ended.err;
    const auto statuses = Column("cq_status");
    const auto failed = std::count(statuses.begin(), statuses.end(), "error");
    EXPECT_GE(failed, 6);
    EXPECT_LT(failed, 40);
    EXPECT_EQ(std::count(statuses.begin(), statuses.end(), "pending"), 200 - failed);
  }
}

TEST_F(LimitsTest, AWorkerCheckThatFailsEndsTheRunWithItsReason) {
  const Ended ended = Run("a\n1\n", {"--worker-check", "echo no licence >&2; false"}, {"true"});
  EXPECT_EQ(ended.status, 3) << ended.err;
  EXPECT_NE(ended.err.find("no licence"), std::string::npos) << ended.err;
  EXPECT_EQ(Run("a\n1\n", {"--worker-check", "test -d ."}, {"true"}).status, 0);
}

// Output of a task over 10 s is there while it runs.
TEST_F(LimitsTest, ATaskThatRunsForLongShowsWhatItPrints) {
  WriteFile(directory_.File("in.csv"), "a\n1\n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--", "sh", "-c",
                      "echo early$((6*7)); while [ ! -e go ]; do sleep 0.1; done; echo late"},
                     directory_.path(), {{"LIMITS_TEST", directory_.path()}});
  EXPECT_TRUE(Eventually(
      [&] {
        return Cq({"log", "in.cq", "1"}, directory_.path()).out.find("early42") !=
               std::string::npos;
      },
      seconds(30)));
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(master.Wait().status, 0);
  const std::string log = Cq({"log", "in.cq", "1"}, directory_.path()).out;
  EXPECT_NE(log.find("early42\nlate"), std::string::npos) << log;
}

class CancelTest : public LimitsTest {
 protected:
  CancelTest() {
    WriteFile(directory_.File("in.csv"), "a\n1\n2\n3\n");
    master_ = std::make_unique<TestProcess>(
        Words{CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--", "sh", "-c",
              "echo s >> started; while [ ! -e go ]; do sleep 0.02; done"},
        directory_.path(), std::map<std::string, std::string>{{"LIMITS_TEST", directory_.path()}});
    EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(directory_.File("started")); }));
  }
  std::unique_ptr<TestProcess> master_;
};

TEST_F(CancelTest, EndsTheRunNowAndASecondTimeDoesNoHarm) {
  EXPECT_EQ(Cq({"cancel", "in.cq"}, directory_.path()).status, 0);
  const Ended ended = master_->Wait();
  EXPECT_EQ(ended.status, 130);
  EXPECT_NE(ended.err.find("cq resume"), std::string::npos) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"pending", "pending", "pending"}));
  EXPECT_TRUE(Eventually([&] { return Mine().empty(); }, kASecond));
  const Ended again = Cq({"cancel", "in.cq"}, directory_.path());
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_NE(again.out.find("nothing"), std::string::npos) << again.out;
}

TEST_F(CancelTest, WithDrainFinishesWhatRuns) {
  EXPECT_EQ(Cq({"cancel", "in.cq", "--drain"}, directory_.path()).status, 0);
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(master_->Wait().status, 130);
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "pending", "pending"}));
}

}  // namespace
}  // namespace cq
