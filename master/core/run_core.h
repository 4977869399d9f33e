#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "master/core/asker.h"
#include "master/core/awaited_commits.h"
#include "master/core/class_table.h"
#include "master/core/core_options.h"
#include "master/core/employer.h"
#include "master/core/fleet.h"
#include "master/core/lane.h"
#include "master/core/ledger.h"
#include "master/core/outbox.h"
#include "master/core/recovered.h"
#include "master/core/run_view.h"
#include "master/core/spent.h"
#include "master/core/task_table.h"
#include "master/core/verdict.h"

namespace cq {

/// What a core decides about one run: its tasks, from the first attempt to the durable outcome. Of
/// connections it knows nothing.
class RunCore final : public Tenant {
 public:
  /// On the workers of this fleet, which serves it alone.
  RunCore(CoreOptions options, Recovered recovered, Fleet& fleet, Outbox& out);
  RunCore(const RunCore&) = delete;
  RunCore& operator=(const RunCore&) = delete;
  ~RunCore() override = default;

  // ---- what workers report ----
  void OnStarted(Worker& worker, const std::vector<StartedAttempt>& attempts);
  void OnResults(Time now, Worker& worker, Results& results);
  void OnReturned(Worker& worker, const Returned& returned);
  void OnOutput(Worker& worker, Output& output);
  void OnHeartbeat(Worker& worker, const WorkerHeartbeat& heartbeat);
  void OnSpooled(Time now, Results results);

  // ---- what the fleet tells ----
  uint64_t OnLost(Time now, Worker& worker, const Loss& loss) override;
  void OnExplained(Time now, const Worker& worker, Blame blame) override;
  void OnForgotten(const Worker& worker) override;
  void OnHello(Worker& worker, const Hello& hello) override;
  void OnWelcome(const Worker& worker) override { SendTo(worker, options_.text); }
  void OnMayTake(const Worker& worker) override;
  void OnComplete() override { Admit(); }

  // ---- what the run's owner tells (Core has the same) ----
  void OnAdded(uint64_t tasks);
  void OnWanted(Time now, TaskId task);
  void OnCancelled(const std::vector<TaskId>& tasks);
  void OnClosed() { options_.open = false; }
  void OnAdding() { ++adding_; }
  Asker& asker() { return asker_; }
  Asker::Need NeedOfRows() const;
  const RowForm& form() const { return options_.form; }
  void OnPool(size_t pool, bool closed);
  void OnTimeLeft(Time now, const std::string& allocation, Time left, Time all);
  void OnCommitted(Time now, Committed& committed);
  struct WorkerLimit {
    uint64_t workers = 0;
    /// Hosts where none is let go.
    std::set<std::string> spared;
  };
  void OnLimit(const std::string& allocations, WorkerLimit limit);
  void OnDrain(const std::string& reason);
  void OnStop();

  // ---- time ----
  /// An event is about to be told.
  void OnTime(Time now) { now_ = now; }
  void OnTick(Time now);
  /// Now and then: those that may take a choosy task may be others.
  void LookAgain();
  void RecordLedger();
  /// Gives out tasks, and sends what was gathered.
  void Flush(Time now);
  /// Nothing is left to do, and all is durable: why the run ends.
  std::optional<std::string> End() const;

  const Counts& counts();
  /// As Employer.
  WorkLeft demand(size_t pool);
  /// Empty: it is not drained.
  std::string drain_reason() const { return drained_.value_or(""); }
  const std::optional<Halt>& halted() const { return halted_; }
  RunId id() const { return options_.text.run; }
  bool finished() const { return finished_; }
  /// When the next task may be given out, if that is what one waits for.
  std::optional<Time> next_start() const {
    const bool waits = options_.delay > Time{} && tasks_.ready() > 0 && !drained_ && idle_ > 0;
    return waits ? std::optional(next_start_) : std::nullopt;
  }
  bool Exists(TaskId task) const { return tasks_.Exists(task); }
  const TaskRequest& request(ClassId of) const { return classes_[of].request; }
  /// A task's time limit, if it is not the run's (`own`; 0: it has none), in ms.
  uint64_t TimeLimit(ClassId of, uint64_t own) const {
    const uint64_t permille = classes_[of].time_permille;
    return permille == 1000 ? own : (own != 0 ? own : options_.text.timeout_ms) * permille / 1000;
  }
  std::string CommonProblem() const;
  std::vector<std::string> Idle(Time now, Time time) const;
  std::vector<std::string> Emptiest() const;
  Ledger ledger() const;
  /// Asserts that its books agree. For tests.
  void CheckInvariants();

