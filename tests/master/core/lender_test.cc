// A warm pool's core by itself: to whom slots are lent, who is asked to let go, and what runs are
// told when a worker of the pool is gone.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "master/core/lender_core.h"

namespace cq {
namespace {

using std::chrono::seconds;

constexpr RunId kPool = 99;

class LenderTest : public ::testing::Test {
 protected:
  void Start(bool explained_late = false, const Recovered& recovered = {}, Epoch epoch = 1) {
    LenderCore::Options options;
    options.epoch = epoch;
    options.text.run = kPool;
    options.text.command = {{"cq"}};
    options.explained_late = explained_late;
    core_ = std::make_unique<LenderCore>(std::move(options), recovered);
    core_->OnTick(now_);
    loans_.clear();
    limits_.clear();
    ended_.clear();
    sessions_.clear();
  }

  // A worker of the pool with so many slots comes, holding these loans.
  void Join(ConnectionId from, uint64_t slots, const std::vector<LoanId>& held = {}) {
    Hello hello;
    hello.run = kPool;
    hello.worker[0] = static_cast<uint8_t>(from);
    hello.host = fmt::format("n{}", from);
    hello.allocation = fmt::format("slurm 1_{}", from);
    hello.slots = slots;
    hello.capacity = 100;
    for (const LoanId loan : held) hello.held.push_back({kPool, loan, loan, HeldState::kRunning});
    core_->OnMessage(now_, from, {0, 1}, hello);
    SessionId offered = 0;
    for (const Action& action : core_->TakeActions()) {
      if (const auto* send = std::get_if<Send>(&action)) offered = send->session;
    }
    core_->OnMessage(now_, from, {offered, 1}, hello);
    sessions_[from] = offered;
    Committed committed;
    for (const Action& action : core_->TakeActions()) {
      const auto* write = std::get_if<Write>(&action);
      if (write == nullptr) continue;
      for (const JournalRecord& record : write->records) committed.Add(record);
    }
    core_->OnCommitted(committed);
    Settle();
  }

  void Borrow(BorrowerId borrower, uint64_t wanted, int64_t priority = 0) {
    lender().OnBorrower(borrower, borrower + 1000, priority);
    lender().OnWants(borrower, wanted);
    Settle();
  }

  void Settle() {
    core_->Flush();
    for (const LenderAction& action : lender().TakeActions()) {
      if (const auto* lend = std::get_if<Lend>(&action)) {
        loans_[lend->borrower].insert(lend->loan);
        at_[lend->loan] = lend->to;
      } else if (const auto* lent = std::get_if<Lent>(&action)) {
        loans_[lent->borrower].insert(lent->loan);
      } else if (const auto* ended = std::get_if<LoanEnded>(&action)) {
        loans_[ended->borrower].erase(ended->loan);
        ended_[ended->loan] = ended->explained ? "explained" : ended->reason;
      } else if (const auto* leave = std::get_if<Leave>(&action)) {
        EXPECT_TRUE(loans_[leave->borrower].contains(leave->loan));
        leaving_.push_back(leave->loan);
      } else {
        const auto& limit = std::get<Limit>(action);
        limits_[limit.borrower] = limit.slots;
        spared_[limit.borrower] = limit.spared;
      }
    }
    for (const Action& action : core_->TakeActions()) {
      const auto* send = std::get_if<Send>(&action);
      const auto* cancel = send == nullptr ? nullptr : std::get_if<Cancel>(&send->message);
      if (cancel != nullptr) cancelled_.insert(cancel->attempts[0].attempt);
    }
    core_->CheckInvariants();
  }

  // The worker on which it is says that the loan has ended.
  void End(LoanId loan, Outcome outcome = Outcome::kOk) {
    TaskResult result;
    result.task = loan;
    result.attempt = loan;
    result.outcome = outcome;
    if (outcome == Outcome::kError) result.details.Edit().error = "ended with status 9";
    const ConnectionId at = at_.at(loan);
    core_->OnMessage(now_, at, {sessions_[at], ++sent_}, Results{kPool, {}, {result}});
    Settle();
  }
  // A run lets go of what is beyond its limit.
  void LetGo(BorrowerId borrower) {
    while (limits_.contains(borrower) && loans_[borrower].size() > limits_[borrower]) {
      End(*loans_[borrower].begin());
    }
  }

  void Pass(Time time) {
    for (const Time until = now_ + time; now_ < until;) {
      now_ = std::min(now_ + core_->fleet().tick(), until);
      core_->OnTick(now_);
      Settle();
    }
  }

