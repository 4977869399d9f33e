// Runs on a real Slurm: the cluster that tests/slurm/slurm-cluster boots (CTest's fixture `slurm`),
// found through SLURM_CONF.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <sstream>

#include "tests/support/process.h"

namespace cq {
namespace {

using std::chrono::seconds;
using Words = std::vector<std::string>;

class SlurmTest : public ::testing::Test {
 protected:
  SlurmTest() {
    std::string csv = "a,b\n";
    for (int i = 1; i <= 40; ++i) csv += std::to_string(i) + ",x\n";
    WriteFile(directory_.File("in.csv"), csv);
    // A wrapper, as sites have them: it keeps count, and prints a banner around what the real one
    // says.
    std::filesystem::create_directory(directory_.File("bin"));
    WriteProgram(directory_.File("bin/sbatch"),
                 "#!/bin/sh\necho \"$@\" >> '" + directory_.File("sbatch.calls") +
                     "'\necho 'Welcome to the cluster'\n" + RealSbatch() +
                     " \"$@\" && echo 'Have a nice day'\n");
    environment_ = {
        {"PATH", directory_.File("bin") + ":" + CQ_BINARY_DIR + "/bin:" + getenv("PATH")}};
  }
  ~SlurmTest() override {
    // A failed test may leave jobs; the next one starts with an empty queue.
    Shell("scancel --user=$(id -un)");
    EXPECT_TRUE(QueueEmpties());
  }

  static std::string Shell(const std::string& command) {
    return TestProcess({"sh", "-c", command}, "/").Wait().out;
  }
  static std::string RealSbatch() {
    std::string path = Shell("command -v sbatch");
    while (!path.empty() && path.back() == '\n') path.pop_back();
    return path;
  }
  static std::string Queue() { return Shell("squeue -h -r -o '%i %T'"); }
  static bool QueueEmpties() {
    return Eventually([] { return Queue().empty(); }, seconds(20));
  }
  static Words JobsRunning() {
    std::istringstream lines(Shell("squeue -h -r -t RUNNING -o %i"));
    Words ids;
    for (std::string id; lines >> id;) ids.push_back(id);
    return ids;
  }

