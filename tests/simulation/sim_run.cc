#include "tests/simulation/sim_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "master/journal/endings_table.h"
#include "master/loop/replay.h"
#include "protocol/pieces.h"
#include "protocol/spans.h"
#include "tests/simulation/names.h"
#include "tests/simulation/truth.h"

namespace cq::sim {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

SimRun::SimRun(const World& world, RunId id, Timeline& timeline, const Trace& trace,
               SimLender* lender)
    : world_(world),
      id_(id),
      timeline_(timeline),
      trace_(trace),
      lender_(lender),
      random_(world.seed * 2 + 1),
      program_(world.tasks),
      slots_(
          world_, random_, timeline_, workers_,
          {[this](SimWorker& w) { KillWorker(w, world_.hungry ? Blame::kMemory : Blame::kFinal); },
           [this](SimWorker& w) { WakeWorker(w); }, [this](const std::string& line) { Say(line); },
           [this](TaskId task) { return journal_.RowOf(task); }}),
      journal_(world.embedding ? 0 : world.tasks),
      rows_(world_),
      source_([this](TaskId task) { return journal_.RowOf(task); }),
      observer_([this](const std::string& line) { Say(line); }) {
  if (!world_.scaled) return;
  SimBatch::Hooks hooks;
  hooks.start = [this](const std::string& allocation) -> SimWorker& {
    return MakeWorker(allocation);
  };
  hooks.kill = [this](SimWorker& w) { KillWorker(w, Blame::kNobody); };
  hooks.say = [this](const std::string& line) { Say(line); };
  batch_ = std::make_unique<SimBatch>(world_, random_, timeline_, std::move(hooks));
}

void SimRun::Begin() {
  if (batch_ != nullptr) batch_->Begin();
  StartMaster();
  for (uint64_t i = 0; i < world_.workers && starts_workers(); ++i) StartWorker();
  At(seconds(1), [this] { Trouble(); });
}

void SimRun::Say(const std::string& line) {
  if (trace_) trace_(fmt::format("{:>8} ms  {}{}", now_ / milliseconds(1), world_.name, line));
}

void SimRun::CheckEnd() {
  sim::CheckEnd(world_, Wanted(), journal_);
  if (world_.proposer == World::Proposer::kTold) journal_.CheckProposed(world_);
  if (world_.proposer != World::Proposer::kAsked) return;
  if (!ProposerIsDone(journal_.database())) throw Broken{"the proposer was not done"};
  uint64_t named = 0;
  for (const TaskId task : journal_.Live()) named += journal_.RowOf(task)[0] == 'q' ? 1 : 0;
  if (named != ProposerMind::Target(world_))
    throw Broken{
        fmt::format("{} rows were named, {} were wanted", named, ProposerMind::Target(world_))};
}

Asker::Kind SimRun::KindOfProposer() {
  if (world_.proposer == World::Proposer::kNone || ProposerIsDone(journal_.database())) {
    return Asker::Kind::kNone;
  }
  return world_.proposer == World::Proposer::kTold ? Asker::Kind::kIsTold : Asker::Kind::kIsAsked;
}

// As a run's set-up does.
bool SimRun::MayBeNamed(Asker::Kind kind) {
  if (kind == Asker::Kind::kNone) return false;
  if (kind == Asker::Kind::kIsTold) return !HasAnsweredAll(journal_.database());
  return max_tasks_ == 0 || wanted_.size() < max_tasks_;
}

void SimRun::StartProposer(Asker::Kind kind, const TaskSet& closed) {
  if (kind == Asker::Kind::kNone) return;
  RowForm form;
  form.columns = {"a"};
  ReadyProposer ready;
  ready.proposer = std::make_unique<SimProposer>(world_, random_, timeline_);
  ready.replay = Replay(journal_.database(), closed, {journal_.last(), kind, form}, source_);
  Asking::Doors doors;
  doors.answer = [this](ProposerAnswer answer) {
    const std::string problem = asking_->OnAnswer(std::move(answer));
    if (!problem.empty()) throw Broken{problem};
    if (now_ >= master_stopped_until_) StepMaster();
  };
  doors.write = [this](JournalRecord record) { Record(std::move(record)); };
  doors.note = [](const std::string&) {};
  asking_.emplace(std::move(ready), *core_, std::move(doors));
}

void SimRun::StartMaster() {
  CoreOptions options;
  const Restart changes = journal_.epoch() == 0 ? Restart() : Changes();
  Recovered recovered = journal_.Open(changes, rows_.limit(), max_tasks_);
  // Those of a pool that lends may be lost with it: nobody else tells of their ends.
  for (KnownWorker& worker : recovered.workers) worker.watched = !world_.pooled;
  options.epoch = journal_.epoch();
  options.text.run = id_;
  options.text.command = {{"true"}};
  options.text.fence = world_.fence;
  options.text.on_master_loss_ms = 120'000;
  options.tasks = journal_.last();
  options.form.columns = {"a"};
  options.max_tasks = max_tasks_;
  options.order = rows_.Order();
  options.requests = rows_.Requests();
  if (batch_ != nullptr) {
    options.pools[0].capacity = SimRows::CapacityOf(world_, true);
    options.pools[0].slots = world_.slots;
  }
  options.lease = std::chrono::duration_cast<milliseconds>(world_.lease);
  options.remembered = world_.remembered;
  options.crash_limit = world_.crash_limit;
  options.retries = world_.retries;
  if (world_.greedy > 0) options.escalation.memory = 2;
  options.explained_late = world_.scheduled;
  options.mark_stride = 8;
  options.gather_acks = world_.gather_acks;
  options.expected_slots = world_.workers * world_.slots;
  options.span_time = world_.span_time;
  options.open = world_.embedding;
  if (world_.embedding) options.tasks = program_.Start(journal_, recovered);
  wanted_ = Wanted();
  options.proposer = KindOfProposer();
  if (options.proposer != Asker::Kind::kNone) {
    OrderEndings(journal_.database(), journal_.ranges(), rows_.limit());
  }
  for (AddedRow& row : recovered.pushed) Add(row);
  // Nothing is left: such a master ends without a core.
  if (!world_.embedding && !MayBeNamed(options.proposer) &&
      std::all_of(wanted_.begin(), wanted_.end(),
                  [this](TaskId task) { return journal_.Has(task); })) {
    ++master_;
    EndRun();
    return;
  }
  const TaskSet closed = recovered.closed;
  core_ = std::make_unique<Core>(options, std::move(recovered));
  StartProposer(options.proposer, closed);
  // Each master has a clock of its own.
  master_origin_ = now_ - seconds(1);
  pending_.clear();
  inbox_.clear();
  master_stopped_until_ = Time{};
  ++master_;
  Say(fmt::format("master {} starts; {} rows gone, {} outcomes taken back", journal_.epoch(),
                  changes.removed.size(),
                  changes.rerun == Restart::Rerun::kNothing ? "no" : "some"));
  if (lender_ != nullptr) lender_->OnMaster(*this, true);
  // What is known to be dead.
  for (const auto& w : workers_) {
    if (w->alive || w->machine != nullptr || batch_ != nullptr) continue;
    const auto blamed = blamed_.find(w->number);
    core_->OnAllocationEnded(MasterNow(), w->allocation, "its job ended",
                             blamed == blamed_.end() ? Blame::kFinal : blamed->second);
  }
  for (const Results& results : spool_) core_->OnSpooled(MasterNow(), results);
  if (batch_ != nullptr) OpenWorkforce();
  StepMaster();
  Tick(master_);
  if (world_.embedding) SubmitCalls(master_);
}

std::set<TaskId> SimRun::Wanted() const {
  if (!world_.embedding) {
    std::set<TaskId> wanted = rows_.Wanted();
    wanted.merge(journal_.Live());
    return wanted;
  }
  std::set<TaskId> called;
  for (const auto& [call, task] : journal_.calls()) called.insert(task);
  return called;
}

Restart SimRun::Changes() {
  if (!world_.embedding) return rows_.Changes(random_, journal_.last());
  Restart changes;
  changes.rerun = Restart::Rerun::kCancelled;
  return changes;
}

// The program goes on where it is; its calls are known to the journal before their results are.
void SimRun::SubmitCalls(uint64_t master) {
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

void SimRun::Tick(uint64_t master) {
  After(std::chrono::duration_cast<Time>(world_.lease / 30), [this, master] {
    if (master != master_ || core_ == nullptr) return;
    ReadSpool();
    if (now_ >= master_stopped_until_) StepMaster();
    Tick(master);
  });
}

void SimRun::ReadSpool() {
  for (const Results& results : std::exchange(spool_, {})) {
    core_->OnSpooled(MasterNow(), results);
    taken_.push_back(results);
  }
}

void SimRun::StepMaster() {
  if (core_ == nullptr || over_) return;
  while (!inbox_.empty()) {
    Incoming incoming = std::move(inbox_.front());
    inbox_.pop_front();
    core_->OnMessage(MasterNow(), incoming.from, incoming.envelope, std::move(incoming.message));
    core_->CheckInvariants();
  }
  if (workforce_ != nullptr) {
    OnMail();
    if (core_ == nullptr) return;
  }
  core_->OnExpected(
      static_cast<uint64_t>(std::count_if(workers_.begin(), workers_.end(), [this](const auto& w) {
        return w->alive && !w->hangs() && !core_->HasSession(w->allocation);
      })));
  core_->OnTick(MasterNow());
  core_->CheckInvariants();
  core_->Flush(MasterNow());
  core_->CheckInvariants();
  CheckLook();
  for (Action& action : core_->TakeActions()) {
    std::visit([this](auto& a) { Do(a); }, action);
    if (core_ == nullptr) return;
  }
  if (asking_ && !over_) asking_->Steer(MasterNow());
  if (workforce_ != nullptr && !over_) Steer();
  if (core_ != nullptr && lender_ != nullptr) lender_->OnDemand(*this, core_->demand(0).slots);
}

// What people are told agrees with the books, and to ask for it changes nothing.
void SimRun::CheckLook() {
  if (++looks_ % 64 != 0) return;
  const RunView view = core_->Look(MasterNow(), 3, 2);
  CQ_ASSERT(view.rows.size() <= 3 && view.running >= view.rows.size() && view.out >= view.running,
            "{} rows run and {} are out, {} are shown", view.running, view.out, view.rows.size());
  CQ_ASSERT(!view.left || view.left->first <= view.left->second, "at least {}, at most {}",
            view.left->first.count(), view.left->second.count());
  const Counts& counts = core_->counts();
  CQ_ASSERT(view.ready + view.waiting + view.out + counts.done == counts.tasks,
            "{} are ready, {} wait, {} are out, {} of {} are done", view.ready, view.waiting,
            view.out, counts.done, counts.tasks);
  CQ_ASSERT(counts.tasks == 0 || !core_->Explain(MasterNow(), looks_ % counts.tasks + 1).empty(),
            "task {} is not explained", looks_ % counts.tasks + 1);
  core_->CheckInvariants();
}

void SimRun::Do(Send& send) {
  const auto found = links_.find(send.to);
  if (const auto* ack = std::get_if<Ack>(&send.message)) CheckAck(*ack);
  if (found == links_.end() || !found->second.open) {
    core_->OnUnreachable(MasterNow(), send.to);
    return;
  }
  Transmit(found->second, send.session, std::move(send.message));
}
void SimRun::Do(struct Give& give) {
  const auto found = links_.find(give.to);
  Assign assign;
  assign.run = id_;
  for (auto& [span, attempt_number, dangerous, of] : give.grants) {
    for (uint64_t i = 0; i < span.count; ++i) CheckGiven(span.task + i, span.attempt + i);
    if (span.count == 1) {
      assign.tasks.push_back(For<Task>(span));
      assign.tasks.back().attempt_number = attempt_number;
      if (dangerous) assign.tasks.back().details.Edit().extras.emplace_back(kDangerous, true);
      if (of != 0) {
        PutRequest(assign.tasks.back().details.Edit().extras, core_->request(of));
      }
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

Task SimRun::RowsOf(const AttemptSpan& span) {
  auto rows = For<Task>(span);
  for (uint64_t i = 0; i < span.count; ++i) AppendPiece(rows.rows, "a row");
  return rows;
}

void SimRun::CheckGiven(TaskId task, AttemptId attempt) {
  if (!given_.insert(attempt).second)
    throw Broken{fmt::format("attempt {:x} is given twice", attempt)};
  if (task > journal_.mark()) throw Broken{fmt::format("task {} is above the mark", task)};
  if (world_.embedding ? !program_.Wants(task) : !wanted_.contains(task))
    throw Broken{fmt::format("task {} is given out though nobody wants it", task)};
  if (journal_.Has(task))
    throw Broken{fmt::format("task {} is given out though its result is durable", task)};
}

// As the source of the rows does.
void SimRun::Add(AddedRow& row) {
  if (world_.classes > 0) row.request = rows_.RequestOf(row.task);
  wanted_.insert(row.task);
}

// An `ok` is acknowledged once it is durable, or once its task has another outcome.
void SimRun::CheckAck(const Ack& ack) {
  for (const AttemptSpan& attempts : ack.attempts) {
    for (uint64_t i = 0; i < attempts.count; ++i) {
      CheckAcked(attempts.task + i, attempts.attempt + i);
    }
  }
}

void SimRun::CheckAcked(TaskId task, AttemptId attempt) const {
  if (!slots_.EndedOk(attempt) || journal_.Has(task) || journal_.Void(task, attempt)) return;
  // Nobody wanted it when that came.
  if (journal_.IsPushed(task) && EpochOf(attempt) < journal_.epoch()) return;
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

bool SimRun::Called(TaskId task) const {
  return std::any_of(journal_.calls().begin(), journal_.calls().end(),
                     [task](const auto& call) { return call.second == task; });
}

void SimRun::Record(JournalRecord record) {
  pending_.push_back(std::move(record));
  if (committing_ != master_) ScheduleCommit();
}

void SimRun::Do(Write& write) {
  for (JournalRecord& record : write.records) {
    if (const auto* failure = std::get_if<FailureRecord>(&record)) {
      Say(fmt::format("failure of task {} attempt {:x}, kind {}: {}", failure->attempt.task,
                      failure->attempt.attempt, static_cast<int>(failure->kind), failure->reason));
    }
    const auto* result = std::get_if<ResultRecord>(&record);
    if (result != nullptr && result->told) asking_->OnEnded(*result, source_);
    Record(std::move(record));
  }
}

void SimRun::ScheduleCommit() {
  const uint64_t master = master_;
  committing_ = master;
  After(milliseconds(1) + random_.Within(milliseconds(20)), [this, master] { Commit(master); });
}

void SimRun::Commit(uint64_t master) {
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
  Committed committed = journal_.Commit(group);
  for (AddedRow& row : committed.added) {
    Add(row);
    const auto* ended = row.ended();
    if (ended != nullptr && asking_ && core_->asker().Hears(ended->outcome)) asking_->OnBack(row);
  }
  for (const JournalRecord& record : group) {
    if (const auto* result = std::get_if<ResultRecord>(&record)) {
      Say(fmt::format("result of task {}: {}", result->result.task,
                      static_cast<int>(result->result.outcome)));
    }
  }
  if (!pending_.empty()) ScheduleCommit();
  const auto requests = committed.requests;
  core_->OnCommitted(MasterNow(), std::move(committed));
  for (const auto& [request, rows] : requests) {
    if (!asking_->OnDurable(request, rows)) throw Broken{"rows were added by nobody"};
  }
  if (now_ >= master_stopped_until_) StepMaster();
}

void SimRun::Do(EndJob& job) {
  if (lender_ != nullptr) return lender_->OnSilent(*this, job.allocation);
  if (world_.scheduled) return;
  for (const auto& w : workers_) {
    if (w->allocation == job.allocation && w->alive) KillWorker(*w, Blame::kFinal);
  }
}
void SimRun::Do(Finished&) {
  Say("the master has finished");
  if (core_->asker().stuck()) throw Broken{"the proposer waits for ever"};
  EndRun();
}

// The rows beyond a limit are for a resume.
void SimRun::EndRun() {
  if (workforce_ != nullptr) workforce_->Close(WorkerSource::End::kTold);
  const bool more = std::exchange(max_tasks_, 0) != 0;
  if (rows_.LiftLimit() || more) {
    KillMaster();
    return;
  }
  finished_ = true;
  over_ = true;
  if (batch_ != nullptr) batch_->Finish();
  if (lender_ != nullptr) lender_->OnMaster(*this, false);
  if (!world_.scheduled) EndLocalWorkers();
}

// With the process of their master.
void SimRun::EndLocalWorkers() {
  for (const auto& w : workers_) {
    if (!w->alive) continue;
    Dies(*w);
    if (w->machine != nullptr) w->machine->ended(*w, true);
  }
}

void SimRun::KillMaster() {
  Say("the master dies");
  asking_.reset();
  core_.reset();
  workforce_.reset();
  mail_.clear();
  if (batch_ != nullptr) batch_->OnMasterGone();
  pending_.clear();
  committing_ = 0;
  for (Results& results : std::exchange(taken_, {})) spool_.push_back(std::move(results));
  for (auto& [id, link] : links_) {
    if (std::exchange(link.open, false)) TellDisconnected(*link.worker);
  }
  if (lender_ != nullptr) lender_->OnMaster(*this, false);
  if (!world_.scheduled) EndLocalWorkers();
  const Time down = random_.Chance(200) ? random_.Within(minutes(4)) : random_.Within(seconds(10));
  After(down, [this] {
    disk_full_until_ = Time{};
    // Whoever resumes it may do without the pool.
    if (lender_ != nullptr && random_.Chance(300)) lender_ = nullptr;
    StartMaster();
    // An earlier master's are waited for until their jobs end: a time limit sees to that.
    for (const auto& w : workers_) {
      if (w->hangs())
        After(random_.Within(minutes(4)), [this, &w = *w] { KillWorker(w, Blame::kNobody); });
    }
    if (!starts_workers() || over_) return;
    while (AliveWorkers() < (world_.scheduled ? 1 : world_.workers) || !LargeIsAlive()) {
      StartWorker();
    }
  });
}

// Once nothing goes wrong any more, every result is acknowledged before long.
void SimRun::CheckAcknowledged() const {
  const Time settled = 4 * world_.lease + seconds(30);
  if (core_ == nullptr || MasterNow() < settled || now_ < world_.quiet_after + settled) return;
  for (const auto& w : workers_) {
    if (!w->alive || now_ - settled < w->stopped_until) continue;
    for (const auto& [attempt, ended] : w->unacknowledged) {
      if (now_ - ended > settled) {
        throw Broken{
            fmt::format("worker {} keeps the result of attempt {:x} for ever", w->number, attempt)};
      }
    }
  }
}

// As a scheduler's poll does, once its master looks.
void SimRun::TellTimes() {
  if (core_ == nullptr || now_ < master_stopped_until_ || batch_ != nullptr) return;
  for (const auto& w : workers_) {
    if (!w->alive || w->ends == Time::max()) continue;
    core_->OnTimeLeft(MasterNow(), w->allocation, std::max(w->ends - now_, Time{}), world_.life);
  }
}

// ---- trouble, once a second ----

void SimRun::Trouble() {
  if (over_) return;
  TellTimes();
  if (batch_ != nullptr) CheckEnough();
  if (now_ >= world_.quiet_after) {
    if (core_ != nullptr && !LargeIsAlive() && starts_workers()) StartWorker();
    CheckAcknowledged();
    After(seconds(10), [this] { Trouble(); });
    return;
  }
  if (SimWorker* w = AnyWorker()) {
    if (random_.Chance(world_.kill_worker)) {
      KillWorker(*w, random_.Chance(300) ? Blame::kNobody : Blame::kFinal);
    } else if (random_.Chance(world_.stop_worker)) {
      // Nobody waits for one that has never connected.
      if (random_.Chance(100) && core_ != nullptr && core_->IsConnected(w->allocation)) {
        w->stopped_until = Time::max();
        Say(fmt::format("worker {} hangs", w->number));
      } else {
        w->stopped_until = now_ + random_.Within(2 * world_.lease);
        Say(fmt::format("worker {} is stopped until {} ms", w->number,
                        w->stopped_until / milliseconds(1)));
        At(w->stopped_until, [this, w] { StepWorker(*w); });
      }
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

}  // namespace cq::sim
