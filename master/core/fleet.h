#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "master/core/core_options.h"
#include "master/core/outbox.h"
#include "master/core/recovered.h"
#include "master/core/worker_table.h"
#include "protocol/messages.h"

namespace cq {

/// How long a scheduler has to name the cause of a loss.
inline constexpr Time kExplainWithin = std::chrono::minutes(2);

/// That a worker is lost: why, and who has to answer for it.
struct Loss {
  std::string reason;
  Blame blame = Blame::kNobody;
  /// It fell silent: until then what it has may still run there, if it is fenced.
  Time runs_until{};
};

/// What a fleet tells whoever has tasks on its workers.
class Tenant {
 public:
  virtual ~Tenant() = default;
  /// It takes back what the worker has, which is about to be gone, and says how many tasks these
  /// were.
  virtual uint64_t OnLost(Time now, Worker& worker, const Loss& loss) = 0;
  /// What the scheduler says after all of the loss of a worker that is gone.
  virtual void OnExplained(Time now, const Worker& worker, Blame blame) = 0;
  /// The worker has been gone for long: its index will be another's.
  virtual void OnForgotten(const Worker& worker) = 0;
  /// The worker has said hello in a new session; its welcome has not been sent.
  virtual void OnHello(Worker& worker, const Hello& hello) = 0;
  /// The worker is welcome: it is to be told what it has to know.
  virtual void OnWelcome(const Worker& worker) = 0;
  /// It may take tasks, or other than before.
  virtual void OnMayTake(const Worker& worker) = 0;
  /// No worker of an earlier master is waited for any more.
  virtual void OnComplete() = 0;
};

/// The workers of a master: who they are, their sessions and leases. Of tasks it knows nothing.
class Fleet {
 public:
  struct Options {
    /// Workers name it.
    RunId id = 0;
    Epoch epoch = 1;
    std::chrono::milliseconds lease{30'000};
    /// A scheduler may name the cause of a loss after it.
    bool explained_late = false;
    /// As CoreOptions.
    Time remembered = CoreOptions{}.remembered;
  };
  /// With the workers of earlier masters.
  Fleet(Options options, const Recovered& recovered, Outbox& out);

  /// Before the first event.
  void set_tenant(Tenant& tenant) { tenant_ = &tenant; }

  // ---- events ----
  void OnHello(Time now, ConnectionId from, Envelope envelope, Hello& hello);
  /// From whom a message comes that is no hello, if it is to be heard.
  struct Sender {
    Worker* worker = nullptr;
    /// Messages before it were lost.
    bool gap = false;
  };
  Sender OnMessage(Time now, ConnectionId from, const Envelope& envelope);
  /// That message has been heard.
  void OnHeard(Time now, ConnectionId from, bool gap);
  void OnHeartbeat(Worker& worker, const WorkerHeartbeat& heartbeat);
  void OnLeaving(Worker& worker, const std::string& reason);
  void OnGoodbye(Time now, Worker& worker, const std::string& reason);
  void OnUnreachable(ConnectionId connection);
  void OnAllocationEnded(Time now, const std::string& allocation, const std::string& reason,
                         Blame blame);
  void OnExpected(uint64_t workers) { expected_ = workers; }
  /// The rows of these workers are durable.
  void OnRecorded(const std::vector<uint64_t>& numbers);
  /// What is due now; call at least every `tick()`.
  struct Due {
    bool sweep = false;
    bool heartbeats = false;
  };
  Due OnTick(Time now);
  /// Looks at every worker.
  void Sweep(Time now);
  void SendHeartbeats();

  // ---- decisions of others ----
  /// Nobody is given anything any more: each finishes what it has and leaves.
  void Drain(const std::string& reason);
  void DrainWorker(Worker& worker, const std::string& reason);
  /// This worker finishes what runs and leaves, as it is told why.
  void LetGo(Worker& worker, const std::string& reason);
  void OnDismissed(const std::string& allocation, const std::string& reason);
  void Stop(const std::string& reason);

  WorkerTable& workers() { return workers_; }
  const WorkerTable& workers() const { return workers_; }
  uint64_t expected() const { return expected_; }
  /// How many workers of earlier masters are waited for.
  uint64_t awaiting() const { return awaiting_; }
  bool HasSession(const std::string& allocation) const { return workers_.Has(allocation); }
  bool IsConnected(const std::string& allocation) const;
  /// How many of those that are here were not told to go.
  uint64_t staying() const;
  std::chrono::milliseconds lease() const { return options_.lease; }
  std::chrono::milliseconds tick() const { return options_.lease / 30; }

  /// Asserts that its books agree. For tests.
  void CheckInvariants() const;

 private:
  void Offer(Time now, ConnectionId to);
  void Accept(Time now, ConnectionId from, Peer& peer, Hello& hello);
  void Greet(const Worker& worker);
  void EndAwaiting(bool awaited);
  void OnJobEnded(Time now, Worker& worker, const std::string& reason, Blame blame);
  void CheckLease(Time now, Worker& worker);
  void ForgetIfLongGone(Time now, Worker& worker);
  void LoseSight(Worker& worker);
  void OnPause(Time length);
  void Lose(Time now, Worker& worker, const Loss& loss);

  Options options_;
  Outbox& out_;
  Tenant* tenant_ = nullptr;
  WorkerTable workers_;
  uint64_t next_session_ = 1;
  uint64_t expected_ = 0;
  uint64_t awaiting_ = 0;
  Time started_{};
  Time last_tick_{};
  Time last_sweep_{};
  Time last_heartbeat_{};
  /// Why nobody is given anything any more, if so.
  std::optional<std::string> drained_;
};

}  // namespace cq