  Words Command(const Words& options, const Words& command) const {
    Words words = {CQ_PROGRAM, "run", "in.csv", "-s", "slurm"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return words;
  }
  std::unique_ptr<TestProcess> Start(const Words& options, const Words& command) {
    return std::make_unique<TestProcess>(Command(options, command), directory_.path(),
                                         environment_);
  }
  Ended Run(const Words& options, const Words& command) { return Start(options, command)->Wait(); }
  Words Column(const std::string& name) {
    return cq::Column(directory_.File("in.cq/results.csv"), name);
  }
  // Blocks until `go` exists, so that a test decides how long a run lasts.
  Words UntilGo() const {
    return {"sh", "-c", "echo s >> started; while [ ! -e go ]; do sleep 0.05; done; echo {a}"};
  }
  bool Started(size_t tasks) {
    return Eventually(
        [&] { return Shell("cat '" + directory_.File("started") + "'").size() >= 2 * tasks; });
  }

  TemporaryDirectory directory_;
  std::map<std::string, std::string> environment_;
};

TEST_F(SlurmTest, TheMainJobEqualsTheLocalRun) {
  const std::string example = CHANGEPOINT_DIR;
  const auto run = [&](const Words& where, const std::string& name) {
    Words words = {CQ_PROGRAM,  "run",        example + "/penalties.csv",
                   "--run-dir", name + ".cq", "--parse",
                   "json",      "-o",         name + ".csv",
                   "--cwd",     example};
    words.insert(words.end(), where.begin(), where.end());
    words.insert(words.end(), {"--", "changepoint", "--penalty", "{penalty}", "Mono27ac.bedGraph"});
    return TestProcess(words, directory_.path(), environment_).Wait();
  };
  const Ended local = run({}, "local");
  ASSERT_EQ(local.status, 0) << local.err;
  const Ended slurm = run({"-s", "slurm", "-w", "4"}, "slurm");
  ASSERT_EQ(slurm.status, 0) << slurm.err;
  EXPECT_TRUE(Queue().empty());

  const auto local_rows = ReadCsv(directory_.File("local.csv"));
  const auto slurm_rows = ReadCsv(directory_.File("slurm.csv"));
  ASSERT_EQ(local_rows.size(), 201u);
  ASSERT_EQ(slurm_rows.size(), 201u);
  for (size_t i = 0; i < 201; ++i) {
    for (const size_t column : {0, 1, 2, 3, 4})
      EXPECT_EQ(local_rows[i][column], slurm_rows[i][column]);
  }
  EXPECT_EQ(Words(slurm_rows[0].begin(), slurm_rows[0].begin() + 3),
            (Words{"penalty", "segments", "loss"}));
  size_t previous = SIZE_MAX;
  for (size_t i = 1; i < 201; ++i) {
    const size_t segments = std::stoul(slurm_rows[i][1]);
    EXPECT_LE(segments, previous);
    previous = segments;
  }
  const Words workers = cq::Column(directory_.File("slurm.csv"), "cq_worker");
  EXPECT_EQ(std::set<std::string>(workers.begin(), workers.end()).size(), 4u);
}

TEST_F(SlurmTest, OneSubmissionStartsAllWorkersAndTasksSeeTheirArrayIndex) {
  const Ended ended = Run({"-w", "4"}, {"sh", "-c", "echo $SLURM_ARRAY_TASK_ID; sleep 0.1"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  const Words indices = Column("cq_stdout");
  EXPECT_EQ(std::set<std::string>(indices.begin(), indices.end()),
            (std::set<std::string>{"1", "2", "3", "4"}));
  const std::string calls = Shell("cat '" + directory_.File("sbatch.calls") + "'");
  EXPECT_EQ(std::count(calls.begin(), calls.end(), '\n'), 1) << calls;
  EXPECT_NE(calls.find("--parsable"), std::string::npos);
  EXPECT_NE(calls.find("--comment=cq-"), std::string::npos);
  EXPECT_TRUE(Queue().empty());
}

TEST_F(SlurmTest, TasksMayUseSrun) {
  const Ended ended = Run({"-w", "1", "--limit", "1"}, {"srun", "-n1", "echo", "step {a}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_stdout")[0], "step 1");
}

TEST_F(SlurmTest, ABadPartitionEndsTheRunWithSlurmsWords) {
  const Ended ended = Run({"-w", "2", "--set", "partition=nope"}, {"true"});
  EXPECT_EQ(ended.status, 3);
  EXPECT_NE(ended.err.find("invalid partition"), std::string::npos) << ended.err;
  EXPECT_TRUE(Queue().empty());
}

TEST_F(SlurmTest, AWorkerThatDiesBeforeConnectingIsToldWithItsLog) {
  WriteFile(directory_.File("wrong.tmpl"),
            "#!/bin/sh\n#SBATCH --array=1-{{ workers }}\n#SBATCH --output={{ log_file }}\n"
            "exec /no/such/cq worker --connect {{ connect }}\n");
  const auto begin = std::chrono::steady_clock::now();
  const Ended ended = Run({"-w", "2", "--template", "wrong.tmpl"}, {"true"});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(15));
  EXPECT_EQ(ended.status, 3);
  EXPECT_NE(ended.err.find("before it connected"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("/no/such/cq"), std::string::npos) << ended.err;
}

TEST_F(SlurmTest, AnUnwritableLogFolderIsTold) {
  WriteFile(directory_.File("nolog.tmpl"),
            "#!/bin/sh\n#SBATCH --array=1-{{ workers }}\n#SBATCH --output=/no/such/folder/log\n"
            "exec {{ cq }} worker --connect {{ connect }}\n");
  const Ended ended = Run({"-w", "1", "--template", "nolog.tmpl"}, {"true"});
  EXPECT_EQ(ended.status, 3);
  EXPECT_NE(ended.err.find("before it connected"), std::string::npos) << ended.err;
}

TEST_F(SlurmTest, AnUnfilledKeyIsToldBeforeAnythingStarts) {
  WriteFile(directory_.File("bad.tmpl"), "#!/bin/sh\n#SBATCH --mem={{ memory }}\n");
  const Ended ended = Run({"-w", "1", "--template", "bad.tmpl"}, {"true"});
  EXPECT_EQ(ended.status, 2);
  EXPECT_NE(ended.err.find("bad.tmpl:2: key 'memory' has no value"), std::string::npos)
      << ended.err;
  EXPECT_FALSE(std::filesystem::exists(directory_.File("sbatch.calls")));
}

TEST_F(SlurmTest, ACancelledWorkersTasksRunElsewhereAndNoneIsAnError) {
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Started(2)) << run->Err();
  const Words jobs = JobsRunning();
  ASSERT_EQ(jobs.size(), 2u);
  Shell("scancel " + jobs[0]);
  EXPECT_TRUE(Eventually([&] { return run->Err().find("leaves: SIGTERM") != std::string::npos; }))
      << run->Err();
  WriteFile(directory_.File("go"), "");
  const Ended ended = run->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(40, "ok"));
  EXPECT_EQ(Column("cq_attempts"), Words(40, "1"));
  EXPECT_TRUE(Queue().empty());
}

TEST_F(SlurmTest, OfTwoWorkersOneThatSomebodyCancelsIsReplaced) {
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Started(2)) << run->Err();
  Shell("scancel " + JobsRunning()[0]);
  EXPECT_TRUE(
      Eventually([&] { return run->Err().find("worker 3 on") != std::string::npos; }, seconds(30)))
      << run->Err();
  WriteFile(directory_.File("go"), "");
  const Ended ended = run->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(40, "ok"));
}

TEST_F(SlurmTest, WithinBoundsWorkersComeForTheWorkAndLeaveWithoutIt) {
  auto run = Start({"-w", "0:3", "--idle-timeout", "1s"},
                   {"sh", "-c", "[ {a} != 40 ] || while [ ! -e go ]; do sleep 0.05; done"});
  const auto left = [&] {
    const std::string text = run->Err();
    size_t count = 0;
    for (size_t at = 0; (at = text.find("it had nothing to do for 1 s", at)) != text.npos; ++at) {
      ++count;
    }
    return count;
  };
  EXPECT_TRUE(Eventually([&] { return left() == 2; }, seconds(30))) << run->Err();
  EXPECT_TRUE(Eventually([] { return JobsRunning().size() == 1; }, seconds(30)));
  WriteFile(directory_.File("go"), "");
  const Ended ended = run->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(40, "ok"));
  EXPECT_EQ(Shell("wc -l < '" + directory_.File("sbatch.calls") + "'"), "1\n");
  EXPECT_TRUE(QueueEmpties());
}

