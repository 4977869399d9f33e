// What goes wrong on a real Slurm: masters that are killed and resumed, requeued and timed-out
// jobs.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>

#include "tests/support/process.h"

namespace cq {
namespace {

using std::chrono::seconds;
using Words = std::vector<std::string>;

std::string Shell(const std::string& command) {
  return TestProcess({"sh", "-c", command}, "/").Wait().out;
}

// Eight tasks that note their start and block until `go` exists.
std::string NodeOf(const std::string& job) {
  std::string node = Shell("squeue -h -j " + job + " -o %N");
  while (!node.empty() && node.back() == '\n') node.pop_back();
  return node;
}

// A node that something is done to; booted again at the end.
class Node {
 public:
  Node(const std::string& name, const std::string& what) : name_(name) { Do(what); }
  ~Node() {
    Do("start-node");
    EXPECT_TRUE(Eventually(
        [&] { return Shell("sinfo -h -n " + name_ + " -o %t").find("idle") != std::string::npos; },
        seconds(60)));
  }

 private:
  void Do(const std::string& what) const {
    Shell(CQ_SOURCE_DIR "/tests/slurm/slurm-cluster " + what + " $(dirname $SLURM_CONF) " + name_);
  }
  const std::string name_;
};

class SlurmFailureTest : public ::testing::Test {
 protected:
  SlurmFailureTest() {
    WriteFile(directory_.File("in.csv"), "a,b\n1,x\n2,x\n3,x\n4,x\n5,x\n6,x\n7,x\n8,x\n");
  }
  ~SlurmFailureTest() override {
    Shell("scancel --user=$(id -un)");
    EXPECT_TRUE(Eventually([] { return Queue().empty(); }));
  }
  static std::string Queue() { return Shell("squeue -h -r -o '%i %T'"); }

  std::unique_ptr<TestProcess> Start(const Words& words) {
    return std::make_unique<TestProcess>(words, directory_.path());
  }
  std::unique_ptr<TestProcess> Run(const Words& options) {
    Words words = {CQ_PROGRAM, "run", "in.csv", "-s", "slurm", "-w", "2"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(),
                 {"--", "sh", "-c",
                  "echo {a} >> started; while [ ! -e go ]; do sleep 0.05; done; echo {a}"});
    return Start(words);
  }
  Words Started() const {
    std::ifstream file(directory_.File("started"));
    Words lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    return lines;
  }
  bool TwoStarted() {
    return Eventually([&] { return Started().size() >= 2; });
  }
  void Go() { WriteFile(directory_.File("go"), ""); }
  void ExpectAllOk() {
    EXPECT_EQ(Column(directory_.File("in.cq/results.csv"), "cq_stdout"),
              (Words{"1", "2", "3", "4", "5", "6", "7", "8"}));
  }
  std::string Query(const std::string& sql) const {
    return Cq({"query", "in.cq", sql}, directory_.path()).out;
  }
  // No loss was charged to a task.
  void ExpectNoCharge() {
    EXPECT_EQ(Query("SELECT count(*) FROM failures WHERE kind IN (1, 2)"), "count(*)\n0\n");
  }
  std::string FirstJob() const {
    std::istringstream lines(Shell("squeue -h -r -t RUNNING -o %i"));
    std::string id;
    lines >> id;
    return id;
  }

