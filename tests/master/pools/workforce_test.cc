// What becomes of a run's jobs, as their schedulers tell it: replaced, told, given up.
#include "master/pools/workforce.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace cq {
namespace {

using std::chrono::seconds;

/// Writes down what it is told.
class Core final : public Employer {
 public:
  void OnAllocationEnded(Time, const std::string& allocation, const std::string& reason,
                         Blame blame) override {
    told.push_back(allocation + ": " + reason + (blame == Blame::kNobody ? " (explained)" : ""));
  }
  void OnLimit(const std::string& allocations, uint64_t workers,
               const std::vector<std::string>&) override {
    told.push_back(allocations + std::to_string(workers));
  }
  bool HasSession(const std::string& allocation) const override {
    return sessions.contains(allocation);
  }
  bool IsConnected(const std::string& allocation) const override {
    return sessions.contains(allocation) && connected > 0;
  }
  WorkLeft demand(size_t) override { return {tasks, tasks, 0, {}, {}}; }
  void OnPool(size_t, bool) override {}
  void OnTimeLeft(Time, const std::string& allocation, Time left, Time) override {
    told.push_back(fmt::format("{} has {} s left", allocation, left / std::chrono::seconds(1)));
  }
  uint64_t progress() override { return done; }
  uint64_t workers() override { return connected; }
  uint64_t staying() const override { return connected; }
  std::vector<std::string> Idle(Time, Time) const override { return idle; }
  std::vector<std::string> Emptiest() const override { return emptiest; }
  void OnDismissed(const std::string& allocation, const std::string& reason) override {
    told.push_back(allocation + " goes: " + reason);
  }
  bool draining() const override { return drains; }
  std::string CommonProblem() const override { return problem; }

  std::vector<std::string> Told() { return std::exchange(told, {}); }

  std::vector<std::string> told;
  std::set<std::string> sessions;
  std::vector<std::string> idle;
  std::vector<std::string> emptiest;
  uint64_t done = 0;
  uint64_t tasks = 100;
  uint64_t connected = 0;
  bool drains = false;
  std::string problem;
};

/// Of a scheduler of this name; what it would say, the test says.
class Source final : public WorkerSource {
 public:
  explicit Source(std::string scheduler)
      : scheduler_(std::move(scheduler)), traits_(TraitsOf(scheduler_)) {}
  const SchedulerTraits& traits() const override { return traits_; }
  const std::string& scheduler() const override { return scheduler_; }
  void Open(Callbacks) override {}
  void Start(unsigned, uint64_t) override {}
  void PollSoon() override {}
  void Want(uint64_t) override {}
  void EndSilent(const std::string&) override {}
  void EndJob(const std::string& allocation) override { ended.insert(allocation); }
  void Withdraw(std::vector<std::string>) override {}
  void Avoid(const std::string&) override {}
  void Expect(bool) override {}
  void Close(End) override {}
  std::string Wait() override { return {}; }

  std::set<std::string> ended;

 private:
  const std::string scheduler_;
  const SchedulerTraits traits_;
};

class Observer final : public RunObserver {
 public:
  void Warning(const std::string& text) override { warnings.push_back(text); }
  std::vector<std::string> warnings;
};

class WorkforceTest : public ::testing::Test {
 protected:
  void Make(const std::string& scheduler, unsigned workers, std::optional<unsigned> least = {}) {
    source_ = std::make_unique<Source>(scheduler);
    workforce_ = std::make_unique<Workforce>(std::vector<PoolShare>{{.pool = source_.get(),
                                                                     .workers = workers,
                                                                     .least = least,
                                                                     .idle_timeout = seconds(300)}},
                                             open_);
  }

