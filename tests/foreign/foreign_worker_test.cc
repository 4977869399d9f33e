// A worker in another language, written after PROTOCOL.md alone (worker.py).
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

class ForeignWorkerTest : public ::testing::Test {
 protected:
  // The first row holds the run's own worker until the file `go` is there; the others are left to
  // the worker in Python, which has two slots.
  ForeignWorkerTest() {
    WriteFile(
        directory_.File("in.csv"),
        "a,b,limit\nhold,x,9m\nquote,\"it's \"\"5\"\"\",9m\nfail,,9m\nhang,z,5s\nwait,ü,9m\n");
    WriteProgram(directory_.File("task"),
                 "#!/bin/sh\necho \"$CQ_TASK $CQ_ATTEMPT $CQ_CPUS $MORE $2 $3\"\n"
                 "case $1 in\n"
                 "hold) while [ ! -e go ]; do sleep 0.02; done;;\n"
                 "wait) >waits; while [ ! -e go ]; do sleep 0.02; done;;\n"
                 "fail) echo no >&2; exit 3;;\n"
                 "hang) sleep 1000;;\n"
                 "esac\n");
  }

  void Start() {
    run_ = std::make_unique<TestProcess>(Words{CQ_PROGRAM,  "run",
                                               "in.csv",    "-w",
                                               "1",         "--slots",
                                               "1",         "--lease",
                                               "6s",        "--on-master-loss",
                                               "1m",        "--task-timeout",
                                               "{limit}",   "--env",
                                               "MORE=more", "--",
                                               "./task",    "{a}",
                                               "{a}-{b}",   "{#}"},
                                         directory_.path());
    ASSERT_TRUE(Eventually([&] { return Query("SELECT count(*) AS n FROM workers") == "n\n1\n"; }))
        << run_->Err();
    worker_ = std::make_unique<TestProcess>(
        Words{"/usr/bin/python3", CQ_SOURCE_DIR "/tests/foreign/worker.py", "in.cq/connect.json",
              "2"},
        directory_.path());
  }
  std::string Query(const std::string& sql) const {
    return Cq({"query", "in.cq", sql}, directory_.path()).out;
  }
  Words Column(const std::string& name) const {
    return cq::Column(directory_.File("in.cq/results.csv"), name);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<TestProcess> run_;
  std::unique_ptr<TestProcess> worker_;
};

TEST_F(ForeignWorkerTest, ItRunsACsv) {
  Start();
  EXPECT_TRUE(Eventually([&] {
    return Query("SELECT count(*) AS n FROM results WHERE worker = 2") == "n\n3\n" &&
           std::filesystem::exists(directory_.File("waits"));
  })) << run_->Err()
      << worker_->Err();
  WriteFile(directory_.File("go"), "");
  const Ended ended = run_->Wait();
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(worker_->Wait().status, 0) << worker_->Err();
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "error", "timeout", "ok"}));
  EXPECT_EQ(Column("cq_stdout")[1], "2 1 1 more quote-it's \"5\" 2");
  EXPECT_EQ(Column("cq_exit")[2], "3");
  EXPECT_EQ(Column("cq_stdout")[4], "5 1 1 more wait-ü 5");
}

TEST_F(ForeignWorkerTest, ItsTasksOutliveTheMaster) {
  Start();
  // What is left then runs in its two slots.
  ASSERT_TRUE(Eventually([&] {
    return Query("SELECT count(*) AS n FROM results WHERE task IN (2, 3)") == "n\n2\n" &&
           std::filesystem::exists(directory_.File("waits"));
  })) << worker_->Err();
  run_->Signal(SIGKILL);
  run_->Wait();
  TestProcess resumed({CQ_PROGRAM, "resume", "in.cq"}, directory_.path());
  ASSERT_TRUE(Eventually([&] {
    return Query("SELECT count(*) AS n FROM results WHERE worker = 2") == "n\n3\n";
  })) << resumed.Err()
      << worker_->Err();
  WriteFile(directory_.File("go"), "");
  const Ended ended = resumed.Wait();
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(worker_->Wait().status, 0) << worker_->Err();
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "error", "timeout", "ok"}));
  // What ran there while there was no master is the one that counts.
  EXPECT_EQ(Column("cq_attempts")[4], "1");
}

}  // namespace
}  // namespace cq
