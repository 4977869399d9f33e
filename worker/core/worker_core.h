#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/assert.h"
#include "protocol/messages.h"
#include "protocol/span_table.h"
#include "protocol/task_request.h"
#include "worker/core/held_task.h"

namespace cq {

struct WorkerCoreOptions {
  std::string version;
  std::string path;
  RunId run = 0;
  WorkerId worker{};
  std::string host;
  uint64_t pid = 0;
  std::string allocation;
  uint64_t slots = 1;
  /// Of which pool it is, and what it has for its tasks.
  std::string pool;
  Capacity has;
  /// Ends with its master and never because of silence: started by a master on this machine.
  bool local = false;
};

/// What a slot says of a task that it runs.
struct RunningTask {
  AttemptRef ref;
  uint64_t slot = 0;
  std::chrono::nanoseconds started{};
  bool operator==(const RunningTask&) const = default;
};

// ---- what the core asks the worker's loop to do, in this order ----

struct SendUp {
  Envelope envelope;
  FromWorker message;
};
/// Close all connections and open new ones, from `connect.json` as it is now.
struct Reconnect {};
/// Check that tasks of this run can run here, and make it known to the slots; answered with
/// OnPrepared.
struct Prepare {
  RunText text;
};
struct Enqueue {
  std::vector<Task> tasks;
};
/// Take these out of the slots' queue as far as they are still there; answered with OnTakenBack.
struct TakeBack {
  std::vector<AttemptRef> attempts;
  ReturnReason reason = ReturnReason::kRetracted;
};
/// End these if they run.
struct Kill {
  std::vector<AttemptRef> attempts;
};
/// Slots start nothing after this time, until a later word.
struct StartUntil {
  std::chrono::nanoseconds until{};
};
/// Leave these results in a file for a master to come.
struct Spool {
  Results results;
};
/// The exit status of a worker that found no master, or lost it.
inline constexpr int kNoMaster = 5;
/// End the worker: kill what runs, and exit.
struct Exit {
  int status = 0;
  std::string reason;
};
using WorkerAction =
    std::variant<SendUp, Reconnect, Prepare, Enqueue, TakeBack, Kill, StartUntil, Spool, Exit>;

/// The worker's state machine, in the style of the master's: events and the time in, actions out;
/// no socket, thread, clock or process in reach. One thread at a time.
class WorkerCore {
 public:
  using Time = std::chrono::nanoseconds;

  explicit WorkerCore(WorkerCoreOptions options) : options_(std::move(options)) {}

  // ---- events ----
  /// New connections are open: say hello.
  void OnConnected(Time now);
  /// A connection is gone.
  void OnDisconnected();
  void OnMessage(Time now, Envelope envelope, ToWorker message);
  /// The answer to Prepare: empty, or why this worker takes no task of the run.
  void OnPrepared(const std::string& problem);
  /// What runs at this moment.
  void OnRunning(const std::vector<RunningTask>& running);
  /// A task ended, or a span of tasks. `by_us`: we killed it.
  void OnFinished(Time now, TaskResult result, bool by_us);
  /// This machine had no room for the process of this attempt, which did not begin.
  void OnNoRoom(Time now, const AttemptRef& ref, const std::string& reason);
  /// What a slot has been waiting for for long; empty for nothing.
  void OnWaits(const std::string& text);
  /// What the slots have spent their time on so far.
  void OnLedger(const SlotLedger& ledger) { ledger_ = ledger; }
  void OnTakenBack(const std::vector<AttemptRef>& attempts, ReturnReason reason);
  /// What tasks that run for long have printed since the last time.
  void OnOutput(std::vector<OutputPart> parts);
  /// The worker was told to go: SIGTERM, or the like. `whom`: itself alone, or its tasks, too, as
  /// where a scheduler signals all processes of a job.
  enum class Told { kWorker, kJob };
  void OnToldToGo(Time now, const std::string& reason, Told whom = Told::kWorker);
  void OnTick(Time now);

  std::vector<WorkerAction> TakeActions();
  /// Asserts that its books agree. For tests.
  void CheckInvariants();
  /// When OnTick is next due.
  Time next_due() const;
  bool welcomed() const { return session_state_ == SessionState::kWelcomed; }
  const WorkerId& worker() const { return options_.worker; }