// The cluster has room for fewer workers than are asked for.
TEST_F(SlurmTest, OfFewerWorkersThanThereAreThoseThatWaitGoFirst) {
  auto run = Start({"-w", "60"}, UntilGo());
  const auto cq = [&](Words words) {
    words.insert(words.begin(), CQ_PROGRAM);
    return TestProcess(words, directory_.path(), environment_).Wait();
  };
  const auto status = [&] { return cq({"status", "in.cq"}).out; };
  ASSERT_TRUE(Eventually(
      [&] { return status().find("Resources") != std::string::npos && JobsRunning().size() > 2; },
      seconds(30)))
      << status() << run->Err();
  const size_t running = JobsRunning().size();
  ASSERT_TRUE(Started(running));
  ASSERT_EQ(cq({"scale", "in.cq", "-w", "2"}).status, 0);
  EXPECT_TRUE(Eventually([] { return Shell("squeue -h -r -t PENDING").empty(); }, seconds(30)));
  EXPECT_EQ(JobsRunning().size(), running) << "all of them have a row that they finish";
  WriteFile(directory_.File("go"), "");
  const Ended ended = run->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_attempts"), Words(40, "1"));
  EXPECT_TRUE(QueueEmpties());
}

TEST_F(SlurmTest, ARunWithoutAnyWorkerLeftEndsWithAnError) {
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Started(2)) << run->Err();
  Shell("scancel --user=$(id -un)");
  const Ended ended = run->Wait();
  EXPECT_EQ(ended.status, 3) << ended.err;
  EXPECT_NE(ended.err.find("no worker is left"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("CANCELLED"), std::string::npos) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(40, "pending"));
}

