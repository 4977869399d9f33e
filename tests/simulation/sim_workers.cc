// The workers of a run, and the network between them and their master.
#include <fmt/format.h>

#include <algorithm>

#include "tests/simulation/names.h"
#include "tests/simulation/sim_run.h"

namespace cq::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- workers ----

void SimRun::StartWorker() {
  MakeWorker(fmt::format("{} {}", world_.scheduled ? "slurm" : "local", workers_.size() + 1));
}

SimWorker& SimRun::StartLoan(const std::string& allocation, SimMachine* machine) {
  SimWorker& w = MakeWorker(allocation, machine);
  return w;
}

SimWorker& SimRun::MakeWorker(const std::string& allocation, SimMachine* machine) {
  auto made = std::make_unique<SimWorker>();
  SimWorker& w = *made;
  w.number = workers_.size() + 1;
  w.allocation = allocation;
  w.machine = machine;
  w.bad_host = world_.black_hole && w.number == 1;
  w.slots.resize(machine != nullptr ? 1 : world_.slots);
  WorkerCoreOptions options;
  options.run = id_;
  for (size_t i = 0; i < 8; ++i) options.worker[i] = static_cast<uint8_t>(w.number >> (8 * i));
  options.host = machine != nullptr ? machine->name : fmt::format("h{}", w.number);
  options.allocation = w.allocation;
  options.slots = w.slots.size();
  options.local = !world_.scheduled;
  const bool large = world_.scaled || w.number % 3 != 0;
  options.has = SimRows::CapacityOf(world_, large);
  w.large = world_.classes == 0 || (large && !w.bad_host);
  w.has = options.has;
  if (world_.life > Time{}) {
    w.ends = now_ + world_.life;
    At(w.ends, [this, &w] { KillWorker(w, Blame::kNobody); });
  }
  w.core = std::make_unique<WorkerCore>(options);
  workers_.push_back(std::move(made));
  Say(fmt::format("worker {} starts ({})", w.number, allocation));
  Connect(w);
  w.core->OnConnected(now_);
  StepWorker(w);
  return w;
}

void SimRun::Connect(SimWorker& w) {
  if (w.connection != 0) links_[w.connection].open = false;
  w.connection = ++next_connection_;
  Link link;
  link.worker = &w;
  links_[w.connection] = link;
}

void SimRun::Dies(SimWorker& w) {
  w.alive = false;
  links_[w.connection].open = false;
  for (auto& slot : w.slots) slot.reset();
  if (w.machine != nullptr && w.machine->trial == &w) w.machine->trial = nullptr;
}

void SimRun::KillWorker(SimWorker& w, Blame blame) {
  if (!w.alive) return;
  Say(fmt::format("worker {} dies", w.number));
  if (w.machine != nullptr && world_.takes_machine) {
    w.machine->die();
    return;
  }
  if (w.machine != nullptr) {
    Dies(w);
    w.machine->ended(w, false);
    return;
  }
  blamed_[w.number] = blame;
  Dies(w);
  if (batch_ != nullptr) {
    batch_->OnWorkerGone(w, blame == Blame::kNobody   ? JobEnding::kNode
                            : blame == Blame::kMemory ? JobEnding::kMemory
                                                      : JobEnding::kItself);
    return;
  }
  // Its scheduler tells the master, if there is one then, sooner or later.
  const Time told = world_.scheduled ? random_.Within(seconds(100)) : random_.Within(seconds(1));
  TellEndedLater(w.allocation, blame, told);
  if (now_ < world_.quiet_after) {
    if (AliveWorkers() < world_.workers + 2)
      After(random_.Within(seconds(5)), [this] { StartWorker(); });
  } else {
    After(seconds(1), [this] { StartWorker(); });
  }
}

void SimRun::KillLoan(SimWorker& w) {
  if (!w.alive) return;
  Say(fmt::format("worker {} is killed with its machine's", w.number));
  Dies(w);
}