 private:
  struct Serving {};
  /// Its master gives it nothing more.
  struct Draining {};
  struct ToldToGo {
    Time at{};
    Told whom = Told::kWorker;
  };
  struct Exited {};
  struct Doubtful {
    Time due{};
    TaskResult result;
  };

  void OnWho(Time now, SessionId session);
  void OnWelcome(Time now, const Welcome& welcome);
  void OnAssign(Assign& assign);
  bool HoldsSome(const AttemptSpan& span) const;
  std::string FaultOf(const Task& task) const;
  void Forget(AttemptSpan attempts);
  HeldTask* Single(AttemptId attempt);
  void Began(const RunningTask& task);
  /// One of those that run does not any more.
  void Ended();
  void QueueToSend(Time now, HeldTask& held, TaskResult result);
  void CancelFinished(const AttemptRef& ref);
  void SayHello(Time now);
  void Report(Time now);
  void ReportStarts(Time now);
  /// Those that run and are not reported as started yet.
  std::vector<std::pair<AttemptId, HeldTask*>> Unreported();
  void SendResults();
  void Keep(Time now, TaskResult result);
  void Return(const AttemptSpan& attempts, ReturnReason reason);
  bool IsCutShort(const TaskResult& result) const;
  void HandBack(const AttemptRef& ref, ReturnReason reason, int64_t exit, const std::string& text);
  void ReturnQueued(ReturnReason reason);
  void MaybeLeave(Time now);
  bool MasterLost(Time now);
  void SpoolResults();
  void Renew(Time until);
  void Leave(int status, const std::string& reason);
  const ToldToGo* told_to_go() const { return std::get_if<ToldToGo>(&life_); }
  bool exited() const { return std::holds_alternative<Exited>(life_); }
  void EndLease();
  void Send(FromWorker message);
  uint64_t capacity() const;
  void SendHeartbeat();
  uint64_t queued() const {
    CQ_ASSERT(running_ + finished_ <= held_.size(), "{} tasks are held, {} run, {} have finished",
              held_.size(), running_, finished_);
    return held_.size() - running_ - finished_;
  }

  WorkerCoreOptions options_;
  std::vector<WorkerAction> actions_;
  SpanTable<AttemptId, HeldTask> held_;
  /// No attempt above it was ever held.
  AttemptId newest_ = 0;
  /// Entries that run, and tasks that have finished.
  uint64_t running_ = 0;
  uint64_t finished_ = 0;
  /// Attempts whose results are to be sent (of a span the last), and those that run and were not
  /// reported. One that has gone another way since may still be here.
  std::vector<AttemptId> unsent_;
  uint64_t unsent_tasks_ = 0;
  std::vector<AttemptId> unreported_;
  std::vector<Doubtful> doubtful_;
  std::vector<ReturnedAttempt> returned_;
  SlotLedger ledger_;

  SessionId session_ = 0;
  Epoch epoch_ = 0;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  /// What has become of the connection: a `who` was answered, or a welcome came, since it was made.
  enum class SessionState { kKnocking, kAnswered, kWelcomed };
  SessionState session_state_ = SessionState::kKnocking;
  /// What the slots know, or are about to; none before the first.
  std::optional<RunText> text_;
  std::string problem_;
  /// The machine had no room for a process: nothing is taken until then.
  struct Full {
    Time until{};
    std::string reason;
  };
  std::optional<Full> full_;
  std::string waits_for_;

  Time heartbeat_{std::chrono::seconds(1)};
  Time lease_{std::chrono::seconds(30)};
  Time last_heard_{};
  Time last_heartbeat_{};
  Time last_connect_{};
  Time last_hello_{};
  Time first_connect_{};
  bool ever_welcomed_ = false;
  /// Since the last welcome the master fell silent or its connection broke: its address is looked
  /// up with every heartbeat.
  bool lost_ = false;
  bool succeeded_ = false;
  /// Tasks have groups.
  bool grouped_ = false;
  /// When the master is known to have heard of us: our messages so far, and when they were sent.
  std::deque<std::pair<uint64_t, Time>> sent_at_;
  /// None: it has none, or that has passed.
  std::optional<Time> lease_end_;
  Time oldest_unsent_{};
  std::variant<Serving, Draining, ToldToGo, Exited> life_;
  std::string leave_reason_;
};

}  // namespace cq
