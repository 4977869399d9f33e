#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "master/core/lender_core.h"
#include "tests/simulation/sim_run.h"
#include "tests/simulation/sim_worker.h"
#include "tests/simulation/timeline.h"
#include "tests/simulation/world.h"
#include "worker/core/worker_core.h"

namespace cq::sim {

/// A warm pool in the simulated world: its masters, one after another, with the real core; its
/// workers, with the real core of a worker; and what runs and the pool say to each other, as
/// schedulers/warm.cc has it.
class SimPool final : public SimLender {
 public:
  SimPool(const World& world, Timeline& timeline, const SimRun::Trace& trace);

  void Begin();
  /// All runs are over: nothing happens any more.
  void End() { over_ = true; }

  void OnMaster(SimRun& run, bool there) override;
  void OnDemand(SimRun& run, uint64_t slots) override;
  void OnAvoid(SimRun& run, const std::string& host) override;
  void OnSilent(SimRun& run, const std::string& allocation) override;

 private:
  /// A worker of the pool.
  struct Host {
    uint64_t number = 0;
    std::string allocation;
    SimMachine machine;
    std::unique_ptr<WorkerCore> core;
    bool alive = true;
    /// Since when this master has it leave.
    std::optional<Time> dismissed;
    ConnectionId connection = 0;
    std::deque<std::pair<Envelope, ToWorker>> inbox;
    struct Loan {
      SimRun* run = nullptr;
      SimWorker* worker = nullptr;
      Time started{};
      bool killed = false;
    };
    std::map<LoanId, Loan> loans;
    std::vector<std::pair<TaskResult, bool>> ended;
    Time wake_at = Time::max();
  };
  struct Link {
    Host* host = nullptr;
    Time up_free{};
    Time down_free{};
    uint64_t sent_down = 0;
    SessionId session = 0;
    bool open = true;
  };
  /// What a run's master has of the pool.
  struct Client {
    SimRun* run = nullptr;
    /// 0: there is no connection.
    BorrowerId connection = 0;
    Time up_free{};
    Time down_free{};
    uint64_t wanted = 0;
    std::set<std::string> avoided;
    std::set<LoanId> loans;
    /// Since when nobody is heard there, as Workforce looks at it.
    std::map<LoanId, Time> unheard;
    Time gone{};
  };
  struct Incoming {
    ConnectionId from = 0;
    Envelope envelope;
    FromWorker message;
  };

  void At(Time when, std::function<void()> run) { timeline_.At(when, std::move(run)); }
  void After(Time delay, std::function<void()> run) { At(now_ + delay, std::move(run)); }
  void Say(const std::string& line);

  // ---- workers of the pool ----
  void StartHost();
  void KillHost(Host& host, bool explained);
  void TellHostEnded(const std::string& allocation, bool explained, Time delay);
  uint64_t AliveHosts() const;
  void Connect(Host& host);
  void WakeHost(Host& host);
  void StepHost(Host& host);
  void Do(Host& host, SendUp& send);
  void Do(Host& host, Reconnect&);
  void Do(Host& host, Prepare&);
  void Do(Host& host, Enqueue& enqueue);
  void Do(Host& host, TakeBack& take);
  void Do(Host& host, cq::Kill& kill);
  void Do(Host&, StartUntil&) {}
  void Do(Host&, Spool&) {}
  void Do(Host& host, Exit& exit);
  void OnLoanEnded(Host& host, const SimWorker& worker, bool well);
  void EndLoan(Host& host, LoanId id, Outcome outcome, bool by_us);
  void SendThrough(Host& host, Time& free, const std::function<void()>& deliver);

  // ---- the master of the pool ----
  Time MasterNow() const { return now_ - master_origin_; }
  void StartMaster();
  void KillMaster();
  void StepMaster();
  void Tick(uint64_t master);
  void Do(Send& send);
  void Do(Write& write);
  void Do(Note& note) { Say("pool: " + note.text); }
  void Do(EndJob& job);
  void Do(Give&) {}
  void Do(AvoidHost&) {}
  void Do(Finished&) {}
  void Do(Lend& lend);
  void Do(Lent& lent);
  void Do(LoanEnded& ended);
  void Do(Limit& limit);
  void Do(Leave& leave);
  void Transmit(Link& link, SessionId session, ToWorker message);

  // ---- runs ----
  Client& ClientOf(const SimRun& run);
  Client* ClientWith(BorrowerId connection);
  void ConnectClient(Client& client);
  /// In order, unless the connection has gone meanwhile.
  void ToPool(Client& client, const std::function<void(Lender&)>& say);
  void ToRun(BorrowerId to, const std::function<void(Client&)>& say);
  void OnPoolGone(Client& client);
  void EndAllLoans(Client& client);
  std::string AllocationOf(LoanId loan) const;
  std::string Prefix() const { return world_.scheduled ? "pool p " : "local pool p "; }

  void Trouble();
  void Dismiss(const std::vector<std::string>& allocations);
  void CheckLeaving();
  void EndUnheard(Client& client);

  const World world_;
  Timeline& timeline_;
  const SimRun::Trace& trace_;
  Random random_;
  const Time& now_ = timeline_.now();
  bool over_ = false;

  std::vector<std::unique_ptr<Host>> hosts_;
  std::map<ConnectionId, Link> links_;
  ConnectionId next_connection_ = 0;
  std::map<RunId, Client> clients_;
  BorrowerId next_borrower_ = 0;
  /// All that there ever were.
  std::map<BorrowerId, RunId> borrowers_;

  std::unique_ptr<LenderCore> core_;
  uint64_t master_ = 0;
  Time master_origin_{};
  std::deque<Incoming> inbox_;
  /// The pool's journal: workers that have not ended.
  std::map<uint64_t, KnownWorker> known_;
  uint64_t last_worker_ = 0;
};

}  // namespace cq::sim