// sbatch has read its script and waits for `submit`; who runs it is killed meanwhile.
class LateSubmissionTest : public SlurmTest {
 protected:
  LateSubmissionTest() {
    WriteProgram(directory_.File("bin/sbatch"),
                 "#!/bin/sh\ncat > script\necho \"$@\" >> '" + directory_.File("sbatch.calls") +
                     "'\nwhile [ ! -e submit ]; do sleep 0.05; done\nexec " + RealSbatch() +
                     " \"$@\" < script\n");
  }
  void KillMasterInSubmission() {
    auto run = Start({"-w", "2"}, UntilGo());
    ASSERT_TRUE(Eventually([&] { return !Slurp(directory_.File("sbatch.calls")).empty(); }));
    run->Signal(SIGKILL);
    run->Wait();
  }
  void SilenceSqueue() {
    std::string squeue = Shell("command -v squeue");
    squeue.pop_back();
    WriteProgram(directory_.File("bin/squeue"),
                 "#!/bin/sh\n[ -e answer ] || { echo asked >> asked; echo 'cannot connect' >&2; "
                 "exit 1; }\nexec " +
                     squeue + " \"$@\"\n");
  }
  void ResumeOnceItAnswers() {
    TestProcess resumed({CQ_PROGRAM, "resume", "in.cq"}, directory_.path(), environment_);
    EXPECT_TRUE(Eventually([&] {
      return resumed.Err().find("the scheduler does not answer") != std::string::npos;
    })) << resumed.Err();
    WriteFile(directory_.File("answer"), "");
    ExpectItToEndWithOneSubmission(resumed);
  }
  void ExpectItToEndWithOneSubmission(TestProcess& resumed) {
    WriteFile(directory_.File("go"), "");
    const Ended ended = resumed.Wait();
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(Submissions(), 1u);
    EXPECT_EQ(Column("cq_status"), Words(40, "ok"));
    EXPECT_TRUE(Queue().empty());
  }
  void ExpectCancelToWaitForIt() {
    TestProcess cancel({CQ_PROGRAM, "cancel", "in.cq"}, directory_.path(), environment_);
    WriteFile(directory_.File("submit"), "");
    const Ended ended = cancel.Wait();
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_NE(ended.out.find("cancelled slurm"), std::string::npos) << ended.out;
    EXPECT_TRUE(QueueEmpties());
  }
  size_t Submissions() const {
    const std::string calls = Slurp(directory_.File("sbatch.calls"));
    return static_cast<size_t>(std::count(calls.begin(), calls.end(), '\n'));
  }
};

TEST_F(LateSubmissionTest, AResumeTakesItAndMakesNoOther) {
  KillMasterInSubmission();
  TestProcess resumed({CQ_PROGRAM, "resume", "in.cq"}, directory_.path(), environment_);
  EXPECT_TRUE(Eventually([&] {
    return resumed.Err().find("may still come: waiting for it") != std::string::npos;
  })) << resumed.Err();
  WriteFile(directory_.File("submit"), "");
  ExpectItToEndWithOneSubmission(resumed);
}

TEST_F(LateSubmissionTest, CancelWaitsForItAndEndsIt) {
  KillMasterInSubmission();
  ExpectCancelToWaitForIt();
}

TEST_F(LateSubmissionTest, AResumeWhoseSchedulerDoesNotAnswerMakesNoOther) {
  WriteFile(directory_.File("submit"), "");
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Started(2)) << run->Err();
  run->Signal(SIGKILL);
  run->Wait();
  SilenceSqueue();
  ResumeOnceItAnswers();
}

TEST_F(LateSubmissionTest, AResumeAsksAnUnansweringSchedulerForItUntilItAnswers) {
  KillMasterInSubmission();
  SilenceSqueue();
  WriteFile(directory_.File("submit"), "");
  ResumeOnceItAnswers();
}

// It would have a minute if nobody waited.
TEST_F(LateSubmissionTest, AStopDoesNotWaitForIt) {
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Eventually([&] { return !Slurp(directory_.File("sbatch.calls")).empty(); }));
  const auto begin = std::chrono::steady_clock::now();
  run->Signal(SIGTERM);
  EXPECT_EQ(run->Wait().status, 130);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(40));
  EXPECT_TRUE(Queue().empty());
}

// The workers of a run whose terminal was closed stay, and so does the order for them.
TEST_F(LateSubmissionTest, AHangUpLeavesItItsTime) {
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Eventually([&] { return !Slurp(directory_.File("sbatch.calls")).empty(); }));
  run->Signal(SIGHUP);
  // At any other end it would be cut short by now.
  const auto submits = [&] { return !DescendantsWith(run->pid(), "sbatch").empty(); };
  EXPECT_FALSE(Eventually([&] { return !submits(); }, seconds(7)));
  WriteFile(directory_.File("submit"), "");
  EXPECT_EQ(run->Wait().status, 130);
  TestProcess resumed({CQ_PROGRAM, "resume", "in.cq"}, directory_.path(), environment_);
  ExpectItToEndWithOneSubmission(resumed);
}

