#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "master/core/actions.h"
#include "master/core/core_options.h"
#include "master/core/ledger.h"
#include "master/core/recovered.h"
#include "master/core/task_table.h"
#include "master/core/worker_table.h"

namespace cq {

/// The master's state machine: decides, and does nothing. Events and the time go in, actions come
/// out; the same input gives the same output. It trusts no peer. One thread at a time.
class Core {
 public:
  explicit Core(CoreOptions options, Recovered recovered = {});

  // ---- events ----
  void OnMessage(Time now, ConnectionId from, Envelope envelope, FromWorker message);
  /// The transport cannot reach this connection any more.
  void OnUnreachable(Time now, ConnectionId connection);
  void OnCommitted(Time now, const Committed& committed);
  /// The job that started this worker (as its hello names it) has ended. `explained`: the scheduler
  /// names a cause that no task has to answer for.
  void OnAllocationEnded(Time now, const std::string& allocation, const std::string& reason,
                         bool explained);
  /// Workers that are about to come and have not said hello yet.
  void OnExpected(uint64_t workers) { expected_ = workers; }
  /// Results that a worker left in a file when it could not reach any master.
  void OnSpooled(Time now, Results results);
  /// So many more tasks, with the next numbers.
  void OnAdded(uint64_t tasks);
  /// A task that was held back (Recovered) may go out.
  void OnWanted(Time now, TaskId task);
  /// Nobody wants these any more: they end as `cancelled`, wherever they are.
  void OnCancelled(const std::vector<TaskId>& tasks);
  /// No more tasks will be added: the run ends with the last of them.
  void OnClosed() { options_.open = false; }
  /// Finish what runs, start nothing more.
  void OnDrain(Time now, const std::string& reason);
  /// End now; what is out stays without outcome.
  void OnStop(Time now, const std::string& reason);
  /// Time has passed: leases and heartbeats. Call at least every `tick()`.
  void OnTick(Time now);
  /// Call once everything that waited has been handled: gives out tasks, and sends what was
  /// gathered.
  void Flush(Time now);

  /// The actions since the last call.
  std::vector<Action> TakeActions();

  std::chrono::milliseconds tick() const { return options_.lease / 30; }
  const Counts& counts();
  /// Why nothing more is started; empty while something is.
  const std::string& drain_reason() const { return drain_reason_; }
  RunId run() const { return options_.text.run; }
  /// Whether a worker of this allocation has ever said hello.
  bool HasSession(const std::string& allocation) const;
  /// If workers are connected and none of them can take tasks: why, as the first of them says.
  std::string CommonProblem() const;
  Ledger ledger() const;
  /// Mean run time of a task so far; zero while unknown.
  std::chrono::nanoseconds mean_task_time() const;

  /// Asserts that its books agree. For tests.
  void CheckInvariants();

 private:
  friend class Dispatcher;
  struct Uncommitted {
    AttemptSpan attempts;
    /// To whom the acknowledgement goes; none for what came from a file.
    std::optional<WorkerIndex> worker;
    Time since{};
  };

  // Handshake.
  void OnHello(Time now, ConnectionId from, Envelope envelope, Hello& hello);
  void Offer(Time now, ConnectionId to);
  void Accept(Time now, ConnectionId from, Peer& peer, Hello& hello);
  void Greet(const Worker& worker);
  void Reconcile(Worker& worker, const std::vector<Held>& held);
  void ReconcileHeld(Worker& worker, const Held& held, std::vector<AttemptRef>& cancel);

  // Reports.
  void OnReport(Time now, Worker& worker, FromWorker& message);
  void OnStarted(Worker& worker, const std::vector<StartedAttempt>& attempts);
  void Runs(Worker& worker, Work& open, Work::Out::Run run);
  /// What a report of an attempt's end says of its task.
  enum class Verdict {
    /// By this run.
    kNeverGivenOut,
    /// The task has its outcome, or another attempt at it is the one that counts.
    kTooLate,
    /// Of what the journal is about to commit.
    kRepetition,
    /// Of a row that is not wanted now (Recovered::beyond): it counts all the same.
    kBeyond,
    /// It did not run, for no reason of its own.
    kNoChance,
    kNotStarted,
    kSlotCrash,
    kEnded,
  };
  Verdict Judge(const Worker* worker, const TaskResult& result) const;
  bool IsCurrent(const Worker* worker, const TaskResult& result, const Work* open) const;
  void OnResult(Time now, Worker* worker, TaskResult& result);
  void OnNoChance(Worker* worker, const TaskResult& result);
  void OnEnded(Time now, Worker* worker, TaskResult& result);
  bool IsOutAsOne(const Worker* worker, const TaskResult& result);
  void OnReturned(Worker& worker, const ReturnedAttempt& returned);
  void OnOutput(Worker& worker, Output& output);
  /// Told when it changes, and in the journal: `why` it takes nothing, or waits; empty: neither.
  void OnIdle(Worker& worker, const std::string& why);
  void Drop(Worker* worker, AttemptRef ref);
  void Learn(uint64_t wall_us, uint64_t tasks);
  void OnSlotCrash(TaskResult& result, Work& open);
  void TryAgain(Time when, AttemptId attempt, Work& open);
  void Retry(Time now, const Worker* worker, TaskResult& result, Work& open);
  void OnUnstartable(Worker& worker, TaskResult& result, Work& open);