  std::optional<std::string> Say(PoolEvent event, bool over = false) {
    Workforce::Word word{0, std::move(event)};
    return workforce_->On(now_, word, core_, observer_, over);
  }
  std::optional<std::string> Jobs(std::vector<WorkerJob> jobs) {
    JobStates states;
    states.jobs = std::move(jobs);
    for (const WorkerJob& job : states.jobs) states.last_words[job.allocation] = "its last words";
    return Say(std::move(states));
  }
  static WorkerJob Running(const std::string& allocation) {
    return {allocation, WorkerJob::State::kRunning};
  }
  static WorkerJob Pending(const std::string& allocation, const std::string& why) {
    return {allocation, WorkerJob::State::kPending, why};
  }
  static WorkerJob Ended(const std::string& allocation, const std::string& how, JobEnding ending) {
    return {allocation, WorkerJob::State::kEnded, how, ending};
  }
  static WorkerJob Ended(const std::string& allocation, const std::string& how, bool explained) {
    return Ended(allocation, how, explained ? JobEnding::kTimeLimit : JobEnding::kItself);
  }
  // How many workers it asks for now, to be answered with Submitted.
  uint64_t Started() {
    const uint64_t before = workforce_->jobs();
    workforce_->Steer(now_, core_);
    return workforce_->jobs() - before;
  }

