#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cq/run_observer.h"
#include "master/core/core.h"
#include "master/loop/asking.h"
#include "master/pools/workforce.h"
#include "tests/simulation/sim_batch.h"
#include "tests/simulation/sim_journal.h"
#include "tests/simulation/sim_program.h"
#include "tests/simulation/sim_proposer.h"
#include "tests/simulation/sim_rows.h"
#include "tests/simulation/sim_slots.h"
#include "tests/simulation/sim_worker.h"
#include "tests/simulation/timeline.h"
#include "tests/simulation/world.h"

namespace cq::sim {

class SimRun;

/// Who brings the workers of a run that does not start its own: a warm pool.
class SimLender {
 public:
  virtual ~SimLender() = default;
  /// A master of the run is there, or none any more: it speaks to the pool, or is gone.
  virtual void OnMaster(SimRun& run, bool there) = 0;
  /// For so many slots there is work.
  virtual void OnDemand(SimRun& run, uint64_t slots) = 0;
  /// It wants no worker on this machine.
  virtual void OnAvoid(SimRun& run, const std::string& host) = 0;
  /// The master has not heard it for long.
  virtual void OnSilent(SimRun& run, const std::string& allocation) = 0;
};

/// What a master tells its user.
class SimObserver final : public RunObserver {
 public:
  explicit SimObserver(std::function<void(const std::string&)> say) : say_(std::move(say)) {}
  void Warning(const std::string& text) override { say_("warning: " + text); }

 private:
  const std::function<void(const std::string&)> say_;
};

/// A run in the simulated world: its masters, one after another, its workers, and the network
/// between them.
class SimRun {
 public:
  using Trace = std::function<void(const std::string&)>;
  /// `lender`: none starts its own workers.
  SimRun(const World& world, RunId id, Timeline& timeline, const Trace& trace, SimLender* lender);
  SimRun(const SimRun&) = delete;
  SimRun& operator=(const SimRun&) = delete;

  void Begin();
  bool over() const { return over_; }
  RunId id() const { return id_; }
  /// Throws Broken for an end that must not be.
  void CheckEnd();

  // ---- of a run that borrows ----
  /// Its worker of this name starts, on a machine.
  SimWorker& StartLoan(const std::string& allocation, SimMachine* machine);
  /// It is killed, and nobody tells the master.
  void KillLoan(SimWorker& w);
  /// What the master is told.
  void TellEnded(const std::string& allocation, Blame blame);
  void TellLimit(const std::string& allocations, uint64_t workers,
                 const std::vector<std::string>& spared = {});
  /// It is to leave, once it is known.
  void TellLeave(const std::string& allocation);
  bool Hears(const std::string& allocation) const {
    return core_ != nullptr && core_->IsConnected(allocation);
  }
  bool has_master() const { return core_ != nullptr; }
  /// It asks nobody for workers any more.
  bool alone() const { return lender_ == nullptr; }
  /// Its workers start by themselves, as if somebody saw to that.
  bool starts_workers() const { return lender_ == nullptr && batch_ == nullptr; }
  const World& world() const { return world_; }

 private:
  struct Link {
    SimWorker* worker = nullptr;
    Time up_free{};
    Time down_free{};
    uint64_t sent_down = 0;
    SessionId session = 0;
    bool open = true;
  };
  struct Incoming {
    ConnectionId from = 0;
    Envelope envelope;
    FromWorker message;
  };

  // ---- time ----
  void At(Time when, std::function<void()> run) { timeline_.At(when, std::move(run)); }
  void After(Time delay, std::function<void()> run) { At(now_ + delay, std::move(run)); }
  void Say(const std::string& line);

