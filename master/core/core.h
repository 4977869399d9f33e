#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "master/core/employer.h"
#include "master/core/fleet.h"
#include "master/core/outbox.h"
#include "master/core/run_core.h"

namespace cq {

/// The master's state machine: decides, and does nothing. Events and the time go in, actions come
/// out; the same input gives the same output. It trusts no peer. One thread at a time. It consists
/// of a fleet, which knows the workers, and a run, which knows the tasks.
class Core final : public Employer {
 public:
  explicit Core(CoreOptions options, Recovered recovered = {});

  // ---- events ----
  void OnMessage(Time now, ConnectionId from, Envelope envelope, FromWorker message);
  /// The transport cannot reach this connection any more.
  void OnUnreachable(Time now, ConnectionId connection);
  /// What it adds is told to the source of the rows before.
  void OnCommitted(Time now, Committed committed);
  void OnAllocationEnded(Time now, const std::string& allocation, const std::string& reason,
                         Blame blame) override;
  void OnTimeLeft(Time now, const std::string& allocation, Time left, Time all) override {
    parts_->run.OnTimeLeft(now, allocation, left, all);
  }
  void OnLimit(const std::string& allocations, uint64_t workers,
               const std::vector<std::string>& spared) override;
  /// Workers that are about to come and have not said hello yet.
  void OnExpected(uint64_t workers) { parts_->fleet.OnExpected(workers); }
  /// Results that a worker left in a file when it could not reach any master.
  void OnSpooled(Time now, Results results);
  /// So many more tasks, with the next numbers.
  void OnAdded(uint64_t tasks);
  /// Somebody adds rows: a record of that is on its way into the journal.
  void OnAdding() { parts_->run.OnAdding(); }
  const RowForm& form() const { return parts_->run.form(); }
  /// The program that names rows: whoever speaks to it says so, and what it answers.
  Asker& asker() { return parts_->run.asker(); }
  Asker::Need NeedOfRows() const { return parts_->run.NeedOfRows(); }
  /// A task that was held back (Recovered) may go out.
  void OnWanted(Time now, TaskId task);
  /// Nobody wants these any more: they end as `cancelled`, wherever they are.
  void OnCancelled(const std::vector<TaskId>& tasks);
  /// No more tasks will be added: the run ends with the last of them.
  void OnClosed() { parts_->run.OnClosed(); }
  void OnPool(size_t pool, bool closed) override { parts_->run.OnPool(pool, closed); }
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
  std::vector<Action> TakeActions() { return parts_->out.Take(); }

  std::chrono::milliseconds tick() const { return parts_->fleet.tick(); }
  /// Something is due in so long, at most `most`.
  std::chrono::milliseconds DueIn(Time now, std::chrono::milliseconds most) const;
  const Counts& counts() { return parts_->run.counts(); }
  bool Exists(TaskId task) const { return parts_->run.Exists(task); }
  /// Why nothing more is started; empty while something is.
  std::string drain_reason() const { return parts_->run.drain_reason(); }
  /// The rule that it met, if that is why.
  const std::optional<Halt>& halted() const { return parts_->run.halted(); }
  RunId run() const { return parts_->run.id(); }
  const TaskRequest& request(ClassId of) const { return parts_->run.request(of); }
  uint64_t TimeLimit(ClassId of, uint64_t own) const { return parts_->run.TimeLimit(of, own); }
  bool HasSession(const std::string& allocation) const override {
    return parts_->fleet.HasSession(allocation);
  }
  bool IsConnected(const std::string& allocation) const override {
    return parts_->fleet.IsConnected(allocation);
  }
  WorkLeft demand(size_t pool) override { return parts_->run.demand(pool); }
  uint64_t progress() override { return counts().done; }
  uint64_t workers() override { return counts().workers; }
  uint64_t staying() const override { return parts_->fleet.staying(); }
  std::vector<std::string> Idle(Time now, Time time) const override {
    return parts_->run.Idle(now, time);
  }
  std::vector<std::string> Emptiest() const override { return parts_->run.Emptiest(); }
  void OnDismissed(const std::string& allocation, const std::string& reason) override {
    parts_->fleet.OnDismissed(allocation, reason);
  }
  bool draining() const override { return !drain_reason().empty(); }
  std::string CommonProblem() const override { return parts_->run.CommonProblem(); }
  Ledger ledger() const { return parts_->run.ledger(); }
  // As Onlooker; the second as RunView::left, but for what those that run have behind them.
  RunView Look(Time now, size_t rows, size_t workers);
  std::optional<std::pair<Time, Time>> Left(Time now);
  std::vector<std::string> Explain(Time now, TaskId task);

  /// Asserts that its books agree. For tests.
  void CheckInvariants();

 private:
  void OnReport(Time now, Worker& worker, FromWorker& message);

  /// In one place, since they know each other.
  struct Parts {
    Parts(CoreOptions options, Recovered recovered);
    Outbox out;
    Fleet fleet;
    RunCore run;
  };
  std::unique_ptr<Parts> parts_;
};

}  // namespace cq
