// What Slurm says, and what is made of it; by programs that answer as its own do, since nobody can
// make a real one refuse, hold or forget on demand.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "base/files.h"
#include "schedulers/registry.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

class SlurmSchedulerTest : public ::testing::Test {
 protected:
  SlurmSchedulerTest() : path_(getenv("PATH")) {
    std::filesystem::create_directory(directory_.File("bin"));
    setenv("PATH", (directory_.File("bin") + ":" + path_).c_str(), 1);
    Answers("sbatch", "cat > script; echo 7");
    Answers("squeue", "cat queue 2>/dev/null || true");
    Answers("scancel", "echo \"$@\" >> cancelled");
    Answers("scontrol", "echo \"$@\" >> asked; cat shown 2>/dev/null");
    WorkerLaunch launch;
    launch.program = {"cq"};
    launch.connection_file = directory_.File("connect.json");
    launch.run_dir = directory_.path();
    launch.log_dir = directory_.path();
    scheduler_ = MakeScheduler("slurm", launch);
  }
  ~SlurmSchedulerTest() override {
    scheduler_->LetGo();
    setenv("PATH", path_.c_str(), 1);
  }

  void Answers(const std::string& program, const std::string& body) {
    ReplaceFile(directory_.File("bin/" + program),
                "#!/bin/sh\ncd '" + directory_.path() + "'\n" + body + "\n", 0700);
  }
  void Queue(const std::string& lines) { ReplaceFile(directory_.File("queue"), lines, 0600); }
  std::string Text(const std::string& name) { return ReadStream(directory_.File(name)); }
  WorkerJob Only() {
    const auto jobs = scheduler_->Poll();
    EXPECT_EQ(jobs.size(), 1u);
    return jobs.empty() ? WorkerJob{} : jobs[0];
  }

  const std::string path_;
  TemporaryDirectory directory_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SlurmSchedulerTest, WhatIsRefusedForNowIsKnownFromWhatIsRefusedForGood) {
  const auto refuse = [&](const std::string& said) {
    Answers("sbatch", "cat > script; echo 'sbatch: error: " + said + "' >&2; exit 1");
  };
  for (const char* said :
       {"QOSMaxSubmitJobPerUserLimit", "AssocMaxSubmitJobLimit", "AssocGrpSubmitJobsLimit",
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "Batch job submission failed: Resource temporarily unavailable"}) {
    refuse(said);
    try {
      scheduler_->Submit(2, "token");
      ADD_FAILURE() << said;
    } catch (const TemporaryRefusal& refusal) {
      EXPECT_NE(std::string(refusal.what()).find(said), std::string::npos);
    }
  }
  for (const char* said : {"invalid partition specified: nope",
                           "Batch job submission failed: Invalid account or account/partition "
                           "combination specified",
                           "Batch job submission failed: Requested node configuration is not "
                           "available"}) {
    refuse(said);
    try {
      scheduler_->Submit(2, "token");
      ADD_FAILURE() << said;
    } catch (const TemporaryRefusal&) {
      ADD_FAILURE() << said;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(said), std::string::npos);
    }
  }
  // The controller may have it.
  refuse("Batch job submission failed: Socket timed out on send/recv operation");
  EXPECT_THROW(scheduler_->Submit(2, "token"), UncertainSubmission);
}

TEST_F(SlurmSchedulerTest, HowAJobEndedIsKnownFromItsState) {
  struct Case {
    const char* state;
    JobEnding ending;
  };
  for (const Case& c :
       {Case{"TIMEOUT", JobEnding::kTimeLimit}, Case{"PREEMPTED", JobEnding::kPreempted},
        Case{"NODE_FAIL", JobEnding::kNode}, Case{"CANCELLED", JobEnding::kCancelled},
        Case{"OUT_OF_MEMORY", JobEnding::kMemory}, Case{"COMPLETED", JobEnding::kLeft},
        Case{"FAILED", JobEnding::kItself}}) {
    scheduler_->Submit(1, "token");
    Queue(std::string("7_1|") + c.state + "|None\n");
    const WorkerJob job = Only();
    EXPECT_EQ(job.state, WorkerJob::State::kEnded) << c.state;
    EXPECT_EQ(job.ending, c.ending) << c.state;
    // It is told once, and not asked for again.
    EXPECT_TRUE(scheduler_->Poll().empty());
  }
}

