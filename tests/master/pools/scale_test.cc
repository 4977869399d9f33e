// How many workers a pool is to have: the rules by themselves, and in many little worlds.
#include "master/pools/scale.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

struct Case {
  const char* what;
  Scale::Bounds bounds;
  Scale::Demand demand;
  uint64_t wanted;
};

TEST(ScaleTest, AsManyAreWantedAsTheWorkIsWorth) {
  const Case cases[] = {
      {"nothing to do", {2, 8, 4}, {0, {}}, 0},
      {"nothing to do, and kept warm", {2, 8, 4, true}, {0, {}}, 2},
      {"the least, as far as rows could fill it", {8, 8, 4}, {9, {}}, 3},
      {"rows of unknown length are long ones", {0, 8, 4}, {1000, {}}, 8},
      {"long rows", {0, 8, 4}, {20, minutes(10)}, 5},
      {"short rows are not worth a worker each", {0, 8, 4}, {1000, milliseconds(1)}, 1},
      {"so much work that two are worth it", {0, 8, 1}, {15'000, milliseconds(1)}, 2},
      {"the least whatever it is worth", {3, 8, 4}, {1000, milliseconds(1)}, 3},
      {"one row", {0, 8, 4}, {1, milliseconds(1)}, 1},
      {"the most", {0, 8, 4}, {1'000'000'000, minutes(1)}, 8},
  };
  for (const Case& c : cases) EXPECT_EQ(Scale(c.bounds).Wanted(c.demand), c.wanted) << c.what;
}

TEST(ScaleTest, ARefusalHalvesAndWaitsEverLonger) {
  Scale scale({16, 16, 1});
  const Scale::Demand demand{1000, {}};
  Time now = seconds(1);
  EXPECT_EQ(scale.Next(now, demand, {}).start, 16u);
  // It is being asked.
  EXPECT_EQ(scale.Next(now, demand, {0, 16, {}}).start, 0u);
  EXPECT_EQ(scale.OnRefused(now, 16), now + seconds(30));
  EXPECT_EQ(scale.Next(now + seconds(29), demand, {}).start, 0u);
  now += seconds(30);
  EXPECT_EQ(scale.Next(now, demand, {}).start, 8u);
  EXPECT_EQ(scale.OnRefused(now, 8), now + seconds(60));
  now += seconds(60);
  EXPECT_EQ(scale.Next(now, demand, {}).start, 4u);
  scale.OnAccepted();
  EXPECT_EQ(scale.Next(now, demand, {4, 0, {}}).start, 8u);
  // Not even one: it is asked for one again, in the end every 10 min.
  Time pause{};
  for (int i = 0; i < 8; ++i) pause = scale.OnRefused(now, 1) - now;
  EXPECT_EQ(pause, minutes(10));
  EXPECT_EQ(scale.Next(now + minutes(10), demand, {4, 0, {}}).start, 1u);
}

TEST(ScaleTest, WhenTheUserWantsFewerThoseThatWaitGoAtOnce) {
  Scale scale({4, 4, 1});
  const Scale::Supply supply{4, 0, {"a", "b"}};
  EXPECT_TRUE(scale.Next(seconds(1), {100, {}}, supply).withdraw.empty());
  scale.SetBounds(1, 3);
  // Once the scheduler has answered about others.
  EXPECT_TRUE(scale.Next(seconds(2), {100, {}}, {3, 1, {"a", "b"}}).withdraw.empty());
  EXPECT_EQ(scale.Next(seconds(2), {100, {}}, supply).withdraw, std::vector<std::string>{"b"});
}

TEST(ScaleTest, WhatIsPendingAndNotNeededForAWhileIsTakenBack) {
  Scale scale({0, 8, 1});
  Scale::Supply supply{5, 0, {"a", "b", "c"}};
  Time now = seconds(1);
  const auto withdrawn = [&](uint64_t tasks, Time later) {
    now += later;
    return scale.Next(now, {tasks, {}}, supply).withdraw;
  };
  EXPECT_TRUE(withdrawn(4, {}).empty());
  EXPECT_TRUE(withdrawn(4, Scale::kSteady - seconds(1)).empty());
  EXPECT_EQ(withdrawn(4, seconds(1)), std::vector<std::string>{"c"});
  EXPECT_TRUE(scale.WasWithdrawn("c"));
  EXPECT_FALSE(scale.WasWithdrawn("c"));
  // What was needed meanwhile begins anew.
  EXPECT_TRUE(withdrawn(0, seconds(1)).empty());
  EXPECT_TRUE(withdrawn(5, seconds(10)).empty());
  EXPECT_TRUE(withdrawn(0, seconds(10)).empty());
  // Nor is anything while some are being submitted.
  supply.starting = 1;
  EXPECT_TRUE(withdrawn(0, Scale::kSteady).empty());
  supply.starting = 0;
  EXPECT_TRUE(withdrawn(0, seconds(1)).empty());
  // Those that run leave by themselves.
  EXPECT_EQ(withdrawn(0, Scale::kSteady), (std::vector<std::string>{"a", "b", "c"}));
}

TEST(ScaleTest, ThreeDeadLaunchesInARowEndItAndAnyWorkerThatConnectsForgivesThem) {
  Scale scale({4, 4, 1});
  const Time now = seconds(1);
  scale.OnDeadLaunch(now, "FAILED", false);
  scale.OnDeadLaunch(now, "FAILED", false);
  scale.OnConnected();
  scale.OnDeadLaunch(now, "FAILED", false);
  scale.OnDeadLaunch(now, "FAILED", false);
  EXPECT_FALSE(scale.stopped());
  EXPECT_EQ(scale.Next(now, {100, {}}, {}).start, 4u);
  scale.OnDeadLaunch(now, "no such program", false);
  ASSERT_TRUE(scale.stopped());
  EXPECT_NE(scale.stopped()->find("3 workers in a row"), std::string::npos);
  EXPECT_NE(scale.stopped()->find("no such program"), std::string::npos);
  EXPECT_EQ(scale.Next(now, {100, {}}, {}).start, 0u);
}

// One machine may be broken, and the others not.
TEST(ScaleTest, WhileOthersAreThereDeadLaunchesAreTriedEverMoreRarely) {
  Scale scale({4, 4, 1});
  Time now = seconds(1);
  uint64_t tried = 0;
  for (; now < std::chrono::hours(1); now += seconds(1)) {
    if (scale.Next(now, {100, {}}, {3, 0, {}}).start == 0) continue;
    ++tried;
    scale.OnAccepted();
    scale.OnDeadLaunch(now, "FAILED", true);
  }
  EXPECT_FALSE(scale.stopped());
  EXPECT_GT(tried, 8u);
  EXPECT_LT(tried, 20u);
}

/// A batch system with a queue, where jobs start late, end early, and are refused; and work that
/// comes in bursts.
class LittleWorld {
 public:
  explicit LittleWorld(uint64_t seed) : random_(seed) {
    bounds_.slots = 1 + Few(4);
    bounds_.max = 1 + Few(20);
    bounds_.min = Below(2) == 0 ? bounds_.max : Few(bounds_.max + 1);
    most_queued_ = Below(3) == 0 ? 1 + Below(10) : 1000;
    lives_ = seconds(20 + Below(600));
    longest_ = milliseconds(Below(2) == 0 ? 200 : 60'000);
  }

  void Run() {
    Scale scale(bounds_);
    Burst();
    for (; now_ < std::chrono::hours(2); now_ += seconds(1)) {
      // Work is done, jobs start and end.
      Work();
      if (Below(400) == 0) Burst();
      Scale::Supply supply;
      for (const Job& job : jobs_) {
        ++supply.alive;
        if (!job.runs) supply.pending.push_back(job.name);
      }
      const Scale::Demand demand{tasks_, done_ > 0 ? longest_ / 2 : Time{}};
      const Scale::Step step = scale.Next(now_, demand, supply);
      if (!step.withdraw.empty()) ++withdrawals_;
      for (const std::string& name : step.withdraw) {
        std::erase_if(jobs_, [&](const Job& job) { return job.name == name && !job.runs; });
      }
      if (step.start == 0) {
        Check(scale);
        continue;
      }
      ++submissions_;
      if (jobs_.size() + step.start > most_queued_) {
        scale.OnRefused(now_, step.start);
        ++refusals_;
      } else {
        scale.OnAccepted();
        for (unsigned i = 0; i < step.start; ++i) {
          jobs_.push_back({std::to_string(++named_), now_ + seconds(1 + Below(120)), false});
        }
      }
      Check(scale);
    }
    // Each is worth a worker that ended, one that was taken back, a burst, or a refusal.
    EXPECT_LE(submissions_, ended_ + bursts_ * 2 + refusals_ + withdrawals_ + 1);
  }

 private:
  struct Job {
    std::string name;
    Time turns{};
    bool runs = false;
  };

  uint64_t Below(uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(random_); }

  unsigned Few(unsigned n) { return static_cast<unsigned>(Below(n)); }

  void Burst() {
    tasks_ += 1 + Below(500);
    ++bursts_;
  }

  void Work() {
    for (Job& job : jobs_) {
      if (job.runs || job.turns > now_) continue;
      job.runs = true;
      job.turns = now_ + Time(static_cast<int64_t>(Below(static_cast<uint64_t>(lives_.count())))) +
                  seconds(1);
    }
    ended_ += std::erase_if(jobs_, [&](const Job& job) { return job.runs && job.turns <= now_; });
    const auto running = static_cast<uint64_t>(
        std::count_if(jobs_.begin(), jobs_.end(), [](const Job& job) { return job.runs; }));
    work_ += static_cast<double>(running * bounds_.slots) * 1e9 /
             static_cast<double>((longest_ / 2).count());
    const auto done = std::min(tasks_, static_cast<uint64_t>(work_));
    work_ -= static_cast<double>(done);
    tasks_ -= done;
    done_ += done;
    if (tasks_ == 0) work_ = 0;
  }

  void Check(const Scale& scale) {
    EXPECT_LE(jobs_.size(), bounds_.max);
    // Rows are never left without anybody who comes, but while the scheduler says no.
    idle_ = tasks_ > 0 && jobs_.empty() ? idle_ + 1 : 0;
    EXPECT_LE(idle_, most_queued_ < bounds_.max ? 650u : 1u);
    EXPECT_FALSE(scale.stopped());
  }

  std::mt19937_64 random_;
  Scale::Bounds bounds_;
  uint64_t most_queued_ = 0;
  Time lives_{};
  Time longest_{};
  Time now_ = seconds(1);
  uint64_t tasks_ = 0;
  double work_ = 0;
  uint64_t done_ = 0;
  std::vector<Job> jobs_;
  uint64_t named_ = 0;
  uint64_t submissions_ = 0;
  uint64_t refusals_ = 0;
  uint64_t withdrawals_ = 0;
  uint64_t ended_ = 0;
  uint64_t bursts_ = 0;
  uint64_t idle_ = 0;
};

TEST(ScaleTest, InNoWorldAreThereTooManyOrNoneWhereRowsWaitAndSubmissionsAreFew) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    LittleWorld(seed).Run();
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace cq
