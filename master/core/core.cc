#include "master/core/core.h"

#include <utility>

#include "master/core/onlooker.h"

namespace cq {
namespace {

Fleet::Options FleetOptions(const CoreOptions& options) {
  return {options.text.run, options.epoch, options.lease, options.explained_late,
          options.remembered};
}

}  // namespace

Core::Parts::Parts(CoreOptions options, Recovered recovered)
    : fleet(FleetOptions(options), recovered, out),
      run(std::move(options), std::move(recovered), fleet, out) {
  fleet.set_tenant(run);
}

Core::Core(CoreOptions options, Recovered recovered)
    : parts_(std::make_unique<Parts>(std::move(options), std::move(recovered))) {}

void Core::OnMessage(Time now, ConnectionId from, Envelope envelope, FromWorker message) {
  auto& [out, fleet, run] = *parts_;
  run.OnTime(now);
  if (run.finished()) return;
  if (auto* hello = std::get_if<Hello>(&message)) return fleet.OnHello(now, from, envelope, *hello);
  const auto [worker, gap] = fleet.OnMessage(now, from, envelope);
  if (worker == nullptr) return;
  OnReport(now, *worker, message);
  fleet.OnHeard(now, from, gap);
}

void Core::OnReport(Time now, Worker& worker, FromWorker& message) {
  struct {
    Fleet& fleet;
    RunCore& run;
    Time now;
    Worker& worker;

    void operator()(Hello&) {}
    void operator()(Started& m) {
      if (m.run == run.id()) run.OnStarted(worker, m.attempts);
    }
    void operator()(Results& m) {
      if (m.run == run.id()) run.OnResults(now, worker, m);
    }
    void operator()(Returned& m) {
      if (m.run == run.id()) run.OnReturned(worker, m);
    }
    void operator()(Output& m) {
      if (m.run == run.id()) run.OnOutput(worker, m);
    }
    void operator()(WorkerHeartbeat& m) {
      fleet.OnHeartbeat(worker, m);
      run.OnHeartbeat(worker, m);
    }
    void operator()(Leaving& m) { fleet.OnLeaving(worker, m.reason); }
    void operator()(Goodbye& m) { fleet.OnGoodbye(now, worker, m.reason); }
    // The loop answers those, whoever asks.
    void operator()(Request&) {}
  } visitor{parts_->fleet, parts_->run, now, worker};
  std::visit(visitor, message);
}

void Core::OnUnreachable(Time, ConnectionId connection) { parts_->fleet.OnUnreachable(connection); }

void Core::OnCommitted(Time now, Committed committed) {
  parts_->run.OnCommitted(now, committed);
  parts_->fleet.OnRecorded(committed.workers);
}

void Core::OnAllocationEnded(Time now, const std::string& allocation, const std::string& reason,
                             Blame blame) {
  parts_->fleet.OnAllocationEnded(now, allocation, reason, blame);
}

void Core::OnLimit(const std::string& allocations, uint64_t workers,
                   const std::vector<std::string>& spared) {
  parts_->run.OnLimit(allocations, {workers, {spared.begin(), spared.end()}});
}

void Core::OnSpooled(Time now, Results results) { parts_->run.OnSpooled(now, std::move(results)); }

void Core::OnAdded(uint64_t tasks) { parts_->run.OnAdded(tasks); }

void Core::OnWanted(Time now, TaskId task) { parts_->run.OnWanted(now, task); }

void Core::OnCancelled(const std::vector<TaskId>& tasks) { parts_->run.OnCancelled(tasks); }

void Core::OnDrain(Time, const std::string& reason) { parts_->run.OnDrain(reason); }

void Core::OnStop(Time, const std::string& reason) {
  auto& [out, fleet, run] = *parts_;
  if (run.finished()) return;
  run.OnStop();
  fleet.Stop(reason);
  out.Add(Finished{});
}

RunView Core::Look(Time now, size_t rows, size_t workers) {
  return Onlooker(parts_->run, now).Look(rows, workers);
}

std::optional<std::pair<Time, Time>> Core::Left(Time now) {
  return Onlooker(parts_->run, now).TimeToEnd(0);
}

std::vector<std::string> Core::Explain(Time now, TaskId task) {
  return Onlooker(parts_->run, now).Explain(task);
}

void Core::OnTick(Time now) {
  auto& [out, fleet, run] = *parts_;
  const Fleet::Due due = fleet.OnTick(now);
  run.OnTick(now);
  if (due.sweep) {
    run.LookAgain();
    fleet.Sweep(now);
  }
  if (due.heartbeats) {
    run.RecordLedger();
    fleet.SendHeartbeats();
  }
}

std::chrono::milliseconds Core::DueIn(Time now, std::chrono::milliseconds most) const {
  const auto start = parts_->run.next_start();
  if (!start) return most;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*start - now);
  return std::clamp(left, std::chrono::milliseconds(0), most);
}

void Core::Flush(Time now) {
  parts_->run.Flush(now);
  if (const auto end = parts_->run.End()) OnStop(now, *end);
}

void Core::CheckInvariants() {
  parts_->fleet.CheckInvariants();
  parts_->run.CheckInvariants();
}

}  // namespace cq
