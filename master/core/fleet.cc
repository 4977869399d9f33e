// Leases, ends and heartbeats of workers (PROTOCOL.md, "Silence").
#include "master/core/fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "protocol/limits.h"

namespace cq {
namespace {

/// How long a worker whose job has ended, says its scheduler, has to show that it lives.
constexpr Time kAnswerWithin = std::chrono::seconds(3);
/// Beyond the end of a lease, until a fenced worker's tasks are surely dead.
constexpr Time kFenceGrace = std::chrono::seconds(5);

}  // namespace

Fleet::Fleet(Options options, const Recovered& recovered, Outbox& out)
    : options_(options), out_(out) {
  for (const KnownWorker& known : recovered.workers) {
    Worker& worker = workers_.Recover(known.id, known.number);
    workers_.SetHost(worker, known.host);
    workers_.SetAllocation(worker, known.allocation);
    workers_.Move(worker, Worker::Awaited{known.watched});
    ++awaiting_;
  }
  workers_.set_last_number(recovered.last_worker);
}

void Fleet::EndAwaiting(bool awaited) {
  if (!awaited) return;
  CQ_ASSERT(awaiting_ > 0, "a worker was awaited, and nobody is, of {}", workers_.all().size());
  if (--awaiting_ == 0) tenant_->OnComplete();
}

bool Fleet::IsConnected(const std::string& allocation) const {
  const auto workers = workers_.Of(allocation);
  return std::any_of(workers.begin(), workers.end(),
                     [](const Worker* worker) { return worker->here() != nullptr; });
}

uint64_t Fleet::staying() const {
  const auto& all = workers_.all();
  return static_cast<uint64_t>(std::count_if(all.begin(), all.end(), [](const Worker& worker) {
    return worker.here() && worker.stays();
  }));
}

void Fleet::OnHeartbeat(Worker& worker, const WorkerHeartbeat& heartbeat) {
  const auto capacity = std::min<uint64_t>(heartbeat.capacity, kHeldMax);
  if (capacity > std::exchange(worker.capacity, capacity)) tenant_->OnMayTake(worker);
}

void Fleet::OnLeaving(Worker& worker, const std::string& reason) {
  if (!worker.leaving) {
    out_.Tell(Note::Kind::kWorkers,
              fmt::format("worker {} on {} leaves: {}", worker.number, worker.host, reason));
  }
  worker.leaving = true;
}

void Fleet::OnGoodbye(Time now, Worker& worker, const std::string& reason) {
  Lose(now, worker,
       {fmt::format("worker {} on {} left: {}", worker.number, worker.host, reason), {}, {}});
}

void Fleet::OnUnreachable(ConnectionId connection) {
  const Peer* peer = workers_.FindPeer(connection);
  if (peer == nullptr) return;
  if (peer->session != 0) LoseSight(workers_[peer->worker]);
  workers_.peers().erase(connection);
}

void Fleet::LoseSight(Worker& worker) {
  if (worker.here()) workers_.Move(worker, Worker::Away{});
}

void Fleet::OnAllocationEnded(Time now, const std::string& allocation, const std::string& reason,
                              Blame blame) {
  for (Worker* worker : workers_.Of(allocation)) {
    if (worker->gone()) {
      tenant_->OnExplained(now, *worker, blame);
    } else {
      OnJobEnded(now, *worker, reason, blame);
    }
  }
}

// A scheduler may be wrong (it lost sight of a node): a worker that answers is alive whatever it
// says. One whose process was seen to end cannot answer.
void Fleet::OnJobEnded(Time now, Worker& worker, const std::string& reason, Blame blame) {
  if (worker.here() && options_.explained_late) {
    worker.job_end = {now + kAnswerWithin, reason, blame};
    Offer(now, worker.here()->connection);
    return;
  }
  Lose(now, worker, {reason, blame, {}});
  if (!options_.explained_late) workers_.Move(worker, Worker::Gone{now, true});
}

void Fleet::OnRecorded(const std::vector<uint64_t>& numbers) {
  for (const uint64_t number : numbers) {
    Worker* worker = workers_.WithNumber(number);
    if (worker == nullptr || worker->unrecorded == 0) continue;
    if (--worker->unrecorded > 0) continue;
    if (worker->here()) Greet(*worker);
    tenant_->OnMayTake(*worker);
  }
}

Fleet::Due Fleet::OnTick(Time now) {
  const Time gap = now - last_tick_;
  if (last_tick_ == Time{}) {
    started_ = now;
  } else if (gap > 2 * tick()) {
    // Time in which the master did not run (Ctrl-Z, a sleeping laptop) is nobody's silence.
    OnPause(gap - tick());
  }
  last_tick_ = now;
  Due due;
  due.sweep = now - last_sweep_ >= tick() / 4;
  if (due.sweep) last_sweep_ = now;
  due.heartbeats = now - last_heartbeat_ >= options_.lease / 3;
  if (due.heartbeats) last_heartbeat_ = now;
  return due;
}

void Fleet::OnPause(Time length) {
  for (Worker& worker : workers_.all()) worker.last_heard += length;
  started_ += length;
}

void Fleet::Sweep(Time now) {
  for (Worker& worker : workers_.all()) {
    if (worker.gone()) {
      ForgetIfLongGone(now, worker);
    } else {
      CheckLease(now, worker);
    }
  }
  std::erase_if(workers_.peers(), [&](const auto& entry) {
    return entry.second.session == 0 && now - entry.second.offered_at > options_.lease;
  });
}

void Fleet::CheckLease(Time now, Worker& worker) {
  if (const auto* awaited = worker.awaited()) {
    // Its end is told by its scheduler, if it has one.
    if (awaited->watched || now - started_ <= 2 * options_.lease) return;
    return Lose(
        now, worker,
        {fmt::format("worker {} on {} did not come back", worker.number, worker.host), {}, {}});
  }
  if (worker.job_end && (!worker.here() || now >= worker.job_end->answer_by)) {
    const auto end = *std::exchange(worker.job_end, std::nullopt);
    return Lose(now, worker, {end.reason, end.blame, {}});
  }
  if (now - worker.last_heard <= options_.lease) return;
  out_.Add(EndJob{worker.allocation});
  const auto reason = fmt::format("worker {} on {} was silent for {} s", worker.number, worker.host,
                                  std::chrono::ceil<std::chrono::seconds>(options_.lease).count());
  const auto blame = options_.explained_late ? Blame::kProvisional : Blame::kFinal;
  // It counts its lease from something that we heard, so it has ended there, too.
  Lose(now, worker, {reason, blame, now + options_.lease + kFenceGrace});
}

void Fleet::ForgetIfLongGone(Time now, Worker& worker) {
  // The place is nobody's, or the journal still has to answer.
  if (worker.number == 0 || worker.unrecorded > 0) return;
  if (now - std::get<Worker::Gone>(worker.presence).since <= options_.remembered) return;
  tenant_->OnForgotten(worker);
  workers_.Forget(worker);
}

void Fleet::Lose(Time now, Worker& worker, const Loss& loss) {
  const uint64_t tasks = tenant_->OnLost(now, worker, loss);
  const bool awaited = worker.awaited() != nullptr;
  if (const auto* here = worker.here()) workers_.peers().erase(here->connection);
  workers_.Move(worker, Worker::Gone{now});
  EndAwaiting(awaited);
  out_.Record(WorkerEndRecord{worker.number, loss.reason});
  if (tasks == 0) {
    out_.Tell(Note::Kind::kWorkers, loss.reason);
  } else {
    out_.Tell(Note::Kind::kWarning,
              fmt::format("{}; its {} tasks go to others", loss.reason, tasks));
  }
}

void Fleet::SendHeartbeats() {
  for (const Worker& worker : workers_.all()) {
    if (worker.here()) out_.SendTo(worker, MasterHeartbeat{worker.received});
  }
}

void Fleet::Drain(const std::string& reason) {
  drained_ = reason;
  for (Worker& worker : workers_.all()) {
    if (worker.here()) out_.SendTo(worker, cq::Drain{reason});
    worker.leaving = true;
  }
}

// It finishes what it has and leaves.
void Fleet::DrainWorker(Worker& worker, const std::string& reason) {
  out_.Tell(Note::Kind::kWarning,
            fmt::format("{}: its worker {} takes no more", reason, worker.number));
  if (worker.here()) out_.SendTo(worker, cq::Drain{reason});
  worker.leaving = true;
}

void Fleet::LetGo(Worker& worker, const std::string& reason) {
  worker.let_go = reason;
  if (worker.here()) out_.SendTo(worker, cq::Drain{reason});
}

void Fleet::OnDismissed(const std::string& allocation, const std::string& reason) {
  for (Worker* worker : workers_.Of(allocation)) {
    if (worker->stays()) LetGo(*worker, reason);
  }
}

void Fleet::Stop(const std::string& reason) {
  for (const Worker& worker : workers_.all()) {
    if (worker.here()) out_.SendTo(worker, cq::Stop{reason});
    if (!worker.gone()) out_.Record(WorkerEndRecord{worker.number, reason});
  }
}

}  // namespace cq
