#include "tests/simulation/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "master/core/core.h"
#include "tests/simulation/names.h"
#include "tests/simulation/sim_program.h"
#include "tests/simulation/sim_worker.h"
#include "tests/simulation/timeline.h"
#include "tests/simulation/truth.h"

namespace cq::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr RunId kRun = 77;
constexpr Time kTimeLimit = std::chrono::hours(3);

class Simulation {
 public:
  Simulation(const World& world, const std::function<void(const std::string&)>& trace)
      : world_(world), trace_(trace), random_(world.seed * 2 + 1), program_(world.tasks) {}

  std::optional<std::string> Run() {
    try {
      StartMaster();
      for (uint64_t i = 0; i < world_.workers; ++i) StartWorker();
      At(seconds(1), [this] { Trouble(); });
      while (!over_) {
        timeline_.Step();
        if (now_ > kTimeLimit) throw Broken{"the run does not end"};
      }
      CheckEnd(world_, journal_);
    } catch (const Broken& broken) {
      return fmt::format("at {} ms: {}", now_ / milliseconds(1), broken.what);
    }
    return std::nullopt;
  }

 private:
  struct Link {
    SimWorker* worker = nullptr;
    Time up_free{};
    Time down_free{};
    uint64_t sent_down = 0;
    SessionId session = 0;
    bool open = true;
  };

  // ---- time ----

  void At(Time when, std::function<void()> run) { timeline_.At(when, std::move(run)); }
  void After(Time delay, std::function<void()> run) { At(now_ + delay, std::move(run)); }

  void Say(const std::string& line) {
    if (trace_) trace_(fmt::format("{:>8} ms  {}", now_ / milliseconds(1), line));
  }

  // ---- what tasks do ----

  void StartTasks(SimWorker& w) {
    if (!w.alive || !w.prepared) return;
    for (size_t slot = 0; slot < w.slots.size(); ++slot) {
      if (w.slots[slot] || w.queue.empty() || now_ > w.start_until) continue;
      Running running{std::move(w.queue.front()), now_, false, ++serial_};
      w.queue.pop_front();
      const AttemptRef ref{running.task.task, running.task.attempt};
      if (!started_.insert(ref.attempt).second)
        throw Broken{fmt::format("attempt {} ran twice", ref.attempt)};
      if (world_.fence) {
        for (const auto& other : workers_) {
          for (const auto& r : other->slots) {
            if (other->alive && r && r->task.task == ref.task) {
              throw Broken{fmt::format("task {} runs twice at a time despite the fence", ref.task)};
            }
          }
        }
      }
      if (Calm() && !world_.failing && !world_.flaky) CheckFirst(ref.task);
      Say(fmt::format("worker {} starts task {} attempt {:x}", w.number, ref.task, ref.attempt));
      const Time length = w.bad_host ? milliseconds(1) : random_.Within(world_.longest_task);
      const uint64_t serial = running.serial;
      w.slots[slot] = std::move(running);
      SimWorker* worker = &w;
      After(length, [this, worker, slot, serial] { EndTask(*worker, slot, serial); });
    }
  }

  // Only masters die in this world.
  bool Calm() const {
    return world_.drop + world_.repeat + world_.delay + world_.cut + world_.partition +
                   world_.kill_worker + world_.stop_worker + world_.tell_worker +
                   world_.stop_master + world_.deadly + world_.cancel ==
               0 &&
           !world_.black_hole && world_.scheduled;
  }

  // What a live worker runs, or ran well, is not run a second time.
  void CheckFirst(TaskId task) const {
    if (ended_well_.contains(task))
      throw Broken{fmt::format("task {} runs again after it ended ok", task)};
    for (const auto& other : workers_) {
      for (const auto& r : other->slots) {
        if (other->alive && r && r->task.task == task) {
          throw Broken{fmt::format("task {} runs twice, though its worker lives", task)};
        }
      }
    }
  }

