#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/mailbox.h"
#include "cq/run_observer.h"
#include "master/core/lender_core.h"
#include "master/journal/record_writer.h"
#include "master/loop/worker_port.h"
#include "master/pools/workforce.h"
#include "master/warm/desk.h"
#include "protocol/loan_order.h"
#include "protocol/pool_file.h"

namespace cq {

/// The event loop of a warm pool's master: hears its workers, its schedulers and the runs, tells
/// the core, and does what the core decided. One thread.
class LenderLoop {
 public:
  struct Options {
    /// What is known of the pool by its name.
    PoolFile pool;
    int signal_fd = -1;
    /// On this machine, runs are served once so many workers are there.
    uint64_t workers_least = 0;
    /// It ends when no run has asked for anything for so long; zero: it does not.
    std::chrono::milliseconds idle_timeout{};
    /// Called once runs can be served at once, and in the end.
    std::function<void()> ready;
    /// Called about every 10 s.
    std::function<void()> keep_alive;
    std::function<void(const std::string& reason)> ending;
  };
  LenderLoop(Options options, LenderCore core, Transport transport, Workforce& workforce,
             const MakeRecordWriter& make_writer, RunObserver& observer, Desk& desk);
  LenderLoop(const LenderLoop&) = delete;
  LenderLoop& operator=(const LenderLoop&) = delete;
  ~LenderLoop();

  struct End {
    /// 0 told to end, or idle; 3 could not go on.
    int status = 0;
    std::string reason;
    /// Its workers live on, for whoever starts it again.
    bool stays = false;
  };
  /// Returns when no worker is left that does not stay.
  End Run();

 private:
  struct JournalFailed {
    std::string reason;
  };
  using Mail = std::variant<Committed, JournalFailed, Workforce::Word>;
  using Clock = std::chrono::steady_clock;
  /// A run that is there.
  struct Borrowing {
    std::string name;
    int64_t priority = 0;
    uint64_t pid = 0;
    uint64_t wanted = 0;
    /// As it was told last.
    uint64_t slots = 0;
    bool none = false;
    std::string allocations;
    std::string logs;
    /// What all of its loans have in common.
    LoanOrder order;
  };

  std::chrono::nanoseconds Now() const { return Clock::now() - origin_; }
  void Turn();
  void OnSignals();
  void ReadMail();
  void OnMail(Committed& committed) { core_.OnCommitted(committed); }
  void OnMail(JournalFailed& failed) { Finish(3, failed.reason); }
  void OnMail(Workforce::Word& word);
  void OnWord(BorrowerId from, const OrderedJson& word);
  void OnBorrow(BorrowerId from, const OrderedJson& word);
  std::string Resize(uint64_t least, uint64_t most);
  OrderedJson Status();
  void Drain(const std::string& reason);
  void StopNow(const std::string& reason);
  void Finish(int status, const std::string& reason);
  void LookAtIdleness();
  void TellSlots();
  uint64_t CouldLend(BorrowerId run) const;
  bool HasNoneFor(BorrowerId run) const;
  void SayWhatItLends(BorrowerId to, Borrowing& run);
  void Act();
  void Do(Send& send);
  void Do(Write& write) { writer_->Push(std::move(write.records)); }
  void Do(Note& note);
  void Do(EndJob& job) { workforce_.EndSilent(job.allocation); }
  // A pool gives no tasks, and judges no machine.
  void Do(Give&) {}
  void Do(AvoidHost&) {}
  void Do(Finished&) {}
  void Do(Lend& lend);
  void Do(Lent& lent);
  void Do(LoanEnded& ended);
  void Do(Limit& limit);
  void Do(Leave& leave);
  std::string LogOf(const Borrowing& run, LoanId loan) const;

  Options options_;
  Clock::time_point origin_ = Clock::now();
  LenderCore core_;
  WorkerPort port_;
  Workforce& workforce_;
  RunObserver& observer_;
  Desk& desk_;
  Mailbox<Mail> mail_;
  std::unique_ptr<RecordWriter> writer_;
  std::map<BorrowerId, Borrowing> runs_;
  std::optional<End> end_;
  /// Why it ends once its loans have, if it does.
  std::optional<std::string> draining_;
  bool ready_ = false;
  Clock::time_point busy_ = Clock::now();
  Clock::time_point kept_alive_{};
};

}  // namespace cq
