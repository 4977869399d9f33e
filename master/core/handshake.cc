// Sessions: who is at the other end of a connection, and what it holds (PROTOCOL.md, "Handshake and
// recovery").
#include <fmt/format.h>

#include <algorithm>

#include "master/core/core.h"
#include "protocol/limits.h"

namespace cq {

void Core::Offer(Time now, ConnectionId to) {
  Peer& peer = workers_.peers()[to];
  if (peer.offered == 0) {
    peer.offered = MakeSerial(options_.epoch, next_session_++);
  }
  peer.offered_at = now;
  actions_.emplace_back(Send{to, peer.offered, Who{}});
}

void Core::OnHello(Time now, ConnectionId from, Envelope envelope, Hello& hello) {
  if (hello.run != options_.text.run) {
    actions_.emplace_back(
        Send{from, 0, Refuse{{}, {}, "this master serves another run than this worker's"}});
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

void Core::Accept(Time now, ConnectionId from, Peer& peer, Hello& hello) {
  Worker& worker = workers_.Get(hello.worker);
  if (worker.connected && worker.connection != from) workers_.peers().erase(worker.connection);
  // Who says that it is another now was never two.
  Worker& before = workers_[peer.worker];
  if (peer.session != 0 && before.index != worker.index) before.connected = false;
  // An allocation is one worker at a time: one that was requeued comes back as another.
  for (Worker& other : workers_.all()) {
    if (other.index == worker.index || other.allocation != hello.allocation) continue;
    if (other.awaited) {
      Lose(now, other, {fmt::format("worker {} was started anew", other.number), {}, {}});
    } else if (other.ended) {
      SettleAll(now, other.index, true);
    }
  }
  const bool is_new = (worker.session == 0 && !worker.awaited) || worker.ended;
  peer.session = peer.offered;
  peer.offered = 0;
  peer.worker = worker.index;
  worker.connected = true;
  worker.ended = false;
  worker.job_end.reset();
  worker.connection = from;
  worker.session = peer.session;
  worker.received = 0;
  worker.last_heard = now;
  workers_.SetHost(worker, hello.host);
  worker.allocation = hello.allocation;
  worker.pid = hello.pid;
  worker.slots = std::min<uint64_t>(hello.slots, kHeldMax);
  worker.capacity = std::min<uint64_t>(hello.capacity, kHeldMax);
  worker.problem = hello.problem;
  const bool avoided = workers_.HostOf(worker).avoided;
  worker.leaving = hello.leaving || draining_ || avoided;
  if (is_new) {
    ++worker.unrecorded;
    Record(WorkerRecord{worker.number, worker.id, worker.host, worker.pid, worker.slots,
                        worker.allocation});
  }
  if (is_new || worker.awaited) {
    actions_.emplace_back(
        Note{Note::Kind::kWorkers, fmt::format("worker {} on {} ({} slots, {})", worker.number,
                                               worker.host, worker.slots, worker.allocation)});
  }
  if (!worker.problem.empty()) OnIdle(worker, "takes no task: " + worker.problem);
  // What it must not start any more is said before the welcome that lets it start anything.
  Reconcile(worker, hello.held);
  EndAwaiting(worker);
  if (worker.unrecorded == 0) Greet(worker);
  if (draining_) SendTo(worker, Drain{drain_reason_});
  if (avoided) DrainWorker(worker, fmt::format("too many tasks failed on {}", worker.host));
  all_dirty_ = true;
}

void Core::Greet(const Worker& worker) {
  const auto lease_ms = static_cast<uint64_t>(options_.lease.count());
  SendTo(worker, Welcome{lease_ms / 3, lease_ms, {}});
  SendTo(worker, options_.text);
}

// Our books against what the worker says it holds. Only what was sent under an older session is
// compared: the hello may have been written before what this session brought.
void Core::Reconcile(Worker& worker, const std::vector<Held>& held) {
  std::set<AttemptId> has;
  for (const Held& h : held) {
    if (h.run == options_.text.run) has.insert(h.attempt);
  }
  for (Work* span : worker.held.All()) {
    if (span->out()->retracting) {
      // The request may be lost with the old session; if not, its answer still is in time.
      span->out()->retracting = false;
      worker.retracting -= span->count;
    }
    if (span->out()->session >= worker.session) continue;
    for (Work* open : tasks_.TakeApart(*span)) {
      if (has.contains(open->attempt)) {
        open->out()->session = worker.session;
      } else {
        --open->attempts;
        Release(open->task, *open);
      }
    }
  }
  worker.stale.clear();
  std::vector<AttemptRef> cancel;
  for (const Held& h : held) ReconcileHeld(worker, h, cancel);
  for (size_t at = 0; at < cancel.size(); at += kBatchMax) {
    const size_t end = std::min(cancel.size(), at + kBatchMax);
    SendTo(worker, Cancel{options_.text.run,
                          {cancel.begin() + static_cast<ptrdiff_t>(at),
                           cancel.begin() + static_cast<ptrdiff_t>(end)}});
  }
}

void Core::ReconcileHeld(Worker& worker, const Held& held, std::vector<AttemptRef>& cancel) {
  const bool ours = held.run == options_.text.run && tasks_.Exists(held.task) &&
                    Plausible(held.task, held.attempt);
  const bool finished = held.state == HeldState::kFinished;
  if (ours && beyond_.Contains(held.task)) return;
  if (!ours || tasks_.Done(held.task)) {
    // A finished one is judged, and acknowledged, when its result comes.
    if (!finished || !ours) cancel.push_back({held.task, held.attempt});
    return;
  }
  Work* open = tasks_.Find(held.task);
  // Its end has come by another way (a file), and overtook this hello.
  if (open != nullptr && held.attempt <= open->past->over) {
    if (!finished) cancel.push_back({held.task, held.attempt});
    return;
  }
  const bool running = held.state == HeldState::kRunning;
  const AttemptRef ref{held.task, held.attempt};
  // Its slot is told with its start; until then it has one of its own.
  const Work::Out::Run somewhere{UINT32_MAX - static_cast<uint32_t>(worker.held.size()), held.task};
  if (open != nullptr && open->IsOut(ref, worker.index)) {
    if (running && !open->runs()) Runs(worker, *open, somewhere);
    return;
  }
  // Nobody gave up on it: it counts, however it ends.
  const bool idle = open == nullptr || !open->out();
  if (finished && !(idle && (open == nullptr || held.attempt > open->past->given_up))) return;
  if (idle) {
    if (open != nullptr) TakeBackCharge(worker, ref, *open);
    if (open != nullptr && open->past->suspect == held.attempt) open->past.Edit().suspect = 0;
    Work& adopted = tasks_.Assign({held.task, held.attempt}, worker.index, worker.session);
    adopted.attempts = std::max<uint32_t>(adopted.attempts, 1);
    Hold(worker, adopted);
    if (running) Runs(worker, adopted, somewhere);
    return;
  }
  if (!running) {
    cancel.push_back(ref);
    return;
  }
  // It was given up and went to another: both run on, and the first `ok` wins.
  worker.stale.insert(held.attempt);
  stale_[held.task].emplace_back(held.attempt, worker.index);
}

}  // namespace cq