  void EndTask(SimWorker& w, size_t slot, uint64_t serial) {
    if (!w.alive || !w.slots[slot] || w.slots[slot]->serial != serial) return;
    const Running running = std::move(*w.slots[slot]);
    const Fate fate = FateOf(world_, running.task.task);
    if (fate == Fate::kDeadly && !running.killed && !w.bad_host) {
      Say(fmt::format("task {} takes worker {} with it", running.task.task, w.number));
      KillWorker(w, false);
      return;
    }
    w.slots[slot].reset();
    TaskResult result;
    result.task = running.task.task;
    result.attempt = running.task.attempt;
    result.slot = slot;
    result.wall_us = static_cast<uint64_t>((now_ - running.started) / std::chrono::microseconds(1));
    const bool fails =
        fate == Fate::kFails || (fate == Fate::kFlaky && running.task.attempt_number == 1);
    if (w.bad_host) {
      result.unstartable = true;
      result.outcome = Outcome::kError;
      result.details.Edit().exit = 127;
    } else if (running.killed) {
      result.details.Edit().exit = -9;
      result.outcome = Outcome::kError;
    } else if (fails) {
      result.outcome = Outcome::kError;
      result.details.Edit().exit = 1;
      result.details.Edit().error = "no";
    } else {
      ended_ok_.insert(result.attempt);
      ended_well_.insert(result.task);
      result.values = {{"y", static_cast<int64_t>(2 * result.task)}};
    }
    if (result.outcome == Outcome::kOk) w.unacknowledged.emplace(result.attempt, now_);
    w.ended.emplace_back(std::move(result), running.killed);
    StartTasks(w);
    WakeWorker(w);
  }

  // ---- workers ----

  void StartWorker() {
    auto made = std::make_unique<SimWorker>();
    SimWorker& w = *made;
    w.number = workers_.size() + 1;
    w.allocation = fmt::format("{} {}", world_.scheduled ? "slurm" : "local", w.number);
    w.bad_host = world_.black_hole && w.number == 1;
    w.slots.resize(world_.slots);
    WorkerCoreOptions options;
    options.run = kRun;
    for (size_t i = 0; i < 8; ++i) options.worker[i] = static_cast<uint8_t>(w.number >> (8 * i));
    options.host = fmt::format("h{}", w.number);
    options.allocation = w.allocation;
    options.slots = world_.slots;
    options.local = !world_.scheduled;
    w.core = std::make_unique<WorkerCore>(options);
    workers_.push_back(std::move(made));
    Say(fmt::format("worker {} starts", w.number));
    Connect(w);
    w.core->OnConnected(now_);
    StepWorker(w);
  }

  void Connect(SimWorker& w) {
    if (w.connection != 0) links_[w.connection].open = false;
    w.connection = ++next_connection_;
    Link link;
    link.worker = &w;
    links_[w.connection] = link;
  }

  void KillWorker(SimWorker& w, bool explained) {
    if (!w.alive) return;
    Say(fmt::format("worker {} dies", w.number));
    w.alive = false;
    if (explained) explained_.insert(w.number);
    links_[w.connection].open = false;
    for (auto& slot : w.slots) slot.reset();
    // Its scheduler tells the master, if there is one then, sooner or later.
    const Time told = world_.scheduled ? random_.Within(seconds(100)) : random_.Within(seconds(1));
    const std::string allocation = w.allocation;
    TellEnded(allocation, explained, told);
    if (now_ < world_.quiet_after) {
      if (AliveWorkers() < world_.workers + 2)
        After(random_.Within(seconds(5)), [this] { StartWorker(); });
    } else {
      After(seconds(1), [this] { StartWorker(); });
    }
  }

  void TellEnded(const std::string& allocation, bool explained, Time delay) {
    After(delay, [this, allocation, explained] {
      if (over_) return;
      if (core_ == nullptr) {
        TellEnded(allocation, explained, seconds(5));
        return;
      }
      core_->OnAllocationEnded(MasterNow(), allocation, "its job ended", explained);
      StepMaster();
    });
  }

  uint64_t AliveWorkers() const {
    return static_cast<uint64_t>(
        std::count_if(workers_.begin(), workers_.end(), [](const auto& w) { return w->alive; }));
  }

  void WakeWorker(SimWorker& w) {
    if (!w.alive || now_ < w.stopped_until) return;
    if (world_.slow && w.number == 1) {
      After(random_.Within(world_.lease / 4), [this, &w] { StepWorker(w); });
    } else {
      StepWorker(w);
    }
  }