  TemporaryDirectory directory_;
};

TEST_F(SlurmFailureTest, WorkersOutliveTheirMasterAndNothingRunsTwice) {
  auto master = Run({"--lease", "6s"});
  ASSERT_TRUE(TwoStarted()) << master->Err();
  master->Signal(SIGKILL);
  master->Wait();
  auto resumed = Start({CQ_PROGRAM, "resume", "in.cq"});
  EXPECT_TRUE(Eventually([&] {
    return resumed->Err().find("worker 1 ") != std::string::npos &&
           resumed->Err().find("worker 2 ") != std::string::npos;
  })) << resumed->Err();
  Go();
  const Ended ended = resumed->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectAllOk();
  EXPECT_EQ(Started(), (Words{"1", "2", "3", "4", "5", "6", "7", "8"}));
  EXPECT_EQ(Query("SELECT count(*) FROM allocations"), "count(*)\n1\n");
  ExpectNoCharge();
  EXPECT_TRUE(Queue().empty());
}

TEST_F(SlurmFailureTest, WorkersThatReachNoMasterLeaveTheirResultsForTheNext) {
  auto master = Run({"--lease", "2s", "--on-master-loss", "4s"});
  ASSERT_TRUE(TwoStarted()) << master->Err();
  master->Signal(SIGKILL);
  master->Wait();
  Go();
  EXPECT_TRUE(Eventually([] { return Queue().empty(); }, seconds(40)));
  EXPECT_FALSE(std::filesystem::is_empty(directory_.File("in.cq/spool")));
  const auto before = Started();
  auto resumed = Start({CQ_PROGRAM, "resume", "in.cq"});
  const Ended ended = resumed->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectAllOk();
  EXPECT_EQ(Started(), (Words{"1", "2", "3", "4", "5", "6", "7", "8"}));
  EXPECT_GE(before.size(), 2u);
  EXPECT_TRUE(std::filesystem::is_empty(directory_.File("in.cq/spool")));
}

TEST_F(SlurmFailureTest, WithoutAMasterPendingJobsLeaveSoonAfterTheirStartAndCancelEndsThem) {
  auto master = Run({"--lease", "2s"});
  ASSERT_TRUE(TwoStarted()) << master->Err();
  master->Signal(SIGKILL);
  master->Wait();
  const Ended cancelled = Cq({"cancel", "in.cq"}, directory_.path());
  EXPECT_EQ(cancelled.status, 0) << cancelled.err;
  EXPECT_NE(cancelled.out.find("cancelled slurm"), std::string::npos) << cancelled.out;
  EXPECT_TRUE(Eventually([] { return Queue().empty(); }));
  EXPECT_EQ(Cq({"cancel", "in.cq"}, directory_.path()).status, 0);
}

TEST_F(SlurmFailureTest, ARequeuedWorkerChargesNothing) {
  auto master = Run({"--lease", "6s"});
  ASSERT_TRUE(TwoStarted()) << master->Err();
  const std::string job = FirstJob();
  ASSERT_FALSE(job.empty());
  Shell("scontrol requeue " + job);
  EXPECT_TRUE(Eventually([&] { return master->Err().find("leaves") != std::string::npos; }))
      << master->Err();
  Go();
  const Ended ended = master->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectAllOk();
  ExpectNoCharge();
}

TEST_F(SlurmFailureTest, ANodeThatCrashesChargesNothing) {
  auto master = Run({"--lease", "6s"});
  ASSERT_TRUE(TwoStarted()) << master->Err();
  const std::string node = NodeOf(FirstJob());
  const Node crashed(node, "fail-node");
  // First its worker falls silent; then Slurm says why.
  EXPECT_TRUE(Eventually([&] {
    return Query("SELECT count(*) > 0 AS n FROM failures") == "n\n1\n";
  })) << master->Err();
  EXPECT_TRUE(Eventually(
      [&] { return Query("SELECT count(*) AS n FROM failures WHERE kind > 0") == "n\n0\n"; },
      seconds(60)))
      << master->Err() << Queue();
  Go();
  const Ended ended = master->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectAllOk();
  ExpectNoCharge();
}

// Slurm takes the node for dead, and its job; the worker lives.
TEST_F(SlurmFailureTest, AWorkerWhoseNodeManagerDiesWorksOn) {
  auto master = Run({"--lease", "6s"});
  ASSERT_TRUE(TwoStarted()) << master->Err();
  const std::string job = FirstJob();
  const std::string node = NodeOf(job);
  const Node alone(node, "kill-slurmd");
  EXPECT_TRUE(Eventually(
      [&] { return Shell("sinfo -h -n " + node + " -o %t").find("down") != std::string::npos; },
      seconds(60)));
  Go();
  const Ended ended = master->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectAllOk();
  ExpectNoCharge();
  EXPECT_EQ(Started().size(), 8u);
}

// On one of three nodes nothing starts; a status of 127 is how a shell says so.
TEST_F(SlurmFailureTest, ANodeWhereNothingStartsIsDrainedAndEveryTaskRunsElsewhere) {
  std::string csv = "a\n";
  for (int i = 1; i <= 60; ++i) csv += std::to_string(i) + "\n";
  WriteFile(directory_.File("in.csv"), csv);
  // Four CPUs are a whole node.
  auto master =
      Start({CQ_PROGRAM, "run", "in.csv", "-s", "slurm", "-w", "3", "--set", "cpus=4", "--", "sh",
             "-c", "[ $SLURMD_NODENAME = n1 ] && exit 127; sleep 0.1; echo {a}"});
  const Ended ended = master->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.err.find("could not be started on n1"), std::string::npos) << ended.err;
  EXPECT_EQ(Query("SELECT host FROM avoided"), "host\nn1\n");
  ExpectNoCharge();
}

// Slurm counts time limits in minutes: this takes more than one.
TEST_F(SlurmFailureTest, AWorkerAtItsTimeLimitChargesNothingAndIsReplaced) {
  // Slurm signals all of a job's processes a moment before it kills them: this shell goes on after
  // its `sleep` was ended, and exits with 0, which is no result.
  auto master =
      Start({CQ_PROGRAM, "run", "in.csv", "-s", "slurm", "-w", "2", "--set", "time=00:01:00", "--",
             "sh", "-c", "trap : TERM; echo {a} >> started; [ -e go ] || sleep 300; echo {a}"});
  ASSERT_TRUE(TwoStarted()) << master->Err();
  EXPECT_TRUE(
      Eventually([&] { return master->Err().find("leaves") != std::string::npos; }, seconds(110)))
      << master->Err();
  Go();
  const Ended ended = master->Wait();
  // Who had all of an allocation's time has no more of it; the others are done by who comes next.
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_NE(ended.err.find("worker 3 on"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("6 of 8 tasks ok, 2 timeout"), std::string::npos) << ended.err;
  ExpectNoCharge();
}

}  // namespace
}  // namespace cq