// It fails, and its job comes all the same.
TEST_F(LateSubmissionTest, WhatComesAfterAnUncertainAnswerIsStillFound) {
  WriteProgram(directory_.File("bin/sbatch"),
               "#!/bin/sh\ncat > script\n(while [ ! -e submit ]; do sleep 0.05; done; exec " +
                   RealSbatch() +
                   " \"$@\" < script) > /dev/null 2>&1 &\n"
                   "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1\n");
  const Ended failed = Run({"-w", "2"}, UntilGo());
  EXPECT_EQ(failed.status, 3);
  EXPECT_NE(failed.err.find("Socket timed out"), std::string::npos) << failed.err;
  EXPECT_NE(failed.err.find("'cq cancel'"), std::string::npos) << failed.err;
  ExpectCancelToWaitForIt();
}

TEST_F(SlurmTest, TheEndOfATerminalLeavesTheWorkersToAResume) {
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Started(2)) << run->Err();
  const Words jobs = JobsRunning();
  run->Signal(SIGHUP);
  const Ended left = run->Wait();
  EXPECT_EQ(left.status, 130);
  EXPECT_NE(left.err.find("the workers finish what they have, and wait"), std::string::npos)
      << left.err;
  EXPECT_NE(left.err.find("cq resume "), std::string::npos) << left.err;
  EXPECT_EQ(JobsRunning(), jobs);
  WriteFile(directory_.File("go"), "");
  const Ended ended = Cq({"resume", "in.cq"}, directory_.path(), environment_);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(40, "ok"));
  EXPECT_EQ(Column("cq_attempts"), Words(40, "1"));
  EXPECT_TRUE(Queue().empty());
}

TEST_F(SlurmTest, TheEndOfATerminalEndsTheWorkersIfTheUserSaysSo) {
  auto run = Start({"-w", "2", "--on-hangup", "stop"}, UntilGo());
  ASSERT_TRUE(Started(2)) << run->Err();
  run->Signal(SIGHUP);
  EXPECT_EQ(run->Wait().status, 130);
  EXPECT_TRUE(Queue().empty());
}

TEST_F(SlurmTest, TheFirstInterruptDrainsAndLeavesNothing) {
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Started(2)) << run->Err();
  run->Signal(SIGINT);
  EXPECT_TRUE(Eventually([&] { return run->Err().find("2 running tasks") != std::string::npos; }))
      << run->Err();
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(run->Wait().status, 130);
  EXPECT_TRUE(Queue().empty()) << Queue();
  const Words statuses = Column("cq_status");
  EXPECT_EQ(std::count(statuses.begin(), statuses.end(), "ok"), 2);
  EXPECT_TRUE(ProcessesWith("CQ_RUN_DIR=" + directory_.File("in.cq")).empty());
}

TEST_F(SlurmTest, TheSecondInterruptCancelsAndLeavesNothing) {
  auto run = Start({"-w", "2"}, UntilGo());
  ASSERT_TRUE(Started(2)) << run->Err();
  run->Signal(SIGINT);
  EXPECT_TRUE(Eventually([&] { return run->Err().find("Ctrl-C") != std::string::npos; }));
  run->Signal(SIGINT);
  EXPECT_EQ(run->Wait().status, 130);
  EXPECT_TRUE(Queue().empty()) << Queue();
  EXPECT_TRUE(ProcessesWith("CQ_RUN_DIR=" + directory_.File("in.cq")).empty());
}

TEST_F(SlurmTest, SubmissionFromInsideAnAllocation) {
  // The allocation's own settings (one CPU, its job's name and id) are not for the workers.
  WriteFile(
      directory_.File("job.sh"),
      "#!/bin/sh\n#SBATCH --job-name=outer\n#SBATCH --output=job.log\n" + std::string("cd '") +
          directory_.path() + "' && exec '" + CQ_PROGRAM +
          "' run in.csv -s slurm -w 3 -- sh -c 'echo $SLURM_JOB_NAME $SLURM_ARRAY_TASK_COUNT'\n");
  const Ended job = TestProcess({RealSbatch(), "--wait", "job.sh"}, directory_.path()).Wait();
  EXPECT_EQ(job.status, 0) << Shell("cat '" + directory_.File("job.log") + "'");
  EXPECT_EQ(Column("cq_stdout"), Words(40, "cq 3"));
}