  void StepWorker(SimWorker& w) {
    if (!w.alive || now_ < w.stopped_until) return;
    while (!w.inbox.empty()) {
      auto [envelope, message] = std::move(w.inbox.front());
      w.inbox.pop_front();
      if (const auto* ack = std::get_if<Ack>(&message)) {
        for (const AttemptRef& ref : ack->attempts) w.unacknowledged.erase(ref.attempt);
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
      const Task& task = w.slots[i]->task;
      running.push_back({{task.task, task.attempt}, i, w.slots[i]->started});
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

  void Act(SimWorker& w) {
    for (auto actions = w.core->TakeActions(); !actions.empty() && w.alive;
         actions = w.core->TakeActions()) {
      for (WorkerAction& action : actions) {
        std::visit([this, &w](auto& a) { Do(w, a); }, action);
        if (!w.alive) return;
      }
    }
  }

  void Do(SimWorker& w, SendUp& send) {
    Say(fmt::format("worker {} on {} sends {} in {:x} {}", w.number, w.connection,
                    NameOf(send.message), send.envelope.session, send.envelope.sequence));
    Link& link = links_[w.connection];
    SendThrough(w, link.up_free, [this, &w, from = w.connection, send] {
      if (core_ == nullptr) return;
      inbox_.push_back({from, send.envelope, send.message});
      if (now_ >= master_stopped_until_) StepMaster();
    });
  }
  void Do(SimWorker& w, Reconnect&) {
    Connect(w);
    w.core->OnConnected(now_);
  }
  void Do(SimWorker& w, Prepare&) {
    w.prepared = true;
    w.core->OnPrepared("");
    StartTasks(w);
  }
  void Do(SimWorker& w, Enqueue& enqueue) {
    for (Task& task : enqueue.tasks) w.queue.push_back(std::move(task));
    StartTasks(w);
  }
  void Do(SimWorker& w, TakeBack& take) {
    std::vector<AttemptRef> taken;
    std::erase_if(w.queue, [&](const Task& task) {
      const AttemptRef ref{task.task, task.attempt};
      if (std::find(take.attempts.begin(), take.attempts.end(), ref) == take.attempts.end()) {
        return false;
      }
      taken.push_back(ref);
      return true;
    });
    w.core->OnTakenBack(taken, take.reason);
  }
  void Do(SimWorker& w, cq::Kill& kill) {
    for (size_t i = 0; i < w.slots.size(); ++i) {
      auto& slot = w.slots[i];
      if (!slot) continue;
      const AttemptRef ref{slot->task.task, slot->task.attempt};
      if (std::find(kill.attempts.begin(), kill.attempts.end(), ref) == kill.attempts.end())
        continue;
      slot->killed = true;
      SimWorker* worker = &w;
      After(milliseconds(1),
            [this, worker, i, serial = slot->serial] { EndTask(*worker, i, serial); });
    }
  }
  void Do(SimWorker& w, StartUntil& start) {
    w.start_until = start.until;
    StartTasks(w);
  }
  void Do(SimWorker& w, Spool& spool) {
    spool_.push_back(spool.results);
    (void)w;
  }
  void Do(SimWorker& w, Exit& exit) {
    Say(fmt::format("worker {} exits: {}", w.number, exit.reason));
    w.alive = false;
    links_[w.connection].open = false;
    for (auto& slot : w.slots) slot.reset();
    if (!over_ && !finished_) {
      TellEnded(w.allocation, true, random_.Within(seconds(2)));
      After(random_.Within(seconds(5)), [this] {
        if (AliveWorkers() == 0) StartWorker();
      });
    }
  }

  // ---- the network ----

  template <class F>
  void SendThrough(SimWorker& w, Time& free, F deliver) {
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

  void TellDisconnected(SimWorker& w) {
    After(random_.Within(milliseconds(5)), [this, &w] {
      if (!w.alive) return;
      w.core->OnDisconnected();
      WakeWorker(w);
    });
  }

  // ---- the master ----

  Time MasterNow() const { return now_ - master_origin_; }

  void StartMaster() {
    ++journal_.epoch;
    CoreOptions options;
    options.epoch = journal_.epoch;
    options.text.run = kRun;
    options.text.fence = world_.fence;
    options.text.on_master_loss_ms = 120'000;
    options.tasks = world_.tasks;
    options.lease = std::chrono::duration_cast<milliseconds>(world_.lease);
    options.crash_limit = world_.crash_limit;
    options.retries = world_.retries;
    options.explained_late = world_.scheduled;
    options.mark_stride = 8;
    options.gather_acks = world_.gather_acks;
    options.expected_slots = world_.workers * world_.slots;
    Recovered recovered = journal_.Recover(world_.scheduled);
    options.open = world_.embedding;
    if (world_.embedding) options.tasks = program_.Start(journal_, recovered);
    recovered.mark = journal_.mark;
    core_ = std::make_unique<Core>(options, std::move(recovered));
    // Each master has a clock of its own.
    master_origin_ = now_ - seconds(1);
    pending_.clear();
    inbox_.clear();
    master_stopped_until_ = Time{};
    ++master_;
    Say(fmt::format("master {} starts", journal_.epoch));
    // What is known to be dead.
    for (const auto& w : workers_) {
      if (w->alive) continue;
      core_->OnAllocationEnded(MasterNow(), w->allocation, "its job ended",
                               explained_.contains(w->number));
    }
    for (const Results& results : spool_) core_->OnSpooled(MasterNow(), results);
    StepMaster();
    Tick(master_);
    if (world_.embedding) SubmitCalls(master_);
  }

  // The program goes on where it is; its calls are known to the journal before their results are.
  void SubmitCalls(uint64_t master) {
    if (master != master_ || core_ == nullptr || over_) return;
    for (uint64_t portion = 1 + random_.Below(10); portion > 0; --portion) {
      const auto submission = program_.Next();
      if (!submission) {
        core_->OnClosed();
        StepMaster();
        return;
      }
      const TaskId task = submission->task;
      if (submission->known) {
        core_->OnWanted(MasterNow(), task);
      } else {
        Record(CallRecord{task, "f", std::to_string(submission->call)});
        core_->OnAdded(1);
      }
      if (!random_.Chance(world_.cancel)) continue;
      After(random_.Within(seconds(20)), [this, task, master] {
        if (master != master_ || core_ == nullptr || over_) return;
        Say(fmt::format("task {} is cancelled", task));
        core_->OnCancelled({task});
        StepMaster();
      });
    }
    StepMaster();
    After(random_.Within(seconds(2)), [this, master] { SubmitCalls(master); });
  }

  void Tick(uint64_t master) {
    After(std::chrono::duration_cast<Time>(world_.lease / 30), [this, master] {
      if (master != master_ || core_ == nullptr) return;
      for (const Results& results : std::exchange(spool_, {})) {
        core_->OnSpooled(MasterNow(), results);
        taken_.push_back(results);
      }
      if (now_ >= master_stopped_until_) StepMaster();
      Tick(master);
    });
  }

  void StepMaster() {
    if (core_ == nullptr || over_) return;
    while (!inbox_.empty()) {
      Incoming incoming = std::move(inbox_.front());
      inbox_.pop_front();
      core_->OnMessage(MasterNow(), incoming.from, incoming.envelope, std::move(incoming.message));
      core_->CheckInvariants();
    }
    core_->OnExpected(static_cast<uint64_t>(std::count_if(
        workers_.begin(), workers_.end(),
        [this](const auto& w) { return w->alive && !core_->HasSession(w->allocation); })));
    core_->OnTick(MasterNow());
    core_->CheckInvariants();
    core_->Flush(MasterNow());
    core_->CheckInvariants();
    for (Action& action : core_->TakeActions()) {
      std::visit([this](auto& a) { Do(a); }, action);
      if (core_ == nullptr) return;
    }
  }

  void Do(Send& send) {
    const auto found = links_.find(send.to);
    if (const auto* ack = std::get_if<Ack>(&send.message)) CheckAck(*ack);
    if (found == links_.end() || !found->second.open) {
      core_->OnUnreachable(MasterNow(), send.to);
      return;
    }
    Transmit(found->second, send.session, std::move(send.message));
  }
  void Do(struct Give& give) {
    const auto found = links_.find(give.to);
    Assign assign;
    assign.run = kRun;
    for (const auto& grant : give.tasks) {
      if (!given_.insert(grant.attempt).second)
        throw Broken{fmt::format("attempt {:x} is given twice", grant.attempt)};
      if (grant.task > journal_.mark)
        throw Broken{fmt::format("task {} is above the mark", grant.task)};
      if (world_.embedding && !program_.Wants(grant.task))
        throw Broken{fmt::format("task {} is given out though nobody wants it", grant.task)};
      if (journal_.results.contains(grant.task))
        throw Broken{fmt::format("task {} is given out though its result is durable", grant.task)};
      Task task;
      task.task = grant.task;
      task.attempt = grant.attempt;
      task.attempt_number = grant.attempt_number;
      assign.tasks.push_back(std::move(task));
    }
    if (found == links_.end() || !found->second.open) {
      core_->OnUnreachable(MasterNow(), give.to);
      return;
    }
    Transmit(found->second, give.session, std::move(assign));
  }

  void Transmit(Link& link, SessionId session, ToWorker message) {
    Envelope envelope{session, 0};
    if (session != 0 && !std::holds_alternative<Who>(message)) {
      if (link.session != session) {
        link.session = session;
        link.sent_down = 0;
      }
      envelope.sequence = ++link.sent_down;
    }
    SimWorker& w = *link.worker;
    Say(fmt::format("the master sends {} to worker {} in {:x} {}", NameOf(message), w.number,
                    session, envelope.sequence));
    SendThrough(w, link.down_free, [this, &w, envelope, message] {
      w.inbox.emplace_back(envelope, message);
      WakeWorker(w);
    });
  }

  // An `ok` is acknowledged once it is durable, or once its task has another outcome.
  void CheckAck(const Ack& ack) {
    for (const AttemptRef& ref : ack.attempts) {
      if (!ended_ok_.contains(ref.attempt) || journal_.results.contains(ref.task)) continue;
      // Of a call whose number died with an earlier master.
      if (world_.embedding && EpochOf(ref.attempt) < journal_.epoch && !Called(ref.task)) continue;
      const bool other = std::any_of(pending_.begin(), pending_.end(), [&](const auto& record) {
        const auto* result = std::get_if<ResultRecord>(&record);
        return result != nullptr && result->result.task == ref.task &&
               result->result.attempt != ref.attempt;
      });
      if (!other) {
        throw Broken{fmt::format("task {} attempt {:x} is acknowledged before it is durable",
                                 ref.task, ref.attempt)};
      }
    }
  }

  bool Called(TaskId task) const {
    return std::any_of(journal_.calls.begin(), journal_.calls.end(),
                       [task](const auto& call) { return call.second == task; });
  }

  void Record(JournalRecord record) {
    pending_.push_back(std::move(record));
    if (committing_ != master_) ScheduleCommit();
  }

  void Do(Write& write) {
    for (JournalRecord& record : write.records) {
      if (const auto* failure = std::get_if<FailureRecord>(&record)) {
        Say(fmt::format("failure of task {} attempt {:x}, kind {}: {}", failure->attempt.task,
                        failure->attempt.attempt, static_cast<int>(failure->kind),
                        failure->reason));
      }
      Record(std::move(record));
    }
  }

  void ScheduleCommit() {
    const uint64_t master = master_;
    committing_ = master;
    After(milliseconds(1) + random_.Within(milliseconds(20)), [this, master] { Commit(master); });
  }

  void Commit(uint64_t master) {
    if (master != master_ || core_ == nullptr) return;
    committing_ = 0;
    if (disk_full_until_ > now_) {
      Say("the disk is full");
      KillMaster();
      return;
    }
    Committed committed;
    // A group is cut anywhere.
    const auto size = static_cast<ptrdiff_t>(1 + random_.Below(pending_.size()));
    const std::vector<JournalRecord> group(pending_.begin(), pending_.begin() + size);
    pending_.erase(pending_.begin(), pending_.begin() + size);
    for (const JournalRecord& record : group) {
      journal_.Apply(record);
      committed.Add(record);
      if (const auto* result = std::get_if<ResultRecord>(&record)) {
        Say(fmt::format("result of task {}: {}", result->result.task,
                        static_cast<int>(result->result.outcome)));
      }
    }
    if (!pending_.empty()) ScheduleCommit();
    core_->OnCommitted(MasterNow(), committed);
    if (now_ >= master_stopped_until_) StepMaster();
  }

  void Do(Note& note) { Say("master: " + note.text); }
  void Do(EndJob& job) {
    if (world_.scheduled) return;
    for (const auto& w : workers_) {
      if (w->allocation == job.allocation && w->alive) KillWorker(*w, false);
    }
  }
  void Do(AvoidHost&) {}
  void Do(Finished&) {
    Say("the master has finished");
    finished_ = true;
    over_ = true;
  }

  void KillMaster() {
    if (core_ == nullptr) return;
    Say("the master dies");
    core_.reset();
    pending_.clear();
    committing_ = 0;
    for (Results& results : std::exchange(taken_, {})) spool_.push_back(std::move(results));
    for (auto& [id, link] : links_) {
      if (std::exchange(link.open, false)) TellDisconnected(*link.worker);
    }
    if (!world_.scheduled) {
      for (const auto& w : workers_) {
        if (!w->alive) continue;
        w->alive = false;
        for (auto& slot : w->slots) slot.reset();
      }
    }
    const Time down =
        random_.Chance(200) ? random_.Within(minutes(4)) : random_.Within(seconds(10));
    After(down, [this] {
      disk_full_until_ = Time{};
      StartMaster();
      while (AliveWorkers() < (world_.scheduled ? 1 : world_.workers)) StartWorker();
    });
  }

  // Once nothing goes wrong any more, every result is acknowledged before long.
  void CheckAcknowledged() const {
    const Time settled = 4 * world_.lease + seconds(30);
    if (core_ == nullptr || MasterNow() < settled || now_ < world_.quiet_after + settled) return;
    for (const auto& w : workers_) {
      if (!w->alive || now_ < w->stopped_until + settled) continue;
      for (const auto& [attempt, ended] : w->unacknowledged) {
        if (now_ - ended > settled) {
          throw Broken{fmt::format("worker {} keeps the result of attempt {:x} for ever", w->number,
                                   attempt)};
        }
      }
    }
  }

  // ---- trouble, once a second ----

  SimWorker* AnyWorker() {
    std::vector<SimWorker*> alive;
    for (const auto& w : workers_) {
      if (w->alive) alive.push_back(w.get());
    }
    return alive.empty() ? nullptr : alive[random_.Below(alive.size())];
  }

  void Trouble() {
    if (over_) return;
    if (now_ >= world_.quiet_after) {
      if (core_ != nullptr && AliveWorkers() == 0) StartWorker();
      CheckAcknowledged();
      After(seconds(10), [this] { Trouble(); });
      return;
    }
    if (SimWorker* w = AnyWorker()) {
      if (random_.Chance(world_.kill_worker)) {
        KillWorker(*w, random_.Chance(300));
      } else if (random_.Chance(world_.stop_worker)) {
        w->stopped_until = now_ + random_.Within(2 * world_.lease);
        Say(fmt::format("worker {} is stopped until {} ms", w->number,
                        w->stopped_until / milliseconds(1)));
        At(w->stopped_until, [this, w] { StepWorker(*w); });
      } else if (random_.Chance(world_.partition)) {
        w->cut_until = now_ + random_.Within(2 * world_.lease);
        Say(fmt::format("worker {} is out of reach until {} ms", w->number,
                        w->cut_until / milliseconds(1)));
      } else if (random_.Chance(world_.tell_worker)) {
        Say(fmt::format("worker {} is told to go", w->number));
        w->core->OnToldToGo(now_, "SIGTERM");
        StepWorker(*w);
      }
    }
    if (core_ != nullptr && random_.Chance(world_.kill_master)) KillMaster();
    if (core_ != nullptr && random_.Chance(world_.stop_master)) {
      master_stopped_until_ = now_ + random_.Within(2 * world_.lease);
      Say("the master is stopped");
      At(master_stopped_until_, [this] { StepMaster(); });
    }
    if (random_.Chance(world_.fill_disk)) disk_full_until_ = now_ + seconds(5);
    After(seconds(1), [this] { Trouble(); });
  }

  const World& world_;
  const std::function<void(const std::string&)>& trace_;
  Random random_;
  SimProgram program_;
  Timeline timeline_;
  const Time& now_ = timeline_.now();
  uint64_t serial_ = 0;
  bool over_ = false;
  bool finished_ = false;

  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::set<uint64_t> explained_;
  std::map<ConnectionId, Link> links_;
  ConnectionId next_connection_ = 0;
  std::set<AttemptId> started_;
  std::set<AttemptId> given_;
  std::vector<Results> spool_;
  std::vector<Results> taken_;
  std::set<AttemptId> ended_ok_;
  std::set<TaskId> ended_well_;

  struct Incoming {
    ConnectionId from = 0;
    Envelope envelope;
    FromWorker message;
  };
  std::unique_ptr<Core> core_;
  uint64_t master_ = 0;
  Time master_origin_{};
  Time master_stopped_until_{};
  std::deque<Incoming> inbox_;
  std::vector<JournalRecord> pending_;
  uint64_t committing_ = 0;
  Time disk_full_until_{};
  Journal journal_;
};

}  // namespace

std::optional<std::string> Run(const World& world,
                               const std::function<void(const std::string&)>& trace) {
  return Simulation(world, trace).Run();
}

}  // namespace cq::sim