  // Tasks.
  void Hold(Worker& worker, Work& open);
  void Detach(Work& open);
  void GiveUp(Work& open);
  void Release(TaskId task, Work& open);
  void ReleaseAt(Time when, TaskId task, Work& open);
  bool MayBeExplained(const Work& open) const;
  void Finish(TaskResult&& result, std::optional<WorkerIndex> worker, uint64_t attempts);
  void CancelOthers(TaskId task, AttemptId attempt);
  bool GivenOut(TaskId task, AttemptId attempt) const;
  void Reject(Worker* worker, AttemptRef ref);
  bool Rejected(Worker& worker, AttemptRef ref);
  bool MayKnow(const Worker& worker, const TaskResult& result, const Work* open) const;
  bool Plausible(TaskId task, AttemptId attempt) const;
  void WakeDue(Time now);
  bool MayWake(Time now, const Work& open) const;

  // Losses.
  enum class Blame { kNobody, kProvisional, kFinal };
  struct Loss {
    std::string reason;
    Blame blame = Blame::kNobody;
    /// When what it gave up may go out again; zero: now.
    Time release_at{};
  };
  struct Provisional {
    Time until{};
    WorkerIndex worker = 0;
    AttemptRef ref;
    std::string reason;
  };
  void Lose(Time now, Worker& worker, const Loss& loss);
  void Charge(Time now, Worker& worker, TaskId task, Work& open, const Loss& loss);
  void Settle(Time now, const Provisional& charge, bool explained);
  void SettleAll(Time now, WorkerIndex worker, bool explained);
  void TakeBackCharge(Worker& worker, AttemptRef ref, Work& open);
  void SetAside(TaskId task, Work& open, std::optional<WorkerIndex> worker,
                const std::string& reason);
  void CheckLeases(Time now);
  void OnJobEnded(Time now, Worker& worker, const std::string& reason, bool explained);

  // Machines where tasks cannot be started.
  uint64_t Candidates() const;
  bool Refused(const Work& open, const Worker& worker) const;
  void Refute(const Work& open);
  void DrainBlackHoles();
  void NoteEnd(const Worker& worker, bool ok, uint64_t tasks,
               const std::vector<WorkerIndex>& elsewhere);
  bool IsSuspect(const Host& host) const;
  void LeaveAloneIfBad(Host& host);
  bool MayBeItsHosts(const Worker& worker, const Work& open);
  void DrainWorker(Worker& worker, const std::string& reason);
  void FinishRefused();

  /// Into the journal, together with what is written before and after it.
  template <class R>
  void Record(R record) {
    if (actions_.empty() || !std::holds_alternative<Write>(actions_.back())) {
      actions_.emplace_back(Write{});
    }
    std::get<Write>(actions_.back()).records.emplace_back(std::move(record));
  }

  // Workers.
  void Recover(Recovered& recovered);
  void EndAwaiting(Worker& worker);
  void Admit();
  void AskForMark();
  void Disconnect(Worker& worker);
  void SendTo(const Worker& worker, ToWorker message);
  void Acknowledge(Worker* worker, const AttemptSpan& attempts);
  void AwaitCommit(const AttemptSpan& attempts, std::optional<WorkerIndex> worker);
  Uncommitted* FindUncommitted(AttemptId attempt);
  /// Whether a report of just this is on its way into the journal.
  bool IsAwaited(AttemptRef ref) const;
  /// It may take tasks, or other than before.
  void MarkDirty(Worker& worker);
  void FlushAcks(Time now);
  void SendAcks(Worker& worker);
  void FinishIfDone();

  // Self-check.
  void CheckHeld();
  void CheckWaiting();
  void CheckReports();

  CoreOptions options_;
  TaskTable tasks_;
  WorkerTable workers_;
  Counts counts_;
  /// Reports that are on their way into the journal, by the last of their attempts; and how many
  /// tasks they are about.
  std::map<AttemptId, Uncommitted> uncommitted_;
  uint64_t uncommitted_tasks_ = 0;
  /// Whom acknowledgements are for, and for whom there are enough of them to be sent.
  std::vector<WorkerIndex> acknowledged_;
  std::vector<WorkerIndex> acknowledged_enough_;
  Time acknowledged_at_{};
  /// Attempts given up that a worker may still run, by task.
  std::unordered_map<TaskId, std::vector<std::pair<AttemptId, WorkerIndex>>> stale_;
  TaskSet beyond_;
  std::vector<Reset> resets_;
  std::multimap<Time, TaskId> wake_;
  std::deque<Provisional> provisional_;
  /// The last report of tasks that nobody could start so far.
  std::map<TaskId, TaskResult> refused_;
  std::vector<Action> actions_;
  /// Workers that may take tasks since the last Flush (`Worker::dirty`), or all of them.
  std::vector<WorkerIndex> dirty_;
  bool all_dirty_ = false;
  bool thorough_ = false;
  uint64_t next_attempt_ = 1;
  uint64_t next_session_ = 1;
  uint64_t timed_tasks_ = 0;
  std::chrono::nanoseconds mean_{};
  uint64_t expected_ = 0;
  uint64_t awaiting_ = 0;
  /// Numbers that have no outcome and never get one in this start.
  uint64_t left_out_ = 0;
  TaskId mark_asked_ = 0;
  uint64_t failed_ = 0;
  /// The newest time that an event has told: for the ledger.
  Time now_{};
  /// Of results so far: from giving their tasks out, and until they were durable.
  Time turnaround_{};
  Time recording_{};
  Time started_{};
  Time last_tick_{};
  Time last_sweep_{};
  Time last_heartbeat_{};
  bool draining_ = false;
  bool finished_ = false;
  std::string drain_reason_;
};

}  // namespace cq
