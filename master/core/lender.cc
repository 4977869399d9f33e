#include "master/core/lender.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/assert.h"
#include "master/core/shares.h"

namespace cq {
namespace {

/// For whom nobody can say how long.
constexpr Time kForever = Time::max();
/// How far back what runs have had counts when slots do not come out even, and how often it is
/// looked at: a slot that changes hands costs its next run the start of a worker and its program.
constexpr Time kMemory = std::chrono::minutes(2);
constexpr size_t kGivenUpMost = 10'000;
constexpr Time kRankEvery = std::chrono::seconds(30);

}  // namespace

Lender::Lender(RunText text, Epoch epoch, Fleet& fleet, Outbox& out)
    : text_(std::move(text)), epoch_(epoch), fleet_(fleet), out_(out) {}

// ---- what runs say ----

void Lender::OnBorrower(BorrowerId borrower, RunId run, int64_t priority) {
  // A connection that is not known to be gone yet.
  std::erase_if(borrowers_, [run](const auto& entry) { return entry.second.run == run; });
  Borrower& made = borrowers_[borrower];
  made.run = run;
  made.priority = priority;
  for (auto& [id, loan] : loans_) {
    if (loan.run == run && !loan.lost && !loan.unwanted) actions_.emplace_back(Lent{borrower, id});
    if (loan.run == run) loan.leaves = false;
  }
}

void Lender::OnClaimed(BorrowerId borrower, const std::vector<LoanId>& loans) {
  const auto claims = borrowers_.find(borrower);
  if (claims == borrowers_.end()) return;
  for (const LoanId id : loans) {
    const auto loan = loans_.find(id);
    if (loan == loans_.end() && fleet_.awaiting() == 0) {
      actions_.emplace_back(
          LoanEnded{borrower, id, "the pool has no worker with it any more", true});
    } else if (loan == loans_.end()) {
      // Its worker may come yet: until then it is lost, and nobody knows why.
      Loan& awaited = loans_[id];
      awaited.run = claims->second.run;
      awaited.lost = Loan::Lost{kForever, "the pool was started anew"};
    } else if (loan->second.run == 0) {
      loan->second.run = claims->second.run;
    }
  }
}

void Lender::OnWants(BorrowerId borrower, uint64_t slots) {
  const auto found = borrowers_.find(borrower);
  if (found != borrowers_.end()) found->second.wanted = slots;
}

void Lender::OnAvoids(BorrowerId borrower, const std::string& host) {
  const auto found = borrowers_.find(borrower);
  if (found != borrowers_.end()) found->second.avoided.insert(host);
}

void Lender::OnUnwanted(BorrowerId borrower, LoanId loan) {
  const auto from = borrowers_.find(borrower);
  const auto found = loans_.find(loan);
  if (from == borrowers_.end() || found == loans_.end()) return;
  if (found->second.run == from->second.run) Cancel(loan, found->second);
}

void Lender::OnMute(BorrowerId borrower, bool mute) {
  const auto found = borrowers_.find(borrower);
  if (found == borrowers_.end()) return;
  found->second.mute = mute;
  // What it was asked for does not come; nor is it asked for when it is there again.
  if (std::exchange(found->second.limit, kNoLimit) != kNoLimit) {
    actions_.emplace_back(Limit{borrower, kNoLimit});
  }
}

void Lender::OnBorrowerGone(BorrowerId borrower) { borrowers_.erase(borrower); }

std::optional<BorrowerId> Lender::BorrowerOf(RunId run) const {
  const auto found = std::find_if(borrowers_.begin(), borrowers_.end(),
                                  [run](const auto& entry) { return entry.second.run == run; });
  if (run == 0 || found == borrowers_.end()) return std::nullopt;
  return found->first;
}

// ---- what workers report ----

void Lender::OnResults(Worker& worker, const Results& results) {
  Ack ack{text_.run, {}};
  for (const TaskResult& result : results.results) {
    ack.attempts.push_back(result);
    given_up_.erase(result.attempt);
    const auto loan = loans_.find(result.attempt);
    if (loan == loans_.end()) continue;
    if (result.outcome == Outcome::kOk) {
      EndLoan(loan, "its worker left", true);
    } else if (result.outcome == Outcome::kCancelled) {
      EndLoan(loan, "it was ended", true);
    } else {
      EndLoan(loan, result.details->error, false);
    }
  }
  if (!ack.attempts.empty() && worker.here()) out_.SendTo(worker, std::move(ack));
}

void Lender::OnReturned(Worker& worker, const Returned& returned) {
  for (const ReturnedAttempt& attempt : returned.attempts) {
    const auto loan = loans_.find(attempt.attempt);
    if (loan == loans_.end()) continue;
    EndLoan(loan, fmt::format("{} was told to go", worker.allocation), true);
  }
}

// ---- what the fleet tells ----

void Lender::OnHello(Worker& worker, const Hello& hello) {
  std::set<LoanId> held;
  for (const Held& one : hello.held) {
    if (one.run != text_.run) continue;
    held.insert(one.attempt);
    // What is over takes no slot: its report comes again, unless it is cancelled.
    const bool over = one.state == HeldState::kFinished;
    const auto known = loans_.find(one.attempt);
    if (over && (known == loans_.end() || known->second.lost)) continue;
    Loan& loan = loans_[one.attempt];
    if (const auto before = given_up_.find(one.attempt); before != given_up_.end()) {
      loan.run = before->second;
      given_up_.erase(before);
      if (const auto borrower = BorrowerOf(loan.run)) {
        actions_.emplace_back(Lent{*borrower, one.attempt});
      }
    }
    loan.worker = worker.index;
    loan.lost.reset();
    if (loan.unwanted && !over) Cancel(one.attempt, loan);
  }
  for (auto at = loans_.begin(); at != loans_.end();) {
    const auto loan = at++;
    const bool here = loan->second.worker == worker.index && !loan->second.lost;
    if (here && !held.contains(loan->first)) EndLoan(loan, "it never began", true);
  }
}

uint64_t Lender::OnLost(Time now, Worker& worker, const Loss& loss) {
  for (auto at = loans_.begin(); at != loans_.end();) {
    const auto loan = at++;
    if (loan->second.worker != worker.index || loan->second.lost) continue;
    if (loss.blame == Blame::kProvisional && !worker.leaving) {
      loan->second.lost = Loan::Lost{now + kExplainWithin, loss.reason};
    } else {
      EndLoan(loan, loss.reason, loss.blame == Blame::kNobody || worker.leaving, true);
    }
  }
  return 0;
}

void Lender::OnExplained(Time, const Worker& worker, Blame blame) {
  for (auto at = loans_.begin(); at != loans_.end();) {
    const auto loan = at++;
    if (loan->second.worker != worker.index || !loan->second.lost) continue;
    EndLoan(loan, loan->second.lost->reason, blame == Blame::kNobody, true);
  }
}

void Lender::OnTick(Time now) {
  if (now - ranked_ >= kRankEvery) Rank(now);
  for (auto at = loans_.begin(); at != loans_.end();) {
    const auto loan = at++;
    const auto& lost = loan->second.lost;
    if (!lost) continue;
    const bool unknown = lost->until == kForever;
    // All workers of the earlier master that live have come.
    if (unknown ? fleet_.awaiting() == 0 : now >= lost->until) {
      EndLoan(loan, lost->reason, unknown, true);
    }
  }
}

void Lender::Sweep(Time now) {
  const std::vector<uint64_t> lent = LoansByWorker();
  for (const Worker& worker : fleet_.workers().all()) {
    if (worker.gone() || lent[worker.index] > 0) {
      unlent_since_.erase(worker.index);
    } else {
      unlent_since_.try_emplace(worker.index, now);
    }
  }
}

void Lender::EndLoan(std::map<LoanId, Loan>::iterator loan, const std::string& reason,
                     bool explained, bool with_worker) {
  const auto& [id, ended] = *loan;
  if (const auto borrower = BorrowerOf(ended.run)) {
    actions_.emplace_back(LoanEnded{*borrower, id, reason, explained});
  }
  if (with_worker && ended.run != 0) given_up_[id] = ended.run;
  if (given_up_.size() > kGivenUpMost) given_up_.erase(given_up_.begin());
  ++ended_;
  loans_.erase(loan);
}

// ---- shares ----

uint64_t Lender::slots() const {
  uint64_t slots = 0;
  for (const Worker& worker : fleet_.workers().all()) {
    if (worker.Takes()) slots += worker.slots;
  }
  return slots;
}

uint64_t Lender::SlotsFor(BorrowerId borrower) const {
  const auto found = borrowers_.find(borrower);
  uint64_t slots = 0;
  for (const Worker& worker : fleet_.workers().all()) {
    const bool may = found != borrowers_.end() && !found->second.avoided.contains(worker.host);
    if (worker.Takes() && may) slots += worker.slots;
  }
  return slots;
}

uint64_t Lender::LoansOf(BorrowerId borrower) const {
  const auto found = borrowers_.find(borrower);
  if (found == borrowers_.end()) return 0;
  return static_cast<uint64_t>(std::count_if(loans_.begin(), loans_.end(), [&](const auto& entry) {
    return entry.second.run == found->second.run && !entry.second.lost;
  }));
}

uint64_t Lender::wanted() const {
  uint64_t slots = 0;
  for (const auto& [id, borrower] : borrowers_) slots += borrower.wanted;
  return slots;
}

uint64_t Lender::useless() const {
  uint64_t slots = 0;
  for (const Worker& worker : fleet_.workers().all()) {
    const bool avoided = std::all_of(borrowers_.begin(), borrowers_.end(), [&](const auto& entry) {
      return entry.second.wanted == 0 || entry.second.avoided.contains(worker.host);
    });
    if (worker.Takes() && avoided) slots += worker.slots;
  }
  return slots;
}

// A loan that is lost takes no slot: its worker is gone.
std::vector<uint64_t> Lender::LoansByWorker() const {
  std::vector<uint64_t> loans(fleet_.workers().all().size());
  for (const auto& [id, loan] : loans_) {
    if (!loan.lost) ++loans[*loan.worker];
  }
  return loans;
}

// By worker.
std::vector<uint64_t> Lender::FreeSlots() const {
  std::vector<uint64_t> free;
  const std::vector<uint64_t> lent = LoansByWorker();
  for (const Worker& worker : fleet_.workers().all()) {
    const uint64_t slots = worker.Takes() ? worker.slots : 0;
    free.push_back(slots - std::min(slots, lent[worker.index]));
  }
  return free;
}

// What is on a worker that leaves is about to end, and its slot is nobody's afterwards.
bool Lender::Stays(const Loan& loan) const {
  return !loan.lost && fleet_.workers().all()[*loan.worker].stays();
}

void Lender::TellWhoLeaves() {
  for (auto& [id, loan] : loans_) {
    if (loan.lost || loan.unwanted) continue;
    if (fleet_.workers()[*loan.worker].let_go.empty()) continue;
    const auto borrower = BorrowerOf(loan.run);
    if (!borrower) continue;
    if (borrowers_.at(*borrower).mute) {
      Cancel(id, loan);
    } else if (!std::exchange(loan.leaves, true)) {
      actions_.emplace_back(Leave{*borrower, id});
    }
  }
}

std::vector<std::string> Lender::Idle(Time now, Time time) const {
  std::vector<std::string> idle;
  const std::vector<uint64_t> lent = LoansByWorker();
  for (const auto& [index, since] : unlent_since_) {
    const Worker& worker = fleet_.workers().all()[index];
    const bool unlent = worker.here() && worker.stays() && lent[index] == 0;
    if (unlent && now - since >= time) idle.push_back(worker.allocation);
  }
  return idle;
}

std::vector<std::string> Lender::Emptiest() const {
  std::vector<const Worker*> workers;
  const std::vector<uint64_t> lent = LoansByWorker();
  for (const Worker& worker : fleet_.workers().all()) {
    if (worker.here() && worker.stays()) workers.push_back(&worker);
  }
  std::stable_sort(workers.begin(), workers.end(), [&](const Worker* a, const Worker* b) {
    return lent[a->index] < lent[b->index];
  });
  std::vector<std::string> allocations;
  allocations.reserve(workers.size());
  for (const Worker* worker : workers) allocations.push_back(worker->allocation);
  return allocations;
}

std::vector<Lender::Account> Lender::Accounts() {
  std::vector<Account> accounts;
  std::map<RunId, size_t> by_run;
  for (auto& [id, borrower] : borrowers_) {
    accounts.push_back({id, &borrower, 0, 0});
  }
  std::stable_sort(accounts.begin(), accounts.end(), [](const Account& a, const Account& b) {
    return a.borrower->rank < b.borrower->rank;
  });
  for (size_t i = 0; i < accounts.size(); ++i) by_run[accounts[i].borrower->run] = i;
  // What others have, who are not there, is not to be shared.
  uint64_t taken = 0;
  for (const auto& [id, loan] : loans_) {
    if (!Stays(loan)) continue;
    const auto found = by_run.find(loan.run);
    if (found == by_run.end()) {
      ++taken;
    } else if (!loan.unwanted) {
      ++accounts[found->second].loans;
    }
  }
  std::vector<Claim> claims;
  claims.reserve(accounts.size());
  for (const Account& account : accounts) {
    const Borrower& borrower = *account.borrower;
    const uint64_t most = borrower.mute ? 0 : SlotsFor(account.id);
    claims.push_back({borrower.priority, std::min(borrower.wanted, most)});
  }
  const uint64_t all = slots();
  const auto shares = Shares(all - std::min(all, taken), claims);
  for (size_t i = 0; i < accounts.size(); ++i) accounts[i].share = shares[i];
  return accounts;
}

void Lender::Flush() {
  if (closing_) WithdrawFromMute();
  if (borrowers_.empty() || closing_) return;
  TellWhoLeaves();
  std::vector<Account> accounts = Accounts();
  std::vector<uint64_t> free = FreeSlots();
  // The next one goes to whom most of its share is missing; of equals, to the one of the higher
  // priority.
  const auto missing = [](const Account& account) {
    return account.share - std::min(account.share, account.loans);
  };
  std::vector<Account*> poor;
  for (Account& account : accounts) {
    if (missing(account) > 0) poor.push_back(&account);
  }
  uint64_t wanting = 0;
  std::optional<std::set<std::string>> spared;
  while (!poor.empty()) {
    const auto next = std::max_element(poor.begin(), poor.end(), [&](Account* a, Account* b) {
      return std::pair(a->borrower->priority, missing(*a)) <
             std::pair(b->borrower->priority, missing(*b));
    });
    const bool opened = Open(**next, free);
    if (opened && missing(**next) > 0) continue;
    if (missing(**next) > 0) {
      wanting += missing(**next);
      const auto& avoided = (*next)->borrower->avoided;
      if (!spared) spared = avoided;
      std::erase_if(*spared, [&](const std::string& host) { return !avoided.contains(host); });
    }
    poor.erase(next);
  }
  // What nobody who has too little can use is the others'.
  for (Account& account : accounts) {
    const Borrower& borrower = *account.borrower;
    while (!borrower.mute && account.after() == account.loans && account.loans < borrower.wanted &&
           Open(account, free)) {
    }
  }
  AskBack(accounts, wanting, spared.value_or(std::set<std::string>()));
}

// On the worker with most room, so that runs are spread, and a machine that dies takes as little
// as can be.
bool Lender::Open(Account& account, std::vector<uint64_t>& free) {
  const Worker* best = nullptr;
  for (const Worker& worker : fleet_.workers().all()) {
    if (free[worker.index] == 0 || account.borrower->avoided.contains(worker.host)) continue;
    if (best == nullptr || free[worker.index] > free[best->index]) best = &worker;
  }
  if (best == nullptr) return false;
  CQ_ASSERT(best->here() != nullptr, "worker {} is lent and not here", best->number);
  --free[best->index];
  unlent_since_.erase(best->index);
  ++account.loans;
  const LoanId id = MakeSerial(epoch_, next_loan_++);
  Loan& loan = loans_[id];
  loan.run = account.borrower->run;
  loan.worker = best->index;
  actions_.emplace_back(Lend{best->here()->connection, best->session, id, account.id});
  return true;
}

// So many are asked back in all, from those that have most beyond their share; of those that were
// asked for before and are not needed any more, runs may keep what they still have.
void Lender::AskBack(std::vector<Account>& accounts, uint64_t missing,
                     const std::set<std::string>& spared) {
  auto asked =
      static_cast<uint64_t>(std::count_if(loans_.begin(), loans_.end(), [this](const auto& entry) {
        return entry.second.unwanted && Stays(entry.second);
      }));
  for (const Account& account : accounts) asked += account.loans - account.after();
  for (Account& account : accounts) {
    if (asked <= missing) break;
    if (account.after() == account.loans) continue;
    const uint64_t kept = std::min(asked - missing, account.loans - account.after());
    asked -= kept;
    SetLimit(account, account.after() + kept);
  }
  while (asked < missing) {
    const auto rich =
        std::max_element(accounts.begin(), accounts.end(), [](const Account& a, const Account& b) {
          const auto over = [](const Account& account) {
            return account.after() - std::min(account.after(), account.share);
          };
          return over(a) < over(b);
        });
    if (rich == accounts.end() || rich->after() <= rich->share) break;
    if (rich->borrower->mute) {
      if (!Withdraw(*rich)) break;
      --rich->loans;
    } else {
      SetLimit(*rich, rich->after() - 1, spared);
      // It is the others' turn: whoever wants a slot now and then would have it back at once.
      for (const auto& [id, other] : borrowers_) {
        rich->borrower->rank = std::max(rich->borrower->rank, other.rank + 1);
      }
    }
    ++asked;
  }
  for (Account& account : accounts) {
    // It has let go of what it was asked for.
    if (account.loans <= account.borrower->limit) SetLimit(account, kNoLimit);
  }
}

void Lender::SetLimit(Account& account, uint64_t limit, const std::set<std::string>& spared) {
  if (limit >= account.loans) limit = kNoLimit;
  const bool same = account.borrower->limit == limit && account.borrower->spared == spared;
  if (same) return;
  account.borrower->limit = limit;
  account.borrower->spared = spared;
  actions_.emplace_back(Limit{account.id, limit, spared});
}

// Of a run that is stopped: what runs there is killed, and runs again.
bool Lender::Withdraw(const Account& account) {
  for (auto& [id, loan] : loans_) {
    if (loan.run != account.borrower->run || loan.lost || loan.unwanted) continue;
    Cancel(id, loan);
    return true;
  }
  return false;
}

// It would keep the pool from its end.
void Lender::WithdrawFromMute() {
  for (const auto& [id, borrower] : borrowers_) {
    if (!borrower.mute) continue;
    for (auto& [loan_id, loan] : loans_) {
      if (loan.run == borrower.run && !loan.lost && !loan.unwanted) Cancel(loan_id, loan);
    }
  }
}

// So that no run waits for long while its equals have a slot more than it.
void Lender::Rank(Time now) {
  const double passed = std::chrono::duration<double>(now - ranked_).count();
  ranked_ = now;
  const double kept = std::exp(-passed / std::chrono::duration<double>(kMemory).count());
  std::vector<Borrower*> order;
  for (auto& [id, borrower] : borrowers_) {
    borrower.had = borrower.had * kept + static_cast<double>(LoansOf(id)) * (1 - kept);
    order.push_back(&borrower);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Borrower* a, const Borrower* b) { return a->had < b->had; });
  for (size_t i = 0; i < order.size(); ++i) order[i]->rank = i;
}

void Lender::Cancel(LoanId id, Loan& loan) {
  loan.unwanted = true;
  if (loan.lost) return;
  const Worker& worker = fleet_.workers()[*loan.worker];
  // Otherwise its hello brings it up again.
  if (worker.here()) out_.SendTo(worker, cq::Cancel{text_.run, {{id, id}}});
}

void Lender::CheckInvariants() const {
  std::vector<uint64_t> on(fleet_.workers().all().size(), 0);
  for (const auto& [id, loan] : loans_) {
    if (loan.lost) continue;
    CQ_ASSERT(loan.worker && *loan.worker < on.size(), "loan {:x} is on no worker", id);
    CQ_ASSERT(!fleet_.workers().all()[*loan.worker].gone(),
              "loan {:x} is on worker {}, which is gone", id, *loan.worker);
    ++on[*loan.worker];
  }
  for (const Worker& worker : fleet_.workers().all()) {
    CQ_ASSERT(on[worker.index] <= worker.slots, "worker {} has {} loans on {} slots", worker.number,
              on[worker.index], worker.slots);
  }
}

}  // namespace cq
