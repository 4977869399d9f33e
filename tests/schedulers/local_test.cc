// Workers on this machine, with a program of the test's in place of `cq`.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

#include "base/files.h"
#include "schedulers/registry.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

class LocalTest : public ::testing::Test {
 protected:
  // As a guardian: it ends once its pipe (descriptor 3) is closed, or does what the file says.
  void Program(const std::string& body) {
    ReplaceFile(directory_.File("cq"), "#!/bin/sh\n" + body + "\n", 0700);
    WorkerLaunch launch;
    launch.program = {directory_.File("cq")};
    launch.connection_file = directory_.File("connect.json");
    launch.run_dir = directory_.path();
    launch.log_dir = directory_.path();
    launch.slots = 3;
    launch.first_number = 5;
    scheduler_ = MakeScheduler("local", launch);
  }
  WorkerJob Ended() {
    for (;;) {
      for (WorkerJob& job : scheduler_->Poll()) {
        if (job.state == WorkerJob::State::kEnded) return job;
      }
      std::this_thread::yield();
    }
  }
  std::string Log(int number) {
    return ReadStream(directory_.File("local-" + std::to_string(number) + ".log"));
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(LocalTest, AWorkerIsToldWhatItIs) {
  Program("echo \"$@\"");
  EXPECT_EQ(scheduler_->Submit(1, "token"), "5-5");
  const WorkerJob job = Ended();
  EXPECT_EQ(job.allocation, "local 5");
  EXPECT_EQ(job.reason, "local 5 ended with status 0");
  EXPECT_FALSE(Explains(job.ending));
  EXPECT_EQ(Log(5), "worker --connect " + directory_.File("connect.json") +
                        " --slots 3 --allocation local 5 --master-fd 3\n");
  EXPECT_TRUE(scheduler_->Poll().empty());
}

TEST_F(LocalTest, HowItEndedIsTold) {
  Program("[ \"$7\" = 'local 5' ] && exit 3; kill -9 $$");
  scheduler_->Submit(1, "");
  EXPECT_EQ(Ended().reason, "local 5 ended with status 3");
  scheduler_->Submit(1, "");
  EXPECT_EQ(Ended().reason, "local 6 was ended by signal 9");
}

TEST_F(LocalTest, AllEndWithTheirPipes) {
  Program("cat <&3; echo gone");
  scheduler_->Submit(2, "");
  EXPECT_EQ(scheduler_->Poll().size(), 2u);
  EXPECT_EQ(scheduler_->WatchFds().size(), 2u);
  scheduler_->CancelAll();
  EXPECT_TRUE(scheduler_->Poll().empty());
  EXPECT_EQ(Log(5), "gone\n");
  EXPECT_EQ(Log(6), "gone\n");
}

TEST_F(LocalTest, OneAloneIsEnded) {
  Program("cat <&3");
  scheduler_->Submit(2, "");
  scheduler_->End("local 6");
  EXPECT_EQ(Ended().allocation, "local 6");
  EXPECT_EQ(scheduler_->Poll().size(), 1u);
}

TEST_F(LocalTest, OneThatDoesNotEndIsKilled) {
  Program("trap '' TERM INT; while :; do sleep 1; done");
  scheduler_->Submit(1, "");
  scheduler_->CancelAll();
  EXPECT_TRUE(scheduler_->Poll().empty());
}

TEST_F(LocalTest, WhatCannotBeStartedIsAnError) {
  Program("true");
  unlink(directory_.File("cq").c_str());
  EXPECT_THROW(scheduler_->Submit(1, ""), Error);
  WorkerLaunch launch;
  launch.program = {"/bin/true"};
  launch.template_text = "x";
  EXPECT_THROW(MakeScheduler("local", launch), UsageError);
  launch.template_text.clear();
  launch.set = {{"partition", "x"}};
  EXPECT_THROW(MakeScheduler("local", launch), UsageError);
}

}  // namespace
}  // namespace cq
