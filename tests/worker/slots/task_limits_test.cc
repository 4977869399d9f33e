#include "worker/slots/task_limits.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Act = TaskLimits::Act;

class TaskLimitsTest : public ::testing::Test {
 protected:
  Act Look(TaskLimits& limits, milliseconds at) {
    return limits.Look(begin_ + at, getpid(), [] { return std::vector<pid_t>{getpid()}; });
  }
  // To come: so that what looking takes by the clock counts as nothing.
  const TaskLimits::Time begin_ = std::chrono::steady_clock::now() + std::chrono::hours(1);
  OomCounter oom_;
};

TEST_F(TaskLimitsTest, WithoutALimitNothingIsDue) {
  TaskLimits limits;
  limits.Begin(begin_, milliseconds(0));
  EXPECT_EQ(limits.next(), TaskLimits::Time::max());
  EXPECT_EQ(Look(limits, std::chrono::hours(24)), Act::kNothing);
  limits.Ended(SIGKILL, true, oom_);
  EXPECT_EQ(limits.verdict(), Outcome::kOk);
}

TEST_F(TaskLimitsTest, TermThenKillAgainAndAgain) {
  TaskLimits limits;
  limits.Begin(begin_, seconds(10));
  EXPECT_EQ(limits.next(), begin_ + seconds(10));
  EXPECT_EQ(Look(limits, milliseconds(9'999)), Act::kNothing);
  EXPECT_EQ(Look(limits, seconds(10)), Act::kTerm);
  EXPECT_EQ(Look(limits, seconds(11)), Act::kNothing);
  EXPECT_EQ(limits.next(), begin_ + seconds(15));
  EXPECT_EQ(Look(limits, seconds(15)), Act::kKill);
  EXPECT_EQ(Look(limits, milliseconds(15'050)), Act::kNothing);
  EXPECT_EQ(Look(limits, milliseconds(15'100)), Act::kKill);
  limits.Ended(0, false, oom_);
  EXPECT_EQ(limits.verdict(), Outcome::kTimeout);
  EXPECT_EQ(limits.Reason(), "ended after its time limit of 10 s (--task-timeout)");
}

TEST_F(TaskLimitsTest, MemoryIsLookedAtAndKillsAtOnce) {
  TaskLimits limits(1);
  limits.Begin(begin_, milliseconds(0));
  EXPECT_EQ(Look(limits, milliseconds(99)), Act::kNothing);
  EXPECT_EQ(Look(limits, milliseconds(100)), Act::kKill);
  EXPECT_EQ(limits.verdict(), Outcome::kMemory);
  TaskLimits wide(uint64_t{1} << 50);
  wide.Begin(begin_, milliseconds(0));
  EXPECT_EQ(Look(wide, milliseconds(100)), Act::kNothing);
  EXPECT_EQ(wide.verdict(), Outcome::kOk);
}

// A program's tasks of 50 ms each would never be looked at.
TEST_F(TaskLimitsTest, ShortTasksOfOneProgramDoNotPutOffTheLookAtItsMemory) {
  TaskLimits limits(1);
  limits.Begin(begin_, seconds(1));
  EXPECT_EQ(Look(limits, milliseconds(60)), Act::kNothing);
  limits.Begin(begin_ + milliseconds(60), seconds(1));
  EXPECT_EQ(Look(limits, milliseconds(100)), Act::kKill);
  // And each task has its own time.
  TaskLimits timed;
  timed.Begin(begin_, seconds(1));
  timed.Begin(begin_ + milliseconds(900), seconds(1));
  EXPECT_EQ(Look(timed, milliseconds(1'000)), Act::kNothing);
  EXPECT_EQ(Look(timed, milliseconds(1'900)), Act::kTerm);
}

}  // namespace
}  // namespace cq