TEST_F(SlurmTest, WhyWorkersArePendingIsShown) {
  // 4 nodes of 4 CPUs: of 17 workers one has to wait.
  const std::string command =
      std::string(CQ_PROGRAM) +
      " run in.csv -s slurm -w 17 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'";
  TestProcess terminal({"script", "-qefc", command, "screen"}, directory_.path(), environment_);
  EXPECT_TRUE(Eventually([&] {
    const std::string screen = Shell("cat '" + directory_.File("screen") + "'");
    return screen.find("16 workers + 1 pending (Resources)") != std::string::npos;
  })) << Shell("cat '" + directory_.File("screen") + "'");
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(terminal.Wait().status, 0);
}

TEST_F(SlurmTest, WorkerInitAndSettingsReachTheWorkers) {
  const Ended ended = Run({"-w", "1", "--limit", "1", "--slots", "2", "--set", "cpus=4",
                           "--worker-init", "export MODULE=loaded"},
                          {"sh", "-c", "echo $MODULE $SLURM_CPUS_PER_TASK $CQ_CPUS"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_stdout")[0], "loaded 4 2");
}

// A shell on the way would drop them, as the one around sbatch does that other tests have.
TEST_F(SlurmTest, TasksFindVariablesWhoseNamesAreNoIdentifiers) {
  std::filesystem::remove(directory_.File("bin/sbatch"));
  environment_["BASH_FUNC_greet%%"] = "() {  echo hello\n}";
  environment_["a.b"] = "1 \t'\"";
  const Ended ended =
      Run({"-w", "1", "--worker-init", "true", "--task-memory", "500M", "--limit", "1"},
          {"cp", "/proc/self/environ", "environ"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  const std::string found = Slurp(directory_.File("environ"));
  for (const auto& [name, value] : environment_) {
    EXPECT_NE(found.find(name + "=" + value + '\0'), std::string::npos) << name;
  }
}

TEST_F(SlurmTest, AWorkerThatLacksTheDirectorySaysSoAndTheRunEnds) {
  const Ended ended = Run({"-w", "1", "--cwd", "/no/such/directory"}, {"true"});
  EXPECT_EQ(ended.status, 3);
  EXPECT_NE(ended.err.find("/no/such/directory"), std::string::npos) << ended.err;
  EXPECT_TRUE(Queue().empty());
}

TEST_F(SlurmTest, AProgramThatEmbedsItsMasterIsItsOwnWorkerThere) {
  // Without a run directory the connection file lies where the nodes see it.
  for (const std::string how : {"slurm in memory", "slurm"}) {
    const Ended ended =
        TestProcess({CQ_EMBED_TEST, "--scenario", directory_.path(), how}, directory_.path())
            .Wait();
    EXPECT_EQ(ended.out, "285\n") << ended.err;
    EXPECT_TRUE(QueueEmpties());
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".cq-")) << entry.path();
  }
  EXPECT_EQ(std::filesystem::file_size(directory_.File("calls")), 20u);
}

TEST_F(SlurmTest, AProgramThatEmbedsItsMasterIsToldWhyItsPoolWaits) {
  const Ended ended =
      TestProcess({CQ_EMBED_TEST, "--scenario", directory_.path(), "pending"}, directory_.path())
          .Wait();
  EXPECT_EQ(ended.out, "1 worker waits for the scheduler: Resources\n1 Resources\n") << ended.err;
  EXPECT_TRUE(QueueEmpties());
}

// What a cluster's other users see of an adaptive program: two arrays, and no more than a second
// one each while the first jobs come.
TEST_F(SlurmTest, ABurstAPauseAndABurstTakeFewSubmissionsAndNobodyStaysInBetween) {
  const Ended ended = TestProcess({CQ_EMBED_TEST, "--scenario", directory_.path(), "bursts"},
                                  directory_.path(), environment_)
                          .Wait();
  EXPECT_EQ(ended.out, "12\n") << ended.err;
  const int submissions = std::stoi(Shell("wc -l < '" + directory_.File("sbatch.calls") + "'"));
  EXPECT_GE(submissions, 2);
  EXPECT_LE(submissions, 4);
  EXPECT_TRUE(QueueEmpties());
}

TEST_F(SlurmTest, TheMasterIsAJobItselfAndGoesOnWhenThatIsRequeued) {
  Words words = Command({"-w", "2", "--master-job", "--set-master", "time=5"}, UntilGo());
  const Ended submitted = TestProcess(words, directory_.path(), environment_).Wait();
  ASSERT_EQ(submitted.status, 0) << submitted.err;
  EXPECT_NE(submitted.out.find("its master is the job slurm "), std::string::npos);
  TestProcess waiting({CQ_PROGRAM, "wait", "in.cq"}, directory_.path(), environment_);
  ASSERT_TRUE(Started(2)) << Slurp(directory_.File("in.cq/master.log"));
  // There is one master, whoever wants another.
  const Ended other = TestProcess(words, directory_.path(), environment_).Wait();
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.err.find("has a master already"), std::string::npos) << other.err;
  Shell("scontrol requeue $(squeue -h -n cq-master -o %i)");
  const auto status = [&] {
    return TestProcess({CQ_PROGRAM, "status", "in.cq"}, directory_.path(), environment_).Wait();
  };
  EXPECT_TRUE(Eventually([&] { return status().out.find("queued") != std::string::npos; }));
  EXPECT_EQ(status().status, 4);
  WriteFile(directory_.File("go"), "");
  // It starts again when Slurm thinks it right, which takes half a minute.
  const Ended waited = waiting.Wait();
  EXPECT_EQ(waited.status, 0) << waited.out << Slurp(directory_.File("in.cq/master.log"));
  EXPECT_EQ(Column("cq_status"), Words(40, "ok"));
}

TEST_F(SlurmTest, AMasterThatWaitsInTheQueueIsKnownAndCancelled) {
  const auto cq = [&](const Words& more) {
    Words words = {CQ_PROGRAM};
    words.insert(words.end(), more.begin(), more.end());
    return TestProcess(words, directory_.path(), environment_).Wait();
  };
  // All CPUs are taken.
  const std::string job =
      Shell("sbatch --parsable -o /dev/null -N 4 --exclusive --wrap 'sleep 600'");
  ASSERT_TRUE(Eventually([] { return JobsRunning().size() == 1; }));
  Words words = Command({"-w", "1", "--master-job"}, {"true"});
  ASSERT_EQ(TestProcess(words, directory_.path(), environment_).Wait().status, 0);
  EXPECT_TRUE(Eventually([&] {
    return cq({"status", "in.cq"}).out.find("waits (Resources)") != std::string::npos;
  })) << cq({"status", "in.cq"}).out;
  // Nobody goes on with the run, or puts another in its place, until that is clear.
  for (const Words& again : {Words{"resume", "in.cq", "--master-job"}, Words{"resume", "in.cq"},
                             Words{"run", "in.csv", "--fresh", "--", "true"}}) {
    const Ended second = cq(again);
    EXPECT_EQ(second.status, 2);
    EXPECT_NE(second.err.find("is a job already"), std::string::npos) << second.err;
  }
  const Ended cancelled = cq({"cancel", "in.cq"});
  EXPECT_NE(cancelled.out.find("cancelled slurm "), std::string::npos) << cancelled.out;
  EXPECT_EQ(cq({"wait", "in.cq"}).status, 3);
  EXPECT_EQ(cq({"status", "in.cq"}).status, 5);
  // The run is as it was made, for any master; and no other command's, though its job says none.
  Shell("scancel " + job);
  const Ended other =
      cq({"run", "in.csv", "-s", "slurm", "-w", "1", "--master-job", "--", "echo", "other"});
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.err.find("is another one"), std::string::npos) << other.err;
  EXPECT_EQ(cq({"resume", "in.cq"}).status, 0);
  // What a resume changes happens once, before the job.
  EXPECT_EQ(cq({"resume", "in.cq", "--rerun", "--master-job"}).status, 0);
  EXPECT_NE(cq({"status", "in.cq"}).status, 0);
  EXPECT_EQ(cq({"wait", "in.cq"}).status, 0);
  EXPECT_EQ(Column("cq_status"), Words(40, "ok"));
  EXPECT_FALSE(std::filesystem::exists(directory_.File("in.cq/master-job.json")));
}

}  // namespace
}  // namespace cq