  size_t Has(BorrowerId borrower) { return loans_[borrower].size(); }
  Lender& lender() { return core_->lender(); }

  std::unique_ptr<LenderCore> core_;
  Time now_ = seconds(1);
  uint64_t sent_ = 10;
  std::map<ConnectionId, SessionId> sessions_;
  std::map<BorrowerId, std::set<LoanId>> loans_;
  std::map<LoanId, ConnectionId> at_;
  std::map<BorrowerId, uint64_t> limits_;
  std::map<BorrowerId, std::set<std::string>> spared_;
  std::map<LoanId, std::string> ended_;
  std::set<LoanId> cancelled_;
  std::vector<LoanId> leaving_;
};

TEST_F(LenderTest, OneRunGetsWhatItWantsAndNoMoreThanThereIs) {
  Start();
  Join(1, 4);
  Borrow(1, 3);
  EXPECT_EQ(Has(1), 3u);
  lender().OnWants(1, 10);
  Settle();
  EXPECT_EQ(Has(1), 4u);
  Join(2, 4);
  EXPECT_EQ(Has(1), 8u);
  EXPECT_TRUE(limits_.empty());
}

TEST_F(LenderTest, AnotherRunIsServedFromWhatTheFirstIsAskedToLetGo) {
  Start();
  Join(1, 4);
  Borrow(1, 10);
  Borrow(2, 10);
  EXPECT_EQ(Has(1), 4u);
  EXPECT_EQ(Has(2), 0u);
  EXPECT_EQ(limits_[1], 2u);
  LetGo(1);
  EXPECT_EQ(Has(1), 2u);
  EXPECT_EQ(Has(2), 2u);
  EXPECT_EQ(limits_[1], Lender::kNoLimit);
  // It goes, and the other has all again.
  lender().OnWants(2, 0);
  for (const LoanId loan : std::set(loans_[2])) End(loan);
  EXPECT_EQ(Has(1), 4u);
}

TEST_F(LenderTest, NothingIsAskedBackWhileSlotsAreFree) {
  Start();
  Join(1, 8);
  Borrow(1, 6);
  Borrow(2, 2);
  EXPECT_EQ(Has(1), 6u);
  EXPECT_EQ(Has(2), 2u);
  EXPECT_TRUE(limits_.empty());
}

TEST_F(LenderTest, WhatIsNotNeededAnyMoreMayBeKept) {
  Start();
  Join(1, 4);
  Borrow(1, 10);
  Borrow(2, 10);
  EXPECT_EQ(limits_[1], 2u);
  lender().OnBorrowerGone(2);
  Settle();
  EXPECT_EQ(limits_[1], Lender::kNoLimit);
  EXPECT_EQ(Has(1), 4u);
}

// As one whose tasks push the next one wants it.
TEST_F(LenderTest, WhoWantsASlotNowAndThenDoesNotHaveItBackAtOnce) {
  Start();
  Join(1, 1);
  Borrow(1, 1);
  Borrow(2, 1);
  EXPECT_EQ(Has(1), 1u);
  lender().OnWants(1, 0);
  Settle();
  lender().OnWants(1, 1);
  Settle();
  LetGo(1);
  EXPECT_EQ(Has(1), 0u);
  EXPECT_EQ(Has(2), 1u);
}

TEST_F(LenderTest, AHigherPriorityGetsAllThatItWants) {
  Start();
  Join(1, 4);
  Borrow(1, 10);
  Borrow(2, 3, 7);
  EXPECT_EQ(limits_[1], 1u);
  LetGo(1);
  EXPECT_EQ(Has(1), 1u);
  EXPECT_EQ(Has(2), 3u);
}

// It is made smaller: whose loans are on the worker that leaves is told once, and nothing else is
// taken for what will be free.
TEST_F(LenderTest, AWorkerThatIsToLeaveIsEmptiedByTheRunsThatAreOnIt) {
  Start();
  Join(1, 2);
  Join(2, 2);
  Borrow(1, 4);
  ASSERT_EQ(Has(1), 4u);
  EXPECT_EQ(core_->Emptiest(), (std::vector<std::string>{"slurm 1_1", "slurm 1_2"}));
  core_->OnDismissed("slurm 1_2", "1 workers are enough");
  Pass(seconds(2));
  ASSERT_EQ(leaving_.size(), 2u);
  for (const LoanId loan : leaving_) EXPECT_EQ(at_.at(loan), 2u);
  EXPECT_EQ(core_->Emptiest(), std::vector<std::string>{"slurm 1_1"});
  EXPECT_EQ(lender().slots(), 2u);
  // Of the two slots that stay, one each.
  Borrow(2, 4);
  EXPECT_EQ(limits_[1], 1u);
  for (const LoanId loan : leaving_) End(loan);
  EXPECT_EQ(Has(1), 2u);
  EXPECT_EQ(Has(2), 0u);
  End(*loans_[1].begin());
  EXPECT_EQ(Has(2), 1u);
  EXPECT_EQ(at_.at(*loans_[2].begin()), 1u);
}

TEST_F(LenderTest, ARunThatComesBackIsToldAgainWhatIsToLeave) {
  Start();
  Join(1, 1);
  Borrow(1, 1);
  core_->OnDismissed("slurm 1_1", "idle");
  Settle();
  EXPECT_EQ(leaving_.size(), 1u);
  lender().OnBorrowerGone(1);
  Pass(seconds(2));
  EXPECT_EQ(leaving_.size(), 1u);
  lender().OnBorrower(2, 1001, 0);
  Settle();
  EXPECT_EQ(leaving_.size(), 2u);
}

TEST_F(LenderTest, WhatAStoppedRunHasOnAWorkerThatIsToLeaveIsEnded) {
  Start();
  Join(1, 1);
  Borrow(1, 1);
  const LoanId loan = *loans_[1].begin();
  core_->OnDismissed("slurm 1_1", "idle");
  Settle();
  EXPECT_TRUE(cancelled_.empty());
  lender().OnMute(1, true);
  Settle();
  EXPECT_EQ(cancelled_, std::set<LoanId>{loan});
}

TEST_F(LenderTest, WhoLendsNothingForLongIsIdle) {
  Start();
  Join(1, 1);
  Join(2, 1);
  Borrow(1, 1);
  ASSERT_EQ(at_.at(*loans_[1].begin()), 1u);
  Pass(seconds(5));
  EXPECT_TRUE(core_->Idle(now_, seconds(6)).empty());
  EXPECT_EQ(core_->Idle(now_, seconds(4)), std::vector<std::string>{"slurm 1_2"});
  // It is lent since, though no tick has seen that.
  lender().OnWants(1, 2);
  Settle();
  EXPECT_TRUE(core_->Idle(now_, seconds(4)).empty());
  for (const LoanId loan : std::set(loans_[1])) {
    lender().OnWants(1, 0);
    End(loan);
  }
  Pass(seconds(3));
  EXPECT_TRUE(core_->Idle(now_, seconds(4)).empty());
  EXPECT_EQ(core_->Idle(now_, seconds(2)).size(), 2u);
}

// Another worker is to be started for who avoids all that there are.
TEST_F(LenderTest, WhatNobodyWhoWantsSlotsMayUseIsNoSupply) {
  Start();
  Join(1, 2);
  Borrow(1, 1);
  EXPECT_EQ(core_->demand(0).slots, 1u);
  lender().OnAvoids(1, "n1");
  EXPECT_EQ(core_->demand(0).slots, 3u);
  Borrow(2, 1);
  EXPECT_EQ(core_->demand(0).slots, 2u) << "the second may use them";
  lender().OnWants(1, 0);
  lender().OnWants(2, 0);
  EXPECT_EQ(core_->demand(0).slots, 0u);
}

TEST_F(LenderTest, ARunAvoidsAHost) {
  Start();
  Join(1, 2);
  Join(2, 2);
  lender().OnBorrower(1, 1001, 0);
  lender().OnAvoids(1, "n1");
  lender().OnWants(1, 10);
  Settle();
  ASSERT_EQ(Has(1), 2u);
  for (const LoanId loan : loans_[1]) EXPECT_EQ(at_[loan], 2u);
  // What it would have elsewhere it has no claim to.
  lender().OnAvoids(1, "n2");
  Borrow(2, 4);
  EXPECT_EQ(Has(2), 2u);
  EXPECT_EQ(limits_[1], 0u);
}

TEST_F(LenderTest, RunsAreSpreadOverMachines) {
  Start();
  Join(1, 4);
  Join(2, 4);
  Borrow(1, 4);
  std::map<ConnectionId, int> on;
  for (const LoanId loan : loans_[1]) ++on[at_[loan]];
  EXPECT_EQ(on[1], 2);
  EXPECT_EQ(on[2], 2);
}

TEST_F(LenderTest, ALoanThatEndsByItselfIsNotExplainedAndReplaced) {
  Start();
  Join(1, 1);
  Borrow(1, 1);
  const LoanId first = *loans_[1].begin();
  End(first, Outcome::kError);
  EXPECT_EQ(ended_[first], "ended with status 9");
  EXPECT_EQ(Has(1), 1u);
  EXPECT_FALSE(loans_[1].contains(first));
}

TEST_F(LenderTest, ALostWorkersLoansEndAtOnceWhereNobodyExplains) {
  Start(false);
  Join(1, 2);
  Borrow(1, 2);
  const auto before = loans_[1];
  core_->OnAllocationEnded(now_, "slurm 1_1", "killed", Blame::kFinal);
  Settle();
  EXPECT_EQ(Has(1), 0u);
  for (const LoanId loan : before) EXPECT_EQ(ended_[loan], "killed");
}

TEST_F(LenderTest, ALostWorkersLoansWaitForTheirScheduler) {
  Start(true);
  Join(1, 1);
  Join(2, 1);
  Borrow(1, 1);
  Borrow(2, 1);
  Pass(seconds(31));
  EXPECT_TRUE(ended_.empty());
  core_->OnAllocationEnded(now_, "slurm 1_1", "preempted", Blame::kNobody);
  Settle();
  ASSERT_EQ(ended_.size(), 1u);
  EXPECT_EQ(ended_.begin()->second, "explained");
  Pass(seconds(130));
  ASSERT_EQ(ended_.size(), 2u);
  EXPECT_NE(ended_.rbegin()->second, "explained");
}

TEST_F(LenderTest, AStoppedRunIsTakenItsSlotsFromAndNoOther) {
  Start();
  Join(1, 4);
  Borrow(1, 10);
  lender().OnMute(1, true);
  Settle();
  EXPECT_TRUE(cancelled_.empty());
  Borrow(2, 2);
  EXPECT_EQ(cancelled_.size(), 2u);
  Settle();
  EXPECT_EQ(cancelled_.size(), 2u);
  for (const LoanId loan : std::set(cancelled_)) End(loan, Outcome::kCancelled);
  EXPECT_EQ(Has(2), 2u);
  EXPECT_EQ(Has(1), 2u);
  for (const LoanId loan : cancelled_) EXPECT_EQ(ended_[loan], "explained");
}

TEST_F(LenderTest, WhatAStoppedRunWasAskedForBeforeIsTakenToo) {
  Start();
  Join(1, 4);
  Borrow(1, 10);
  Borrow(2, 2);
  EXPECT_EQ(limits_[1], 2u);
  lender().OnMute(1, true);
  Settle();
  EXPECT_EQ(cancelled_.size(), 2u);
  EXPECT_EQ(limits_[1], Lender::kNoLimit);
}

TEST_F(LenderTest, WhatARunCannotUseIsTheOthers) {
  Start();
  Join(1, 10);
  Join(2, 2);
  lender().OnBorrower(2, 1002, 0);
  lender().OnAvoids(2, "n1");
  lender().OnWants(2, 100);
  Borrow(1, 100);
  EXPECT_EQ(Has(2), 2u);
  EXPECT_EQ(Has(1), 10u);
  EXPECT_FALSE(limits_.contains(1));
}

TEST_F(LenderTest, ARunIsAskedForWhatTheOtherCanUse) {
  Start();
  Join(1, 2);
  Join(2, 2);
  Borrow(1, 100);
  EXPECT_EQ(Has(1), 4u);
  lender().OnBorrower(2, 1002, 0);
  lender().OnAvoids(2, "n1");
  lender().OnWants(2, 100);
  Settle();
  EXPECT_EQ(limits_[1], 2u);
  EXPECT_EQ(spared_[1], std::set<std::string>{"n1"});
}

TEST_F(LenderTest, ARunMayEndALoan) {
  Start();
  Join(1, 2);
  Borrow(1, 2);
  const LoanId loan = *loans_[1].begin();
  lender().OnUnwanted(2, loan);
  Settle();
  EXPECT_TRUE(cancelled_.empty());
  lender().OnUnwanted(1, loan);
  Settle();
  EXPECT_EQ(cancelled_, std::set{loan});
}

TEST_F(LenderTest, TheSlotsOfARunThatDiedAreTakenUntilItsWorkersLeave) {
  Start();
  Join(1, 2);
  Borrow(1, 1);
  const LoanId left = *loans_[1].begin();
  lender().OnBorrowerGone(1);
  Borrow(2, 2);
  EXPECT_EQ(Has(2), 1u);
  End(left);
  EXPECT_EQ(Has(2), 2u);
}

TEST_F(LenderTest, ARunThatComesBackHasItsLoansAgain) {
  Start();
  Join(1, 2);
  Borrow(1, 2);
  const auto before = loans_[1];
  lender().OnBorrowerGone(1);
  Settle();
  loans_.clear();
  lender().OnBorrower(5, 1001, 0);
  Settle();
  EXPECT_EQ(loans_[5], before);
}

TEST_F(LenderTest, AnotherMasterOfThePoolFindsItsLoans) {
  Start();
  Join(1, 3);
  Borrow(1, 2);
  const auto before = loans_[1];
  KnownWorker known;
  known.number = 1;
  known.id[0] = 1;
  known.allocation = "slurm 1_1";
  Recovered recovered;
  recovered.workers = {known};
  recovered.last_worker = 1;
  Start(true, recovered, 2);
  // The run is there first, and says what it had; one of these ended meanwhile.
  lender().OnBorrower(1, 1001, 0);
  lender().OnClaimed(1, {before.begin(), before.end()});
  lender().OnWants(1, 2);
  Settle();
  EXPECT_TRUE(ended_.empty());
  Join(1, 3, {*before.begin()});
  Pass(seconds(1));
  EXPECT_EQ(ended_, (std::map<LoanId, std::string>{{*before.rbegin(), "explained"}}));
  EXPECT_EQ(lender().loans(), 2u);
  // What nobody claims is nobody's to be shared.
  EXPECT_EQ(lender().LoansOf(1), 2u);
}

TEST_F(LenderTest, WhatNeverReachedItsWorkerHasEnded) {
  Start();
  Join(1, 2);
  Borrow(1, 2);
  const auto before = loans_[1];
  Join(1, 2, {*before.begin()});
  EXPECT_EQ(ended_[*before.rbegin()], "explained");
  EXPECT_EQ(Has(1), 2u);
}

TEST_F(LenderTest, WhatAWorkerHadThatComesBackIsItsRunsAgain) {
  Start(true);
  Join(1, 1);
  Borrow(1, 1);
  const LoanId loan = *loans_[1].begin();
  Pass(seconds(31) + std::chrono::minutes(2));
  EXPECT_EQ(Has(1), 0u);
  Join(1, 1, {loan});
  EXPECT_EQ(loans_[1], std::set{loan});
  EXPECT_EQ(lender().LoansOf(1), 1u);
}

TEST_F(LenderTest, WhatIsNotKnownYetIsNotEndedByAnothersNews) {
  KnownWorker first;
  first.number = 1;
  first.id[0] = 1;
  first.allocation = "slurm 1_1";
  KnownWorker second = first;
  second.number = 2;
  second.id[0] = 2;
  second.allocation = "slurm 1_2";
  first.watched = second.watched = true;
  Recovered recovered;
  recovered.workers = {first, second};
  recovered.last_worker = 2;
  Start(true, recovered, 2);
  const LoanId loan = MakeSerial(1, 7);
  lender().OnBorrower(1, 1001, 0);
  lender().OnClaimed(1, {loan});
  lender().OnWants(1, 1);
  core_->OnAllocationEnded(now_, "slurm 1_1", "gone", Blame::kNobody);
  core_->OnAllocationEnded(now_, "slurm 1_1", "gone", Blame::kNobody);
  Settle();
  EXPECT_TRUE(ended_.empty());
  Join(2, 1, {loan});
  Pass(seconds(1));
  EXPECT_TRUE(ended_.empty());
  EXPECT_EQ(lender().LoansOf(1), 1u);
}

TEST_F(LenderTest, WhatDoesNotComeOutEvenGoesRound) {
  Start();
  Join(1, 2);
  std::map<BorrowerId, int> had;
  for (const BorrowerId run : {1, 2, 3}) Borrow(run, 100);
  for (int second = 0; second < 360; ++second) {
    Pass(seconds(1));
    for (const BorrowerId run : {1, 2, 3}) {
      LetGo(run);
      had[run] += static_cast<int>(Has(run));
    }
  }
  for (const BorrowerId run : {1, 2, 3}) EXPECT_NEAR(had[run], 240, 60) << run;
}

TEST_F(LenderTest, APoolThatClosesTakesFromAStoppedRun) {
  Start();
  Join(1, 2);
  Borrow(1, 2);
  lender().OnClosing();
  Settle();
  EXPECT_TRUE(cancelled_.empty());
  lender().OnMute(1, true);
  Settle();
  EXPECT_EQ(cancelled_.size(), 2u);
}

TEST_F(LenderTest, APoolThatClosesLendsNothingMore) {
  Start();
  Join(1, 2);
  lender().OnClosing();
  Borrow(1, 2);
  EXPECT_EQ(Has(1), 0u);
}

}  // namespace
}  // namespace cq