void SimRun::TellEndedLater(const std::string& allocation, Blame blame, Time delay) {
  After(delay, [this, allocation, blame] {
    if (over_) return;
    if (core_ == nullptr) {
      TellEndedLater(allocation, blame, seconds(5));
    } else {
      TellEnded(allocation, blame);
    }
  });
}

void SimRun::TellEnded(const std::string& allocation, Blame blame) {
  if (core_ == nullptr || over_) return;
  ReadSpool();
  core_->OnAllocationEnded(MasterNow(), allocation, "its job ended", blame);
  StepMaster();
}

void SimRun::TellLeave(const std::string& allocation) {
  if (core_ == nullptr || over_) return;
  if (core_->HasSession(allocation)) {
    core_->OnDismissed(allocation, "the worker of the pool that it is on leaves");
    return StepMaster();
  }
  // As at every look at the jobs, until its loan has ended.
  After(seconds(5), [this, allocation, master = master_] {
    if (master == master_) TellLeave(allocation);
  });
}

void SimRun::TellLimit(const std::string& allocations, uint64_t workers,
                       const std::vector<std::string>& spared) {
  if (core_ == nullptr || over_) return;
  core_->OnLimit(allocations, workers, spared);
  StepMaster();
}

bool SimRun::LargeIsAlive() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& w) { return w->alive && w->large && !w->hangs(); });
}

uint64_t SimRun::AliveWorkers() const {
  return static_cast<uint64_t>(std::count_if(
      workers_.begin(), workers_.end(), [](const auto& w) { return w->alive && !w->hangs(); }));
}

SimWorker* SimRun::AnyWorker() {
  std::vector<SimWorker*> alive;
  for (const auto& w : workers_) {
    if (w->alive) alive.push_back(w.get());
  }
  return alive.empty() ? nullptr : alive[random_.Below(alive.size())];
}

void SimRun::WakeWorker(SimWorker& w) {
  if (!w.alive || now_ < w.stopped_until) return;
  if (world_.slow && w.number == 1) {
    After(random_.Within(world_.lease / 4), [this, &w] { StepWorker(w); });
  } else {
    StepWorker(w);
  }
}

void SimRun::StepWorker(SimWorker& w) {
  if (!w.alive || now_ < w.stopped_until) return;
  while (!w.inbox.empty()) {
    auto [envelope, message] = std::move(w.inbox.front());
    w.inbox.pop_front();
    if (const auto* ack = std::get_if<Ack>(&message)) {
      for (const AttemptSpan& attempts : ack->attempts) {
        for (uint64_t i = 0; i < attempts.count; ++i) w.unacknowledged.erase(attempts.attempt + i);
      }
    } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
      for (const AttemptRef& ref : cancel->attempts) w.unacknowledged.erase(ref.attempt);
    }
    w.core->OnMessage(now_, envelope, std::move(message));
    Act(w);
    if (!w.alive) return;
  }
  std::vector<RunningTask> running;
  for (size_t i = 0; i < w.slots.size(); ++i) {
    if (!w.slots[i]) continue;
    running.push_back({w.slots[i]->work.first(), i, w.slots[i]->started});
  }
  w.core->OnRunning(running);
  for (auto& [result, by_us] : std::exchange(w.ended, {})) {
    w.core->OnFinished(now_, std::move(result), by_us);
  }
  w.core->OnTick(now_);
  Act(w);
  if (!w.alive) return;
  const Time due = std::max(w.core->next_due(), now_ + milliseconds(1));
  if (due >= w.wake_at && w.wake_at > now_) return;
  w.wake_at = due;
  SimWorker* worker = &w;
  At(due, [this, worker, due] {
    if (worker->wake_at == due) worker->wake_at = Time::max();
    StepWorker(*worker);
  });
}

void SimRun::Act(SimWorker& w) {
  w.core->CheckInvariants();
  for (auto actions = w.core->TakeActions(); !actions.empty() && w.alive;
       actions = w.core->TakeActions()) {
    for (WorkerAction& action : actions) {
      std::visit([this, &w](auto& a) { Do(w, a); }, action);
      if (!w.alive) return;
    }
  }
}

