#include "tests/simulation/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "master/core/core.h"
#include "protocol/pieces.h"
#include "protocol/spans.h"
#include "tests/simulation/names.h"
#include "tests/simulation/sim_program.h"
#include "tests/simulation/sim_rows.h"
#include "tests/simulation/sim_slots.h"
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
      : world_(world),
        trace_(trace),
        random_(world.seed * 2 + 1),
        program_(world.tasks),
        journal_(world.embedding ? 0 : world.tasks),
        rows_(world) {}

  std::optional<std::string> Run() {
    try {
      StartMaster();
      for (uint64_t i = 0; i < world_.workers; ++i) StartWorker();
      At(seconds(1), [this] { Trouble(); });
      while (!over_) {
        timeline_.Step();
        if (now_ > kTimeLimit) throw Broken{"the run does not end"};
      }
      CheckEnd(world_, Wanted(), journal_);
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
        for (const AttemptSpan& attempts : ack->attempts) {
          for (uint64_t i = 0; i < attempts.count; ++i)
            w.unacknowledged.erase(attempts.attempt + i);
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

  void Act(SimWorker& w) {
    w.core->CheckInvariants();
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
    slots_.Start(w);
  }
  void Do(SimWorker& w, Enqueue& enqueue) {
    for (Task& task : enqueue.tasks) w.queue.emplace_back(std::move(task));
    slots_.Start(w);
  }
  void Do(SimWorker& w, TakeBack& take) {
    w.core->OnTakenBack(slots_.TakeBack(w, take.attempts), take.reason);
  }
  void Do(SimWorker& w, cq::Kill& kill) { slots_.Kill(w, kill.attempts); }
  void Do(SimWorker& w, StartUntil& start) {
    w.start_until = start.until;
    slots_.Start(w);
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
    CoreOptions options;
    const Restart changes = journal_.epoch() == 0 ? Restart() : Changes();
    Recovered recovered = journal_.Open(changes, rows_.limit());
    for (KnownWorker& worker : recovered.workers) worker.watched = true;
    options.epoch = journal_.epoch();
    options.text.run = kRun;
    options.text.command = {{"true"}};
    options.text.fence = world_.fence;
    options.text.on_master_loss_ms = 120'000;
    for (const RowRange& range : journal_.ranges())
      options.tasks = std::max(options.tasks, range.task + range.rows - 1);
    options.order = rows_.Order();
    options.lease = std::chrono::duration_cast<milliseconds>(world_.lease);
    options.crash_limit = world_.crash_limit;
    options.retries = world_.retries;
    options.explained_late = world_.scheduled;
    options.mark_stride = 8;
    options.gather_acks = world_.gather_acks;
    options.expected_slots = world_.workers * world_.slots;
    options.span_time = world_.span_time;
    options.open = world_.embedding;
    if (world_.embedding) options.tasks = program_.Start(journal_, recovered);
    wanted_ = Wanted();
    // Nothing is left: such a master ends without a core.
    if (!world_.embedding && std::all_of(wanted_.begin(), wanted_.end(),
                                         [this](TaskId task) { return journal_.Has(task); })) {
      ++master_;
      EndRun();
      return;
    }
    core_ = std::make_unique<Core>(options, std::move(recovered));
    // Each master has a clock of its own.
    master_origin_ = now_ - seconds(1);
    pending_.clear();
    inbox_.clear();
    master_stopped_until_ = Time{};
    ++master_;
    Say(fmt::format("master {} starts; {} rows gone, {} outcomes taken back", journal_.epoch(),
                    changes.removed.size(),
                    changes.rerun == Restart::Rerun::kNothing ? "no" : "some"));
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

  std::set<TaskId> Wanted() const {
    if (!world_.embedding) return rows_.Wanted();
    std::set<TaskId> called;
    for (const auto& [call, task] : journal_.calls()) called.insert(task);
    return called;
  }

  Restart Changes() {
    if (!world_.embedding) return rows_.Changes(random_, journal_.last());
    Restart changes;
    changes.rerun = Restart::Rerun::kCancelled;
    return changes;
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
    for (auto& [span, attempt_number] : give.grants) {
      for (uint64_t i = 0; i < span.count; ++i) CheckGiven(span.task + i, span.attempt + i);
      if (span.count == 1) {
        assign.tasks.push_back(For<Task>(span));
        assign.tasks.back().attempt_number = attempt_number;
        continue;
      }
      // As where rows are large.
      if (random_.Chance(100)) assign.tasks.push_back(RowsOf(CutFront(span, 1)));
      assign.tasks.push_back(RowsOf(span));
    }
    if (found == links_.end() || !found->second.open) {
      core_->OnUnreachable(MasterNow(), give.to);
      return;
    }
    Transmit(found->second, give.session, std::move(assign));
  }

  static Task RowsOf(const AttemptSpan& span) {
    auto rows = For<Task>(span);
    for (uint64_t i = 0; i < span.count; ++i) AppendPiece(rows.rows, "a row");
    return rows;
  }

  void CheckGiven(TaskId task, AttemptId attempt) {
    if (!given_.insert(attempt).second)
      throw Broken{fmt::format("attempt {:x} is given twice", attempt)};
    if (task > journal_.mark()) throw Broken{fmt::format("task {} is above the mark", task)};
    if (world_.embedding ? !program_.Wants(task) : !wanted_.contains(task))
      throw Broken{fmt::format("task {} is given out though nobody wants it", task)};
    if (journal_.Has(task))
      throw Broken{fmt::format("task {} is given out though its result is durable", task)};
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
    for (const AttemptSpan& attempts : ack.attempts) {
      for (uint64_t i = 0; i < attempts.count; ++i) {
        CheckAcked(attempts.task + i, attempts.attempt + i);
      }
    }
  }

  void CheckAcked(TaskId task, AttemptId attempt) const {
    if (!slots_.EndedOk(attempt) || journal_.Has(task) || journal_.Void(task, attempt)) return;
    // Of a call whose number died with an earlier master.
    if (world_.embedding && EpochOf(attempt) < journal_.epoch() && !Called(task)) return;
    const bool other = std::any_of(pending_.begin(), pending_.end(), [&](const auto& record) {
      const auto* written = std::get_if<ResultRecord>(&record);
      if (written == nullptr) return false;
      const TaskResult& all = written->result;
      return Has(all, task) && all.attempt + (task - all.task) != attempt;
    });
    if (other) return;
    throw Broken{
        fmt::format("task {} attempt {:x} is acknowledged before it is durable", task, attempt)};
  }

  bool Called(TaskId task) const {
    return std::any_of(journal_.calls().begin(), journal_.calls().end(),
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
    // A group is cut anywhere.
    const auto size = static_cast<ptrdiff_t>(1 + random_.Below(pending_.size()));
    const std::vector<JournalRecord> group(pending_.begin(), pending_.begin() + size);
    pending_.erase(pending_.begin(), pending_.begin() + size);
    const Committed committed = journal_.Commit(group);
    for (const JournalRecord& record : group) {
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
    EndRun();
  }

  // The rows beyond a limit are for a resume.
  void EndRun() {
    if (rows_.LiftLimit()) {
      KillMaster();
      return;
    }
    finished_ = true;
    over_ = true;
  }

  void KillMaster() {
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
        w->cut_until = now_ + random_.Within(world_.out_of_reach);
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
  bool over_ = false;
  bool finished_ = false;

  std::vector<std::unique_ptr<SimWorker>> workers_;
  SimSlots slots_{
      world_,
      random_,
      timeline_,
      workers_,
      {[this](SimWorker& w) { KillWorker(w, false); }, [this](SimWorker& w) { WakeWorker(w); },
       [this](const std::string& line) { Say(line); }}};
  std::set<uint64_t> explained_;
  std::map<ConnectionId, Link> links_;
  ConnectionId next_connection_ = 0;
  std::set<AttemptId> given_;
  std::vector<Results> spool_;
  std::vector<Results> taken_;

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
  SimJournal journal_;
  SimRows rows_;
  /// Of this master.
  std::set<TaskId> wanted_;
};

}  // namespace

std::optional<std::string> Run(const World& world,
                               const std::function<void(const std::string&)>& trace) {
  return Simulation(world, trace).Run();
}

}  // namespace cq::sim
