// Sessions: who is at the other end of a connection (PROTOCOL.md, "Handshake and recovery").
#include <fmt/format.h>

#include <algorithm>

#include "master/core/fleet.h"
#include "protocol/limits.h"

namespace cq {

void Fleet::Offer(Time now, ConnectionId to) {
  Peer& peer = workers_.peers()[to];
  if (peer.offered == 0) peer.offered = MakeSerial(options_.epoch, next_session_++);
  peer.offered_at = now;
  out_.Add(Send{to, peer.offered, Who{}});
}

Fleet::Sender Fleet::OnMessage(Time now, ConnectionId from, const Envelope& envelope) {
  const Peer* peer = workers_.FindPeer(from);
  if (peer == nullptr || peer->session == 0) {
    Offer(now, from);
    return {};
  }
  // What was sent before the worker saw our `who` is in the hello that it answers with, or sent
  // again after it.
  if (envelope.session != peer->session) return {};
  Worker& worker = workers_[peer->worker];
  worker.last_heard = now;
  const bool gap = envelope.sequence > worker.received + 1;
  worker.received = std::max(worker.received, envelope.sequence);
  return {&worker, gap};
}

// The offer may be lost like anything else: it is repeated until a hello answers it.
void Fleet::OnHeard(Time now, ConnectionId from, bool gap) {
  const Peer* peer = workers_.FindPeer(from);
  const bool unanswered = peer != nullptr && peer->offered != 0 && now - peer->offered_at >= tick();
  if (gap || unanswered) Offer(now, from);
}

void Fleet::OnHello(Time now, ConnectionId from, Envelope envelope, Hello& hello) {
  if (hello.run != options_.id) {
    out_.Add(Send{from, 0, Refuse{{}, {}, "this master serves another run than this worker's"}});
    return;
  }
  Peer* peer = workers_.FindPeer(from);
  const bool known = peer != nullptr && envelope.session != 0;
  if (known && peer->offered == envelope.session) {
    Accept(now, from, *peer, hello);
  } else if (known && peer->session == envelope.session) {
    // Our welcome was lost, or the hello was repeated before it came.
    workers_[peer->worker].last_heard = now;
    if (workers_[peer->worker].unrecorded == 0) Greet(workers_[peer->worker]);
  } else {
    Offer(now, from);
  }
}

void Fleet::Accept(Time now, ConnectionId from, Peer& peer, Hello& hello) {
  Worker& worker = workers_.Get(hello.worker);
  // It was said to have ended before its last words came: nobody would tell of its end again.
  if (const auto* gone = std::get_if<Worker::Gone>(&worker.presence); gone && gone->ended) return;
  const auto* here = worker.here();
  if (here && here->connection != from) workers_.peers().erase(here->connection);
  // Who says that it is another now was never two.
  Worker& before = workers_[peer.worker];
  if (peer.session != 0 && before.index != worker.index) LoseSight(before);
  // An allocation is one worker at a time: one that was requeued comes back as another.
  for (Worker* other : workers_.Of(hello.allocation)) {
    if (other == &worker) continue;
    if (other->awaited()) {
      Lose(now, *other, {fmt::format("worker {} was started anew", other->number), {}, {}});
    } else if (other->gone()) {
      tenant_->OnExplained(now, *other, Blame::kNobody);
    }
  }
  const bool awaited = worker.awaited() != nullptr;
  const bool is_new = (worker.session == 0 && !awaited) || worker.gone();
  peer.session = peer.offered;
  peer.offered = 0;
  peer.worker = worker.index;
  workers_.Move(worker, Worker::Here{from});
  worker.job_end.reset();
  worker.session = peer.session;
  worker.received = 0;
  worker.last_heard = now;
  workers_.SetHost(worker, hello.host);
  workers_.SetAllocation(worker, hello.allocation);
  worker.pid = hello.pid;
  worker.slots = std::min<uint64_t>(hello.slots, kHeldMax);
  worker.capacity = std::min<uint64_t>(hello.capacity, kHeldMax);
  worker.pool = PoolOf(hello.extras);
  worker.has = CapacityOf(hello.extras);
  const bool avoided = workers_.HostOf(worker).avoided;
  worker.leaving = hello.leaving || drained_ || avoided;
  if (is_new) {
    ++worker.unrecorded;
    out_.Record(WorkerRecord{worker.number, worker.id, worker.host, worker.pid, worker.slots,
                             worker.allocation});
  }
  if (is_new || awaited) {
    out_.Tell(Note::Kind::kWorkers, fmt::format("worker {} on {} ({} slots, {})", worker.number,
                                                worker.host, worker.slots, worker.allocation));
  }
  // What it must not start any more is said before the welcome that lets it start anything.
  tenant_->OnHello(worker, hello);
  EndAwaiting(awaited);
  if (worker.unrecorded == 0) Greet(worker);
  if (drained_) out_.SendTo(worker, cq::Drain{*drained_});
  if (!worker.let_go.empty()) out_.SendTo(worker, cq::Drain{worker.let_go});
  if (avoided) DrainWorker(worker, fmt::format("too many tasks failed on {}", worker.host));
}

void Fleet::Greet(const Worker& worker) {
  const auto lease_ms = static_cast<uint64_t>(options_.lease.count());
  out_.SendTo(worker, Welcome{lease_ms / 3, lease_ms, {}});
  tenant_->OnWelcome(worker);
}

}  // namespace cq