  // ---- workers and network (sim_workers.cc) ----
  void StartWorker();
  SimWorker& MakeWorker(const std::string& allocation, SimMachine* machine = nullptr);
  void Connect(SimWorker& w);
  void KillWorker(SimWorker& w, Blame blame);
  void Dies(SimWorker& w);
  void TellEndedLater(const std::string& allocation, Blame blame, Time delay);
  uint64_t AliveWorkers() const;
  /// One that has what the largest tasks ask for.
  bool LargeIsAlive() const;
  SimWorker* AnyWorker();
  void WakeWorker(SimWorker& w);
  void StepWorker(SimWorker& w);
  void Act(SimWorker& w);
  void Do(SimWorker& w, SendUp& send);
  void Do(SimWorker& w, Reconnect&);
  void Do(SimWorker& w, Prepare&);
  void Do(SimWorker& w, Enqueue& enqueue);
  void Do(SimWorker& w, TakeBack& take);
  void Do(SimWorker& w, cq::Kill& kill) { slots_.Kill(w, kill.attempts); }
  void Do(SimWorker& w, StartUntil& start);
  void Do(SimWorker& w, Spool& spool);
  void Do(SimWorker& w, Exit& exit);
  void SendThrough(SimWorker& w, Time& free, const std::function<void()>& deliver);
  void TellDisconnected(SimWorker& w);
  void Transmit(Link& link, SessionId session, ToWorker message);

  // ---- the master (sim_run.cc) ----
  Time MasterNow() const { return now_ - master_origin_; }
  void StartMaster();
  void Add(AddedRow& row);
  std::set<TaskId> Wanted() const;
  Restart Changes();
  Asker::Kind KindOfProposer();
  bool MayBeNamed(Asker::Kind kind);
  void StartProposer(Asker::Kind kind, const TaskSet& closed);
  void SubmitCalls(uint64_t master);
  void Tick(uint64_t master);
  void ReadSpool();
  void StepMaster();
  void CheckLook();
  // With a workforce (sim_scaled.cc).
  void OpenWorkforce();
  void OnMail();
  void Steer();
  void CheckEnough();
  void GoesNotOn(const std::string& problem);
  void Do(Send& send);
  void Do(struct Give& give);
  static Task RowsOf(const AttemptSpan& span);
  void CheckGiven(TaskId task, AttemptId attempt);
  void CheckAck(const Ack& ack);
  void CheckAcked(TaskId task, AttemptId attempt) const;
  bool Called(TaskId task) const;
  void Record(JournalRecord record);
  void Do(Write& write);
  void ScheduleCommit();
  void Commit(uint64_t master);
  void Do(Note& note) { Say("master: " + note.text); }
  void Do(EndJob& job);
  void Do(AvoidHost& avoid) {
    if (lender_ != nullptr) lender_->OnAvoid(*this, avoid.host);
  }
  void Do(Finished&);
  void EndRun();
  void EndLocalWorkers();
  void KillMaster();
  void CheckAcknowledged() const;
  void TellTimes();
  void Trouble();

  const World world_;
  const RunId id_;
  Timeline& timeline_;
  const Trace& trace_;
  SimLender* lender_;
  Random random_;
  SimProgram program_;
  const Time& now_ = timeline_.now();
  bool over_ = false;
  bool finished_ = false;

  std::vector<std::unique_ptr<SimWorker>> workers_;
  SimSlots slots_;
  std::map<uint64_t, Blame> blamed_;
  std::map<ConnectionId, Link> links_;
  ConnectionId next_connection_ = 0;
  std::set<AttemptId> given_;
  std::vector<Results> spool_;
  std::vector<Results> taken_;

  std::unique_ptr<Core> core_;
  uint64_t master_ = 0;
  Time master_origin_{};
  Time master_stopped_until_{};
  std::deque<Incoming> inbox_;
  uint64_t looks_ = 0;
  std::vector<JournalRecord> pending_;
  uint64_t committing_ = 0;
  Time disk_full_until_{};
  SimJournal journal_;
  SimRows rows_;
  SimSource source_;
  /// Of this master, as its core.
  std::optional<Asking> asking_;
  // With a workforce.
  SimObserver observer_;
  std::unique_ptr<SimBatch> batch_;
  std::unique_ptr<Workforce> workforce_;
  std::deque<Workforce::Word> mail_;
  Time last_problem_{};
  /// Of this master.
  std::set<TaskId> wanted_;
  uint64_t max_tasks_ = world_.max_tasks;
};

}  // namespace cq::sim
