#include "schedulers/subprocess.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>

namespace cq {
namespace {

using std::chrono::seconds;

std::vector<std::string> Environment() { return {"PATH=/usr/bin:/bin", "A=b"}; }

TEST(SubprocessTest, ACommandGetsItsInputAndEnvironmentAndTellsItsEnd) {
  const CommandOutput ended = RunSchedulerCommand({"sh", "-c", "cat; echo $A >&2; exit 3"}, "in",
                                                  Environment(), seconds(60), -1);
  EXPECT_EQ(ended.status, 3);
  EXPECT_EQ(ended.out, "in");
  EXPECT_EQ(ended.err, "b\n");
}

TEST(SubprocessTest, MuchInputAndOutputDoNotBlockEachOther) {
  const std::string much(4 << 20, 'x');
  const CommandOutput ended =
      RunSchedulerCommand({"tee", "/dev/stderr"}, much, Environment(), seconds(60), -1);
  EXPECT_EQ(ended.out.size(), much.size());
  EXPECT_EQ(ended.err.size(), much.size());
}

TEST(SubprocessTest, ACommandThatReadsNothingIsNoError) {
  // As in every master.
  signal(SIGPIPE, SIG_IGN);
  const std::string much(4 << 20, 'x');
  EXPECT_EQ(RunSchedulerCommand({"true"}, much, Environment(), seconds(60), -1).status, 0);
}

TEST(SubprocessTest, WhatIsNotThereAndWhatIsKilledHaveTheirStatus) {
  EXPECT_EQ(RunSchedulerCommand({"no-such-sbatch"}, "", Environment(), seconds(60), -1).status,
            127);
  EXPECT_EQ(
      RunSchedulerCommand({"sh", "-c", "kill -TERM $$"}, "", Environment(), seconds(60), -1).status,
      128 + 15);
}

TEST(SubprocessTest, ACommandThatTakesTooLongIsKilled) {
  const CommandOutput ended =
      RunSchedulerCommand({"sleep", "1000"}, "", Environment(), seconds(0), -1);
  EXPECT_EQ(ended.status, 128 + 9);
}

TEST(SubprocessTest, ASubmissionInheritsNothingOfAnAllocationAroundIt) {
  const auto has = [](const std::vector<std::string>& all, const std::string& name) {
    return std::any_of(all.begin(), all.end(),
                       [&](const std::string& e) { return e.starts_with(name + "="); });
  };
  setenv("SLURM_JOB_ID", "7", 1);
  setenv("SBATCH_PARTITION", "long", 1);
  setenv("CQ_TEST_OTHER", "x", 1);
  const auto environment = SubmissionEnvironment();
  EXPECT_FALSE(has(environment, "SLURM_JOB_ID"));
  EXPECT_TRUE(has(environment, "CQ_TEST_OTHER"));
  // A default of the user's stays as long as the script does not say otherwise.
  EXPECT_TRUE(
      has(WithoutOverruled(environment, "#!/bin/bash\n#SBATCH --time=1\n"), "SBATCH_PARTITION"));
  EXPECT_FALSE(has(WithoutOverruled(environment, "#!/bin/bash\n#SBATCH --partition=short\n"),
                   "SBATCH_PARTITION"));
  unsetenv("SLURM_JOB_ID");
  unsetenv("SBATCH_PARTITION");
  unsetenv("CQ_TEST_OTHER");
}

}  // namespace
}  // namespace cq