 private:
  friend class Dispatcher;
  friend class Grower;
  friend class Onlooker;
  friend class Reserver;
  Lane& lane(const Worker& worker) { return lanes_[worker.index]; }
  const Lane& lane(const Worker& worker) const { return lanes_[worker.index]; }

  // What workers hold.
  void Reconcile(Worker& worker, const std::vector<Held>& held);
  void ReconcileHeld(Worker& worker, const Held& held, std::vector<AttemptRef>& cancel);
  void CountBusy(const Worker& worker);
  void CountVacant();

  // Reports.
  void Runs(Worker& worker, Work& open, Work::Out::Run run);
  Verdict Judge(const Worker* worker, const TaskResult& result) const;
  bool IsCurrent(const Worker* worker, const TaskResult& result, const Work* open) const;
  void OnResult(Time now, Worker* worker, TaskResult& result);
  void OnNoChance(Worker* worker, const TaskResult& result);
  using Pushed = std::vector<PushedRow>;
  void OnEnded(Time now, Worker* worker, TaskResult& result, Pushed pushed = {});
  bool IsOutAsOne(const Worker* worker, const TaskResult& result);
  void OnReturned(Worker& worker, const ReturnedAttempt& returned);
  /// Told when it changes, and in the journal: `why` it takes nothing, or waits; empty: neither.
  void OnIdle(Worker& worker, const std::string& why);
  void Drop(Worker* worker, AttemptRef ref);
  void Learn(const TaskResult& result);
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
  void Finish(TaskResult&& result, std::optional<WorkerRef> worker, uint64_t attempts,
              Pushed pushed = {});
  void HaltIfDue();
  void CancelOthers(TaskId task, AttemptId attempt);
  bool GivenOut(TaskId task, AttemptId attempt) const;
  void Reject(Worker* worker, AttemptRef ref);
  bool Rejected(Worker& worker, AttemptRef ref);
  bool MayKnow(const Worker& worker, const TaskResult& result, const Work* open) const;
  bool Plausible(TaskId task, AttemptId attempt) const;
  void WakeDue(Time now);
  bool MayWake(Time now, const Work& open) const;

  // Losses.
  struct Provisional {
    Time until{};
    WorkerRef worker;
    AttemptRef ref;
    std::string reason;
    /// Its worker had nothing else.
    bool alone = false;
  };
  void Charge(Time now, Worker& worker, Work& open, const Loss& loss, Time release_at, bool alone);
  void Settle(Time now, const Provisional& charge, bool explained);
  void AcquitOfMemory(const Worker& worker);
  void TakeBackCharge(Worker& worker, AttemptRef ref, Work& open);
  void OnMemory(Work& open, AttemptId attempt, const Worker& worker, const std::string& reason);
  void SetAside(TaskId task, Work& open, std::optional<WorkerRef> worker,
                const std::string& reason);

  // Machines where tasks cannot be started.
  uint64_t Candidates(ClassId of) const;
  bool Refused(const Work& open, const Worker& worker) const;
  void Refute(const Work& open);
  void DrainBlackHoles();
  void NoteEnd(const Worker& worker, bool ok, uint64_t tasks,
               const std::vector<WorkerRef>& elsewhere);
  bool IsSuspect(const Host& host) const;
  void LeaveAloneIfBad(Host& host);
  bool MayBeItsHosts(const Worker& worker, const Work& open);
  void FinishRefused();

  template <class R>
  void Record(R record) {
    out_.Record(std::move(record));
  }
  void SendTo(const Worker& worker, ToWorker message) { out_.SendTo(worker, std::move(message)); }

  // Classes.
  void Admit(Worker& worker);
  void Commit(const Worker& worker, const Work& open);
  uint64_t SlotsIn(size_t pool) const;
  void CountCommitted(const Worker& worker);
  /// Whether the worker could hold such tasks if it held nothing else.
  bool Suits(const Worker& worker, ClassId of) const;
  Room RoomFor(const Worker& worker, ClassId of) const;
  bool IsHome(const Worker& worker, ClassId of) const;

  // What ended for want of something (escalate.cc).
  void SetClass(TaskId task, ClassId of);
  void MoveTo(ClassId of, TaskId task);
  bool TryWithMore(const Worker* worker, const TaskResult& result, Work& open, uint64_t had_memory);
  void Recover(const RaisedRecord& raised);
  uint64_t MemoryLimitOf(TaskId task, const Worker* worker) const;
  void CountEnded(Worker& worker, uint64_t tasks);
  /// How many more it is to run.
  uint64_t TasksLeftTo(const Worker& worker) const;

  // What runs much longer than its like (relative_limit.cc).
  Time RelativeLimit(ClassId of) const;
  void EndLong();
  void SayIfTooLong(TaskResult& result) const;

