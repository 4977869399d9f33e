// Sessions: what a worker and its master tell each other first, and in which order what a master
// says is heard (PROTOCOL.md, "Handshake and recovery").
#include <fmt/format.h>

#include <algorithm>

#include "worker/core/worker_core.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using Time = WorkerCore::Time;

// Why this worker cannot run tasks of this run, whoever made it up; empty if it can.
std::string Fault(const RunText& text) {
  const Program& program = text.program;
  if (program.empty() && text.command.empty()) return "the run has no command";
  if (!program.empty() && !program.calls && program.columns.size() != program.types.size()) {
    return fmt::format("the run has {} columns of {} types", program.columns.size(),
                       program.types.size());
  }
  return {};
}

}  // namespace

void WorkerCore::OnConnected(Time now) {
  session_state_ = SessionState::kKnocking;
  if (first_connect_ == Time{}) first_connect_ = now;
  last_connect_ = now;
  last_heartbeat_ = now;
  SayHello(now);
}

// With session 0 it knocks; with a number it answers the `who` that offered it.
void WorkerCore::SayHello(Time now) {
  last_hello_ = now;
  const bool answered = session_state_ != SessionState::kKnocking;
  Hello hello;
  hello.version = options_.version;
  hello.path = options_.path;
  hello.run = options_.run;
  hello.worker = options_.worker;
  hello.epoch = epoch_;
  hello.host = options_.host;
  hello.pid = options_.pid;
  hello.allocation = options_.allocation;
  hello.slots = options_.slots;
  hello.capacity = capacity();
  hello.problem = problem_;
  hello.leaving = told_to_go() != nullptr;
  PutCapacity(hello.extras, options_.has, options_.pool);
  for (const AttemptId end : held_.Ends()) {
    const HeldTask& held = *held_.EndingAt(end);
    for (const AttemptRef& ref : held.Refs()) {
      hello.held.push_back({options_.run, ref.task, ref.attempt, held.StateOf(ref.attempt)});
    }
  }
  actions_.emplace_back(SendUp{{answered ? session_ : 0, 0}, std::move(hello)});
}

void WorkerCore::OnWho(Time now, SessionId session) {
  // A master that has missed something asks a welcome worker anew.
  if (session <= session_ || session_state_ == SessionState::kAnswered) return;
  session_ = session;
  epoch_ = EpochOf(session);
  sent_ = 0;
  received_ = 0;
  session_state_ = SessionState::kAnswered;
  last_heard_ = now;
  SayHello(now);
}

void WorkerCore::OnWelcome(Time now, const Welcome& welcome) {
  heartbeat_ = milliseconds(std::clamp<uint64_t>(welcome.heartbeat_ms, 10, 3'600'000));
  lease_ = milliseconds(std::clamp<uint64_t>(welcome.lease_ms, 30, 10'800'000));
  // It answers a hello: the master has heard that one, whatever became of the time since.
  Renew(last_hello_ + lease_);
  if (welcomed()) return;
  session_state_ = SessionState::kWelcomed;
  ever_welcomed_ = true;
  lost_ = false;
  sent_at_.clear();
  last_heartbeat_ = now;
  unsent_.clear();
  unreported_.clear();
  for (const AttemptId end : held_.Ends()) {
    HeldTask& held = *held_.EndingAt(end);
    if (held::Finished* finished = held.finished()) {
      finished->sent = false;
      unsent_.push_back(end);
    } else if (held::Running* running = held.running()) {
      running->reported = false;
      unreported_.push_back(running->at);
    }
  }
  if (told_to_go()) Send(Leaving{leave_reason_});
  oldest_unsent_ = {};
  Report(now);
}

// A master that was resumed may be elsewhere.
void WorkerCore::OnDisconnected() {
  if (!welcomed() || exited()) return;
  lost_ = true;
  session_state_ = SessionState::kAnswered;
  actions_.emplace_back(Reconnect{});
}

void WorkerCore::OnMessage(Time now, Envelope envelope, ToWorker message) {
  if (exited()) return;
  if (auto* refuse = std::get_if<Refuse>(&message)) {
    return Leave(4, refuse->text);
  }
  if (EpochOf(envelope.session) < epoch_) return;
  if (std::holds_alternative<Who>(message)) {
    OnWho(now, envelope.session);
    return;
  }
  if (envelope.session != session_ || session_state_ == SessionState::kKnocking) return;
  last_heard_ = now;
  // A repetition: an attempt that it brings may have been handed back since.
  if (envelope.sequence <= received_) return;
  const bool gap = envelope.sequence > received_ + 1;
  received_ = envelope.sequence;
  if (gap) {
    // Before the welcome, too: the master may have sent tasks since it accepted our hello. And what
    // would let us start things must not be heard without what says that we must not.
    session_state_ = SessionState::kKnocking;
    SayHello(now);
    if (std::holds_alternative<Welcome>(message)) return;
    if (std::holds_alternative<MasterHeartbeat>(message)) return;
  }
  struct {
    WorkerCore& core;
    Time now;
    void operator()(Refuse&) {}
    void operator()(Who&) {}
    void operator()(Welcome& m) { core.OnWelcome(now, m); }
    void operator()(RunText& m) {
      if (m.run != core.options_.run) return;
      // A resumed master has fewer to run: that is no other text.
      if (core.text_) m.tasks = core.text_->tasks;
      // Longer than a century is for ever; and the clock has room for no more.
      constexpr uint64_t kCenturyMs = 100ull * 365 * 24 * 3600 * 1000;
      m.timeout_ms = std::min(m.timeout_ms, kCenturyMs);
      m.on_master_loss_ms = std::min(m.on_master_loss_ms, kCenturyMs);
      if (core.text_ == m) return;
      core.text_ = m;
      if (const std::string fault = Fault(m); !fault.empty()) {
        core.OnPrepared(fault);
        return;
      }
      core.actions_.emplace_back(Prepare{std::move(m)});
    }
    void operator()(Assign& m) { core.OnAssign(m); }
    void operator()(Ack& m) {
      for (const AttemptSpan& attempts : m.attempts) core.Forget(attempts);
    }
    void operator()(Retract& m) {
      core.actions_.emplace_back(TakeBack{std::move(m.attempts), ReturnReason::kRetracted});
    }
    void operator()(Cancel& m) {
      for (const AttemptRef& ref : m.attempts) core.CancelFinished(ref);
      core.actions_.emplace_back(TakeBack{m.attempts, ReturnReason::kCancelled});
      core.actions_.emplace_back(Kill{std::move(m.attempts)});
    }
    void operator()(MasterHeartbeat& m) {
      Time heard{};
      while (!core.sent_at_.empty() && core.sent_at_.front().first <= m.received) {
        heard = core.sent_at_.front().second;
        core.sent_at_.pop_front();
      }
      if (core.welcomed() && heard != Time{}) core.Renew(heard + core.lease_);
    }
    void operator()(Reply&) {}
    void operator()(Drain& m) {
      if (std::holds_alternative<Serving>(core.life_)) core.life_ = Draining{};
      core.leave_reason_ = m.reason;
      core.ReturnQueued(ReturnReason::kRetracted);
    }
    void operator()(Stop& m) { core.Leave(0, m.reason); }
  } visitor{*this, now};
  std::visit(visitor, message);
}

}  // namespace cq
