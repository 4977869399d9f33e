#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "master/core/fleet.h"
#include "master/core/outbox.h"
#include "master/core/recovered.h"
#include "protocol/messages.h"

namespace cq {

/// A connection of a run to its warm pool, for as long as it lasts.
using BorrowerId = uint64_t;
// A loan is one slot of a worker of the pool, lent to a run: there a worker of that run lives,
// until it ends or is ended.

// ---- what the lender asks its loop to do, in this order ----

/// Tell the worker at this connection to start a worker of the borrower's run.
struct Lend {
  ConnectionId to = 0;
  SessionId session = 0;
  LoanId loan = 0;
  BorrowerId borrower = 0;
};
/// Tell a run that this loan is its own: it was so before the connection.
struct Lent {
  BorrowerId borrower = 0;
  LoanId loan = 0;
};
/// Tell a run what has become of its loan. `explained`: no task has to answer for it.
struct LoanEnded {
  BorrowerId borrower = 0;
  LoanId loan = 0;
  std::string reason;
  bool explained = false;
};
/// Tell a run how many slots it may have: of more it is to empty the rest, and let them go.
struct Limit {
  BorrowerId borrower = 0;
  uint64_t slots = 0;
  /// What it has there is of no use to those who are to have it.
  std::set<std::string> spared = {};
};
/// Tell a run to empty this loan, and to let it go: the worker that it is on leaves.
struct Leave {
  BorrowerId borrower = 0;
  LoanId loan = 0;
};
using LenderAction = std::variant<Lend, Lent, LoanEnded, Limit, Leave>;

/// Whom a warm pool lends its slots to. It takes nothing away from a run: it asks a run that has
/// more than its share to let go, when another has less.
class Lender final : public Tenant {
 public:
  static constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

  /// `text` is what workers are told of the pool.
  Lender(RunText text, Epoch epoch, Fleet& fleet, Outbox& out);

  // ---- what runs say ----
  /// A run wants slots from now on; loans that it had before are its own again.
  void OnBorrower(BorrowerId borrower, RunId run, int64_t priority);
  /// That these are its own it has to say itself: the pool was started anew meanwhile. Those that
  /// there are not any more it is told of.
  void OnClaimed(BorrowerId borrower, const std::vector<LoanId>& loans);
  void OnWants(BorrowerId borrower, uint64_t slots);
  /// It wants none on this host.
  void OnAvoids(BorrowerId borrower, const std::string& host);
  /// It wants this loan ended, whatever runs there.
  void OnUnwanted(BorrowerId borrower, LoanId loan);
  /// It has not been heard for long, or is again: a process that is stopped lets nothing go.
  void OnMute(BorrowerId borrower, bool mute);
  /// The connection is gone. What it has stays as long as it lives.
  void OnBorrowerGone(BorrowerId borrower);

  // ---- what workers report ----
  void OnResults(Worker& worker, const Results& results);
  void OnReturned(Worker& worker, const Returned& returned);

  // ---- what the fleet tells ----
  uint64_t OnLost(Time now, Worker& worker, const Loss& loss) override;
  void OnExplained(Time now, const Worker& worker, Blame blame) override;
  void OnForgotten(const Worker& worker) override { unlent_since_.erase(worker.index); }
  void OnHello(Worker& worker, const Hello& hello) override;
  void OnWelcome(const Worker& worker) override { out_.SendTo(worker, text_); }
  void OnMayTake(const Worker&) override {}
  void OnComplete() override {}

  void OnTick(Time now);
  /// Looks at every worker; call about every second.
  void Sweep(Time now);
  /// Lends what is free, and asks back what others have too little of.
  void Flush();
  std::vector<LenderAction> TakeActions() { return std::exchange(actions_, {}); }

  /// Of the workers that are here; and of those where this run may be.
  uint64_t slots() const;
  uint64_t SlotsFor(BorrowerId borrower) const;
  uint64_t loans() const { return loans_.size(); }
  /// How many slots runs want, those included that they have.
  uint64_t wanted() const;
  /// Those of workers whose machines all avoid that want any.
  uint64_t useless() const;
  /// As Employer.
  std::vector<std::string> Idle(Time now, Time time) const;
  std::vector<std::string> Emptiest() const;
  /// Those of a borrower.
  uint64_t LoansOf(BorrowerId borrower) const;
  /// Loans that have ended so far.
  uint64_t ended() const { return ended_; }
  RunId id() const { return text_.run; }

  /// Nothing is lent any more.
  void OnClosing() { closing_ = true; }
  bool closing() const { return closing_; }

  /// Asserts that its books agree. For tests.
  void CheckInvariants() const;

 private:
  struct Loan {
    /// 0: of which run is not known.
    RunId run = 0;
    /// None: that has not come yet (OnClaimed).
    std::optional<WorkerIndex> worker;
    /// Its worker is lost; its scheduler may say why until then.
    struct Lost {
      Time until{};
      std::string reason;
    };
    std::optional<Lost> lost;
    /// It is to end.
    bool unwanted = false;
    /// Its run was told to empty it.
    bool leaves = false;
  };
  struct Borrower {
    RunId run = 0;
    int64_t priority = 0;
    uint64_t wanted = 0;
    uint64_t limit = kNoLimit;
    std::set<std::string> spared;
    bool mute = false;
    std::set<std::string> avoided;
    /// How much it has had lately, in slots: older times count less. And its place among its equals
    /// by that, the first of whom get what does not come out even.
    double had = 0;
    uint64_t rank = 0;
  };
  /// What a borrower has and is to have, while slots are dealt out.
  struct Account {
    BorrowerId id = 0;
    Borrower* borrower = nullptr;
    uint64_t loans = 0;
    uint64_t share = 0;
    /// What it will have once it has let go of what it was asked for.
    uint64_t after() const { return std::min(loans, borrower->limit); }
  };

  std::optional<BorrowerId> BorrowerOf(RunId run) const;
  void Rank(Time now);
  void WithdrawFromMute();
  void EndLoan(std::map<LoanId, Loan>::iterator loan, const std::string& reason, bool explained,
               bool with_worker = false);
  std::vector<Account> Accounts();
  std::vector<uint64_t> FreeSlots() const;
  std::vector<uint64_t> LoansByWorker() const;
  bool Stays(const Loan& loan) const;
  void TellWhoLeaves();
  bool Open(Account& account, std::vector<uint64_t>& free);
  void AskBack(std::vector<Account>& accounts, uint64_t missing,
               const std::set<std::string>& spared);
  void SetLimit(Account& account, uint64_t limit, const std::set<std::string>& spared = {});
  bool Withdraw(const Account& account);
  void Cancel(LoanId id, Loan& loan);

  const RunText text_;
  const Epoch epoch_;
  Fleet& fleet_;
  Outbox& out_;
  std::map<LoanId, Loan> loans_;
  std::map<BorrowerId, Borrower> borrowers_;
  /// Whose loans were that ended with a worker: should it come back, they are theirs again. The
  /// newest of them.
  std::map<LoanId, RunId> given_up_;
  /// Since when workers have lent nothing, as of the last sweep.
  std::map<WorkerIndex, Time> unlent_since_;
  uint64_t next_loan_ = 1;
  Time ranked_{};
  uint64_t ended_ = 0;
  bool closing_ = false;
  std::vector<LenderAction> actions_;
};

}  // namespace cq