  // Workers whose time ends (time_left.cc).
  Time Estimate(ClassId of) const;
  LongestLife LongestOf(ClassId of) const;
  bool KnowsEnds() const;
  bool IsInTime(const Worker& worker, ClassId of, Time estimate, uint64_t rounds) const;
  /// That what it is given next ends in its time, as far as anybody can tell.
  bool HasTimeFor(const Worker& worker, ClassId of) const;
  bool HasTimeFor(const Worker& worker, const Work& open) const;
  bool IsAtItsWall(const Worker& worker) const;
  bool EndsAtWall(const Worker& worker, Work& open);
  void LetSpentGo();
  bool HasNothingFor(const Worker& worker);
  /// How many of the tasks that it holds run at a time.
  uint64_t PlacesOf(const Worker& worker) const;
  std::string NobodySuits() const;

  // Workers.
  /// It has room for tasks of this run, now or soon.
  bool MayTake(const Worker& worker) const {
    const Lane& l = lane(worker);
    return worker.stays() && l.problem.empty() && l.pool.has_value() && l.places > 0;
  }
  void Recover(Recovered& recovered);
  void Recover(const TriedTask& tried);
  void Admit();
  void SetAsideIfDue(Work& open);
  void AskForMark();
  void Acknowledge(Worker* worker, const AttemptSpan& attempts);
  /// It may take tasks, or other than before.
  void MarkDirty(const Worker& worker);
  void LetGoBeyondLimits();
  bool HasLessToDo(const Worker& a, const Worker& b) const;
  void FlushAcks(Time now);
  void SendAcks(Worker& worker);

  // Self-check.
  void CheckHeld();
  void CheckWaiting();
  void CheckReports();

  CoreOptions options_;
  Fleet& fleet_;
  WorkerTable& workers_;
  Outbox& out_;
  TaskTable tasks_;
  ClassTable classes_;
  bool told_full_ = false;
  /// By pool.
  std::vector<LongestLife> longest_;
  /// By worker.
  std::vector<Lane> lanes_;
  uint64_t busy_ = 0;
  uint64_t idle_ = 0;
  Counts counts_;
  AwaitedCommits uncommitted_;
  /// Whom acknowledgements are for, and for whom there are enough of them to be sent.
  std::vector<WorkerIndex> acknowledged_;
  std::vector<WorkerIndex> acknowledged_enough_;
  Time acknowledged_at_{};
  /// Attempts given up that a worker may still run, by task.
  std::unordered_map<TaskId, std::vector<std::pair<AttemptId, WorkerRef>>> stale_;
  /// Attempts that are being ended, since they ran longer than this limit; and the session in which
  /// their worker was told.
  struct Cut {
    Time limit{};
    SessionId session = 0;
  };
  std::unordered_map<AttemptId, Cut> cut_;
  TaskSet beyond_;
  std::vector<Reset> resets_;
  std::multimap<Time, TaskId> wake_;
  std::deque<Provisional> provisional_;
  /// The last report of tasks that nobody could start so far.
  std::map<TaskId, TaskResult> refused_;
  /// Workers that may take tasks since the last Flush (`Lane::dirty`), or all of them.
  std::vector<WorkerIndex> dirty_;
  bool all_dirty_ = false;
  bool thorough_ = false;
  uint64_t next_attempt_ = 1;
  /// The slots of workers that take tasks, and when that was counted; when it was last looked who
  /// could give some back.
  uint64_t live_slots_ = 0;
  Time slots_counted_{};
  Time retracted_{};
  /// Before then no other task is started.
  Time next_start_{};
  Pace pace_;
  Tempo tempo_;
  /// When a task ended last.
  Time last_end_{};
  /// Numbers that have no outcome and never get one in this start.
  uint64_t left_out_ = 0;
  /// Tasks have pushed rows.
  bool grows_ = false;
  /// Of rows that nobody pushes now, what became of earlier attempts.
  std::unordered_map<TaskId, TriedTask> dormant_;
  /// Requests that add rows and are not durable; rows that results bring which are not, either.
  uint64_t adding_ = 0;
  uint64_t coming_ = 0;
  Asker asker_;
  TaskId mark_asked_ = 0;
  uint64_t failed_ = 0;
  /// The newest time that an event has told: for the ledger.
  Time now_{};
  Spent spent_;
  /// How many workers it may keep of those whose allocations begin so.
  std::map<std::string, WorkerLimit> limits_;
  std::optional<std::string> drained_;
  /// The rule that has drained it.
  std::optional<Halt> halted_;
  bool finished_ = false;
};

}  // namespace cq