  bool open_ = false;
  std::unique_ptr<Source> source_;
  std::unique_ptr<Workforce> workforce_;
  Core core_;
  Observer observer_;
  Time now_ = seconds(1);
};

TEST_F(WorkforceTest, WhatWasSubmittedIsOnItsWayUntilItsJobsAreTold) {
  Make("slurm", 3);
  EXPECT_FALSE(Say(Submitted{3, 3, {}}));
  EXPECT_EQ(workforce_->jobs(), 3u);
  EXPECT_EQ(workforce_->pending(), 3u);
  EXPECT_FALSE(Jobs({Running("slurm 1_1"), Pending("slurm 1_2", "Priority")}));
  EXPECT_EQ(workforce_->jobs(), 2u);
  EXPECT_EQ(workforce_->pending(), 1u);
  EXPECT_EQ(workforce_->pending_reason(), "Priority");
}

TEST_F(WorkforceTest, WhenNothingCouldBeSubmittedAndNobodyIsThereItIsOver) {
  Make("slurm", 2);
  EXPECT_EQ(Say(Submitted{2, 0, "no such partition"}), "no such partition");
}

// The controller is away for a moment: no reason to end a run that was under way.
TEST_F(WorkforceTest, ASubmissionThatIsNotAnsweredEndsOnlyARunThatHadNoWorkerYet) {
  const Submitted unanswered{2, 0, "Socket timed out", Submitted::Refusal::kUncertain};
  Make("slurm", 2);
  EXPECT_EQ(Say(unanswered), "Socket timed out");
  Make("slurm", 2);
  Say(Submitted{2, 2, {}});
  core_.sessions = {"slurm 1_1", "slurm 1_2"};
  ++core_.done;
  Jobs({Ended("slurm 1_1", "TIMEOUT", true), Ended("slurm 1_2", "TIMEOUT", true)});
  EXPECT_FALSE(Say(unanswered));
  EXPECT_EQ(workforce_->Problem(core_, false), std::nullopt);
  EXPECT_EQ(Started(), 0u);
  now_ += std::chrono::minutes(1);
  EXPECT_EQ(Started(), 1u) << "half of them";
}

// Its machine hangs, or is cut off; or we are.
TEST_F(WorkforceTest, AJobWhoseWorkerIsNotHeardIsEndedAndLaterIfNobodyIs) {
  Make("slurm", 2);
  core_.sessions = {"slurm 1_1", "slurm 1_2"};
  core_.connected = 2;
  Jobs({Running("slurm 1_1"), Running("slurm 1_2")});
  core_.connected = 0;
  const auto unheard = [this](std::chrono::minutes time) {
    for (const Time until = now_ + time; now_ < until; now_ += seconds(30)) {
      Jobs({Running("slurm 1_1"), Running("slurm 1_2")});
    }
    return source_->ended.size();
  };
  EXPECT_EQ(unheard(std::chrono::minutes(29)), 0u);
  EXPECT_EQ(unheard(std::chrono::minutes(2)), 2u);
  EXPECT_NE(observer_.warnings.at(0).find("its worker was not heard for 30 min"),
            std::string::npos);
}

TEST_F(WorkforceTest, AWorkerThatDiesBeforeItConnectsIsTold) {
  Make("slurm", 2);
  Say(Submitted{2, 2, {}});
  core_.sessions = {"slurm 1_1"};
  EXPECT_FALSE(Jobs({Running("slurm 1_1"), Ended("slurm 1_2", "FAILED", false)}));
  ASSERT_EQ(observer_.warnings.size(), 1u);
  EXPECT_NE(observer_.warnings[0].find("FAILED before it connected"), std::string::npos);
  EXPECT_EQ(core_.Told(), std::vector<std::string>{"slurm 1_2: FAILED"});
}

TEST_F(WorkforceTest, ARequeuedJobIsHeldAgainstNobody) {
  Make("slurm", 1);
  Jobs({Running("slurm 1_1")});
  Jobs({Pending("slurm 1_1", "None")});
  EXPECT_EQ(core_.Told(), std::vector<std::string>{"slurm 1_1: its job was requeued (explained)"});
  EXPECT_EQ(workforce_->pending_reason(), "");
}

TEST_F(WorkforceTest, AWorkerIsReplacedAsLongAsSomethingGetsDone) {
  Make("local", 1);
  core_.sessions = {"local 1"};
  core_.connected = 1;
  Jobs({Running("local 1")});
  for (int i = 0; i < 20; ++i) {
    ++core_.done;
    EXPECT_FALSE(Jobs({Ended("local 1", "killed", false)}));
    EXPECT_EQ(workforce_->jobs(), 0u);
    EXPECT_EQ(Started(), 1u);
    EXPECT_FALSE(Say(Submitted{1, 1, {}}));
  }
  std::optional<std::string> problem;
  int losses = 0;
  while (!problem && losses < 100) {
    ++losses;
    problem = Jobs({Ended("local 1", "killed", false)});
  }
  ASSERT_TRUE(problem);
  EXPECT_NE(problem->find("in a row without a single result; the last: killed"), std::string::npos);
  EXPECT_LT(losses, 10);
}

TEST_F(WorkforceTest, WhoeverEndsAtATimeLimitOrWithItsNodeIsReplacedAtOnceAndTogether) {
  Make("slurm", 3);
  core_.connected = 1;
  core_.sessions = {"slurm 1_1", "slurm 1_2", "slurm 1_3"};
  Jobs({Running("slurm 1_1"), Running("slurm 1_2"), Running("slurm 1_3")});
  EXPECT_EQ(Started(), 0u);
  ++core_.done;
  Jobs({Running("slurm 1_1"), Ended("slurm 1_2", "TIMEOUT", true),
        Ended("slurm 1_3", "NODE_FAIL", JobEnding::kNode)});
  EXPECT_EQ(Started(), 2u);
  // They are on their way.
  EXPECT_EQ(Started(), 0u);
}

TEST_F(WorkforceTest, OnlySoManyAreReplacedAsThereIsWorkFor) {
  Make("slurm", 3);
  core_.connected = 1;
  core_.sessions = {"slurm 1_1", "slurm 1_2", "slurm 1_3"};
  Jobs({Running("slurm 1_1"), Running("slurm 1_2"), Running("slurm 1_3")});
  core_.tasks = 2;
  Jobs({Running("slurm 1_1"), Ended("slurm 1_2", "TIMEOUT", true),
        Ended("slurm 1_3", "TIMEOUT", true)});
  EXPECT_EQ(Started(), 1u);
  Say(Submitted{1, 1, {}});
  core_.drains = true;
  Jobs({Running("slurm 1_1")});
  EXPECT_EQ(Started(), 0u);
}

TEST_F(WorkforceTest, WhoWasToldToLeaveIsReplacedIfThereIsWork) {
  Make("slurm", 1);
  core_.sessions = {"slurm 1_1"};
  Jobs({Ended("slurm 1_1", "COMPLETED", JobEnding::kLeft)});
  EXPECT_EQ(Started(), 1u);
  EXPECT_TRUE(observer_.warnings.empty());
}

TEST_F(WorkforceTest, OneThatDrainsIsNotReplaced) {
  Make("local", 1);
  core_.drains = true;
  Jobs({Ended("local 1", "left", true)});
  EXPECT_EQ(Started(), 0u);
}

TEST_F(WorkforceTest, WithinBoundsThereAreAsManyAsThereIsWorkFor) {
  Make("slurm", 4, 1);
  core_.tasks = 2;
  EXPECT_EQ(Started(), 2u);
  EXPECT_EQ(Started(), 0u);
  Say(Submitted{2, 2, {}});
  core_.tasks = 100;
  EXPECT_EQ(Started(), 2u);
  Say(Submitted{2, 2, {}});
  core_.connected = 3;
  core_.sessions = {"slurm 1_1", "slurm 1_2", "slurm 2_1"};
  Jobs({Running("slurm 1_1"), Running("slurm 1_2"), Running("slurm 2_1"),
        Pending("slurm 2_2", "Priority")});
  EXPECT_EQ(Started(), 0u);
  // Whoever has nothing to do for long goes, as far as one is left.
  core_.tasks = 1;
  core_.idle = {"local 9", "slurm 1_1", "slurm 1_2", "slurm 2_1"};
  EXPECT_EQ(Started(), 0u);
  EXPECT_EQ(core_.Told(),
            (std::vector<std::string>{"slurm 1_1 goes: it had nothing to do for 300 s",
                                      "slurm 1_2 goes: it had nothing to do for 300 s",
                                      "slurm 2_1 goes: it had nothing to do for 300 s"}));
  core_.idle.clear();
  core_.sessions.insert("slurm 2_2");
  Jobs({Ended("slurm 1_1", "COMPLETED", JobEnding::kLeft),
        Ended("slurm 1_2", "COMPLETED", JobEnding::kLeft),
        Ended("slurm 2_1", "COMPLETED", JobEnding::kLeft), Running("slurm 2_2")});
  EXPECT_EQ(Started(), 0u);
  core_.idle = {"slurm 2_2"};
  Started();
  EXPECT_EQ(core_.Told().back(), "slurm 2_1: COMPLETED");
  EXPECT_TRUE(observer_.warnings.empty());
}

TEST_F(WorkforceTest, WhoHadNothingToDoUntilItsTimeLimitHasNotFailed) {
  open_ = true;
  Make("slurm", 1);
  core_.sessions = {"slurm 1_1"};
  core_.tasks = 0;
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(Jobs({Ended("slurm 1_1", "TIMEOUT", true)}));
  core_.tasks = 1;
  std::optional<std::string> problem;
  for (int i = 0; i < 20 && !problem; ++i) problem = Jobs({Ended("slurm 1_1", "TIMEOUT", true)});
  EXPECT_TRUE(problem);
}

TEST_F(WorkforceTest, WorkersThatNeverConnectEndAPoolAfterThree) {
  Make("slurm", 2);
  for (int i = 0; i < 2; ++i) {
    Jobs({Ended("slurm 1_1", "FAILED", false)});
    EXPECT_FALSE(workforce_->Problem(core_, false));
  }
  Jobs({Ended("slurm 1_1", "FAILED", false)});
  EXPECT_EQ(Started(), 0u);
  const auto problem = workforce_->Problem(core_, false);
  ASSERT_TRUE(problem);
  EXPECT_NE(problem->find("no worker is left; the last: FAILED before it connected"),
            std::string::npos)
      << *problem;
}

TEST_F(WorkforceTest, SomebodyWhoCancelsOneWorkerGetsAnotherAndWhoCancelsAllEndsTheRun) {
  Make("slurm", 2);
  core_.sessions = {"slurm 1_1", "slurm 1_2"};
  core_.connected = 1;
  Jobs({Running("slurm 1_1"), Ended("slurm 1_2", "CANCELLED", JobEnding::kCancelled)});
  EXPECT_EQ(Started(), 1u);
  Say(Submitted{1, 1, {}});
  core_.connected = 0;
  Jobs({Ended("slurm 1_1", "CANCELLED", JobEnding::kCancelled),
        Ended("slurm 2_1", "CANCELLED", JobEnding::kCancelled)});
  EXPECT_EQ(Started(), 0u);
  const auto problem = workforce_->Problem(core_, false);
  ASSERT_TRUE(problem);
  EXPECT_NE(problem->find("no worker is left; the last: CANCELLED"), std::string::npos);
  // Whoever interrupts it knows.
  EXPECT_FALSE(workforce_->Problem(core_, true));
}

TEST_F(WorkforceTest, ARefusalForNowIsToldAndTheRunWaits) {
  Make("slurm", 4);
  EXPECT_FALSE(Say(Submitted{4, 0, "QOSMaxSubmitJobPerUserLimit", Submitted::Refusal::kForNow}));
  EXPECT_FALSE(workforce_->Problem(core_, false));
  EXPECT_EQ(observer_.warnings,
            std::vector<std::string>{"QOSMaxSubmitJobPerUserLimit; asked again in 30 s"});
  EXPECT_EQ(Started(), 0u);
  now_ += seconds(30);
  EXPECT_EQ(Started(), 2u);
}

TEST_F(WorkforceTest, AJobThatCanNeverStartEndsTheRunWithItsReason) {
  Make("slurm", 1);
  WorkerJob job = Pending("slurm 1_1", "PartitionTimeLimit");
  job.state = WorkerJob::State::kHopeless;
  Jobs({job});
  // It may have been said by mistake.
  Jobs({Pending("slurm 1_1", "Priority")});
  now_ += Scale::kSteady;
  Jobs({job});
  EXPECT_TRUE(observer_.warnings.empty());
  now_ += Scale::kSteady;
  Jobs({job});
  EXPECT_EQ(observer_.warnings,
            std::vector<std::string>{"no further worker is started: slurm 1_1 can never start: "
                                     "PartitionTimeLimit"});
  // It is taken back, which is no news, even if nobody knows it any more then.
  Jobs({Ended("slurm 1_1", "no longer in the queue", false)});
  EXPECT_EQ(Started(), 0u);
  EXPECT_EQ(workforce_->Problem(core_, false),
            "no worker is left; the last: slurm 1_1 can never start: PartitionTimeLimit");
}

TEST_F(WorkforceTest, WhatEndedBeforeTheMasterWasResumedIsHeldAgainstNobody) {
  Make("slurm", 2);
  WorkerJob job = Ended("slurm 1_1", "slurm job 1_1 is no longer in the queue", false);
  job.state = WorkerJob::State::kOver;
  Jobs({job, job, job, job, Running("slurm 2_1"), Running("slurm 2_2")});
  EXPECT_TRUE(observer_.warnings.empty());
  EXPECT_EQ(core_.Told().size(), 4u);
  EXPECT_EQ(Started(), 0u);
  Jobs({Running("slurm 2_1")});
  EXPECT_EQ(Started(), 1u);
}

TEST_F(WorkforceTest, WhereWorkMayComeAtAnyTimeWorkersAreKeptUpWithoutIt) {
  open_ = true;
  Make("slurm", 2);
  core_.tasks = 0;
  Jobs({Running("slurm 1_1"), Ended("slurm 1_2", "TIMEOUT", true)});
  EXPECT_EQ(Started(), 1u);
}

TEST_F(WorkforceTest, AJobWhoseWorkerDoesNotConnectIsEndedInTheEnd) {
  Make("slurm", 2);
  Jobs({Running("slurm 1_1")});
  now_ += std::chrono::minutes(9);
  Jobs({Running("slurm 1_1")});
  EXPECT_TRUE(observer_.warnings.empty());
  now_ += std::chrono::minutes(1);
  Jobs({Running("slurm 1_1")});
  ASSERT_EQ(observer_.warnings.size(), 1u);
  EXPECT_EQ(observer_.warnings[0],
            "slurm 1_1 runs, and its worker has not connected for 10 min: it is ended");
  // That counts as one that never came to life, and is no wish of the user.
  Jobs({Ended("slurm 1_1", "CANCELLED", JobEnding::kCancelled)});
  EXPECT_EQ(Started(), 2u);
  Say(Submitted{2, 2, {}});
  observer_.warnings.clear();
  // One that was there, and is not now: only if others are.
  core_.sessions = {"slurm 1_2"};
  Jobs({Running("slurm 1_2")});
  now_ += std::chrono::minutes(20);
  Jobs({Running("slurm 1_2")});
  EXPECT_TRUE(observer_.warnings.empty());
}

TEST_F(WorkforceTest, IfNobodyCanTakeATaskAndNobodyElseIsToComeItIsOver) {
  Make("slurm", 2);
  core_.problem = "no such directory";
  core_.connected = 1;
  Jobs({Running("slurm 1_1"), Pending("slurm 1_2", "")});
  EXPECT_FALSE(workforce_->Problem(core_, false));
  Jobs({Running("slurm 1_1")});
  EXPECT_EQ(workforce_->Problem(core_, false), "no worker can take a task: no such directory");
}

TEST_F(WorkforceTest, AnEndOfTheRunAsksForNoWord) {
  Make("local", 1);
  EXPECT_FALSE(Workforce::Word({0, {}}).pool);
  JobStates states;
  states.jobs = {Ended("local 1", "left", true)};
  EXPECT_FALSE(Say(std::move(states), true));
  EXPECT_TRUE(core_.Told().empty());
}

TEST_F(WorkforceTest, LimitsAndWaitingAreThoseOfASchedulerThatLends) {
  Make("local", 1);
  JobStates states;
  states.terms.allocations = "pool p ";
  states.terms.limit = 2;
  states.terms.waits = "no slot free";
  Say(states);
  EXPECT_EQ(core_.Told(), std::vector<std::string>{"pool p 2"});
  EXPECT_EQ(workforce_->pending_reason(), "no slot free");
  now_ += seconds(9);
  Say(states);
  EXPECT_TRUE(observer_.warnings.empty());
  now_ += seconds(2);
  Say(states);
  Say(states);
  EXPECT_EQ(observer_.warnings, std::vector<std::string>{"no slot free"});
}

TEST_F(WorkforceTest, OfMoreThanMayBeThoseWithLeastToDoGo) {
  Make("slurm", 4);
  Jobs(
      {Running("slurm 1_1"), Running("slurm 1_2"), Running("slurm 1_3"), Pending("slurm 1_4", "")});
  core_.sessions = {"slurm 1_1", "slurm 1_2", "slurm 1_3"};
  core_.emptiest = {"slurm 1_3", "slurm 1_1", "slurm 1_2"};
  EXPECT_EQ(workforce_->Resize("", 2, 2), "");
  EXPECT_EQ(Started(), 0u);
  EXPECT_EQ(core_.Told(), std::vector<std::string>{"slurm 1_3 goes: 2 workers are enough"});
  EXPECT_EQ(Started(), 0u);
  EXPECT_TRUE(core_.Told().empty()) << "it is leaving";
  // It is not replaced, and nobody has to answer for it.
  Jobs({Running("slurm 1_1"), Running("slurm 1_2"), Ended("slurm 1_3", "left", false)});
  EXPECT_EQ(Started(), 0u);
  const auto views = workforce_->Look();
  ASSERT_EQ(views.size(), 1u);
  EXPECT_EQ(views[0].alive, 2u);
  EXPECT_EQ(views[0].least, 2u);
  EXPECT_EQ(workforce_->Resize("default", 1, 5), "");
  EXPECT_EQ(Started(), 3u);
}

TEST_F(WorkforceTest, APoolThatHadStoppedTriesAgainOnceItsBoundsAreOthers) {
  Make("slurm", 2);
  Say(Submitted{1, 1, {}});
  Jobs({Running("slurm 1_1")});
  Say(Submitted{2, 0, "no such account"});
  EXPECT_EQ(Started(), 0u);
  EXPECT_EQ(workforce_->Look()[0].stopped, "no such account");
  EXPECT_EQ(workforce_->Resize("", 2, 2), "");
  EXPECT_EQ(Started(), 1u);
  EXPECT_EQ(workforce_->Resize("other", 2, 2), "it has no pool 'other', it has 'default'");
}

}  // namespace
}  // namespace cq