void SimRun::Do(SimWorker& w, SendUp& send) {
  Say(fmt::format("worker {} on {} sends {} in {:x} {}", w.number, w.connection,
                  NameOf(send.message), send.envelope.session, send.envelope.sequence));
  Link& link = links_[w.connection];
  SendThrough(w, link.up_free, [this, &w, from = w.connection, send] {
    if (core_ == nullptr) return;
    inbox_.push_back({from, send.envelope, send.message});
    if (now_ >= master_stopped_until_) StepMaster();
  });
}
void SimRun::Do(SimWorker& w, Reconnect&) {
  Connect(w);
  w.core->OnConnected(now_);
}
void SimRun::Do(SimWorker& w, Prepare&) {
  w.prepared = true;
  w.core->OnPrepared("");
  slots_.Start(w);
}
void SimRun::Do(SimWorker& w, Enqueue& enqueue) {
  for (Task& task : enqueue.tasks) w.queue.emplace_back(std::move(task));
  slots_.Start(w);
}
void SimRun::Do(SimWorker& w, TakeBack& take) {
  w.core->OnTakenBack(slots_.TakeBack(w, take.attempts), take.reason);
}
void SimRun::Do(SimWorker& w, StartUntil& start) {
  w.start_until = start.until;
  slots_.Start(w);
}
void SimRun::Do(SimWorker& w, Spool& spool) {
  spool_.push_back(spool.results);
  (void)w;
}
void SimRun::Do(SimWorker& w, Exit& exit) {
  Say(fmt::format("worker {} exits: {}", w.number, exit.reason));
  Dies(w);
  if (w.machine != nullptr) {
    w.machine->ended(w, true);
  } else if (batch_ != nullptr) {
    batch_->OnWorkerGone(w, JobEnding::kLeft);
  } else if (!over_ && !finished_) {
    TellEndedLater(w.allocation, Blame::kNobody, random_.Within(seconds(2)));
    After(random_.Within(seconds(5)), [this] {
      if (!LargeIsAlive()) StartWorker();
    });
  }
}

// ---- the network ----

void SimRun::SendThrough(SimWorker& w, Time& free, const std::function<void()>& deliver) {
  const bool quiet = now_ >= world_.quiet_after;
  if (!quiet && (random_.Chance(world_.drop) || now_ < w.cut_until)) return;
  const int copies = !quiet && random_.Chance(world_.repeat) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    Time delay = random_.Within(milliseconds(2));
    if (!quiet && random_.Chance(world_.delay)) delay += random_.Within(world_.lease);
    // Within a connection order is kept.
    free = std::max(free, now_ + delay);
    const ConnectionId connection = w.connection;
    At(free, [this, connection, deliver] {
      if (links_[connection].open) deliver();
    });
  }
  // The connection breaks and comes back under another name; the master is not told, the worker
  // not always.
  if (!quiet && random_.Chance(world_.cut)) {
    Say(fmt::format("the connection of worker {} is cut", w.number));
    Connect(w);
    if (random_.Chance(500)) TellDisconnected(w);
  }
}

void SimRun::TellDisconnected(SimWorker& w) {
  After(random_.Within(milliseconds(5)), [this, &w] {
    if (!w.alive) return;
    w.core->OnDisconnected();
    WakeWorker(w);
  });
}

void SimRun::Transmit(Link& link, SessionId session, ToWorker message) {
  Envelope envelope{session, 0};
  if (session != 0 && !std::holds_alternative<Who>(message)) {
    if (link.session != session) {
      link.session = session;
      link.sent_down = 0;
    }
    envelope.sequence = ++link.sent_down;
  }
  SimWorker& w = *link.worker;
  Say(fmt::format("the master sends {} to worker {} in {:x} {}", NameOf(message), w.number, session,
                  envelope.sequence));
  SendThrough(w, link.down_free, [this, &w, envelope, message] {
    w.inbox.emplace_back(envelope, message);
    WakeWorker(w);
  });
}

}  // namespace cq::sim