TEST_F(SlurmSchedulerTest, HowLongAJobMayStillRunIsKnown) {
  using std::chrono::seconds;
  scheduler_->Submit(1, "token");
  const std::map<std::string, std::optional<seconds>> cases = {
      {"4:05", seconds(245)},      {"3:04:05", seconds(11'045)}, {"2-03:04:05", seconds(183'845)},
      {"UNLIMITED", std::nullopt}, {"INVALID", std::nullopt},    {"NOT_SET", std::nullopt},
      {"0:00", seconds(0)}};
  for (const auto& [text, left] : cases) {
    Queue("7_1|RUNNING|None|" + text + "|1-00:00:00\n");
    const auto time = Only().time;
    EXPECT_EQ(time.has_value(), left.has_value()) << text;
    if (!time) continue;
    EXPECT_EQ(time->left, left) << text;
    EXPECT_EQ(time->all, seconds(86'400));
  }
  // Of one that waits it is the limit that it asks for.
  Queue("7_1|PENDING|Resources|1:00:00|1:00:00\n");
  EXPECT_EQ(Only().time, std::nullopt);
  EXPECT_EQ(Only().reason, "Resources");
}

// Without cgroups Slurm says so in the job's output alone.
TEST_F(SlurmSchedulerTest, AJobThatWasKilledForItsMemoryIsKnownFromItsLog) {
  scheduler_->Submit(1, "token");
  ReplaceFile(directory_.File("slurm-7_1.log"),
              "slurmstepd-n1: error: StepId=7.batch exceeded memory limit (932618240 > 209715200), "
              "being killed\n",
              0600);
  Queue("7_1|FAILED|JobLaunchFailure\n");
  EXPECT_EQ(Only().ending, JobEnding::kMemory);
}

TEST_F(SlurmSchedulerTest, WhatCanNeverStartIsKnownFromItsReason) {
  scheduler_->Submit(1, "token");
  for (const char* reason : {"PartitionTimeLimit", "BadConstraints", "QOSMaxCpuPerJobLimit",
                             "AssocMaxWallDurationPerJobLimit", "launch failed requeued held"}) {
    Queue(std::string("7_1|PENDING|") + reason + "\n");
    EXPECT_EQ(Only().state, WorkerJob::State::kHopeless) << reason;
  }
  for (const char* reason : {"Priority", "Resources", "None", "QOSMaxJobsPerUserLimit"}) {
    Queue(std::string("7_1|PENDING|") + reason + "\n");
    EXPECT_EQ(Only().state, WorkerJob::State::kPending) << reason;
  }
}

TEST_F(SlurmSchedulerTest, WhatIsTakenBackIsCancelledOnlyWhileItIsPending) {
  scheduler_->Submit(3, "token");
  scheduler_->Withdraw({"slurm 7_2", "slurm 7_3", "slurm 8_1"});
  EXPECT_EQ(Text("cancelled"), "--quiet --state=PENDING 7_2 7_3\n");
  scheduler_->End("slurm 7_1");
  EXPECT_EQ(Text("cancelled"), "--quiet --state=PENDING 7_2 7_3\n--quiet 7_1\n");
}

// Of an array of which others run.
TEST_F(SlurmSchedulerTest, AnElementThatWasCancelledWhileItWaitedHasEnded) {
  scheduler_->Submit(2, "token");
  Queue("7_1|RUNNING|None\n7_2|PENDING|Resources\n");
  EXPECT_EQ(scheduler_->Poll().size(), 2u);
  Queue("7_1|RUNNING|None\n");
  Answers("scontrol",
          "case $4 in 7) echo 'JobId=8 JobState=RUNNING';;"
          " *) echo \"Job $4 not found\"; exit 1;; esac");
  scheduler_->Poll();
  const auto jobs = scheduler_->Poll();
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].state, WorkerJob::State::kRunning);
  EXPECT_EQ(jobs[1].state, WorkerJob::State::kEnded);
}

TEST_F(SlurmSchedulerTest, AnyOfItsControllersMayBeAtLoopback) {
  ReplaceFile(directory_.File("shown"),
              "SlurmctldHost[0]        = head(10.0.0.1)\nSlurmctldHost[1]        = n1(127.0.0.1)\n",
              0600);
  EXPECT_TRUE(scheduler_->ControllerAtLoopback());
}

TEST_F(SlurmSchedulerTest, WhatEndedUnderAnEarlierMasterIsKnownFromWhatEndsNow) {
  LeftSubmission left;
  left.token = "token";
  left.job = "7";
  left.workers = 2;
  EXPECT_EQ(scheduler_->Adopt(left), Scheduler::Adopted::kYes);
  Queue("7_1|TIMEOUT|None\n7_2|RUNNING|None\n");
  const auto jobs = scheduler_->Poll();
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].state, WorkerJob::State::kOver);
  EXPECT_EQ(jobs[1].state, WorkerJob::State::kRunning);
  EXPECT_TRUE(scheduler_->TakeEnded().empty());
  Queue("7_2|COMPLETED|None\n");
  EXPECT_EQ(Only().state, WorkerJob::State::kEnded);
  EXPECT_EQ(scheduler_->TakeEnded(), std::vector<std::string>{"token"});
  EXPECT_TRUE(scheduler_->TakeEnded().empty());
}

// An array has so many elements at most.
TEST_F(SlurmSchedulerTest, HowManyAnArrayMayHaveIsAsked) {
  ReplaceFile(directory_.File("shown"), "ClusterName = x\nMaxArraySize            = 51\n", 0600);
  EXPECT_EQ(scheduler_->AtOnce(), 50u);
  ReplaceFile(directory_.File("shown"), "ClusterName = x\n", 0600);
  EXPECT_EQ(scheduler_->AtOnce(), 50u);
  EXPECT_EQ(Text("asked"), "show config\n");
}

}  // namespace
}  // namespace cq
