#include "master/loop/master_loop.h"

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/files.h"
#include "cq/error.h"
#include "master/loop/answers.h"
#include "protocol/limits.h"
#include "protocol/spans.h"
#include "protocol/spool.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr milliseconds kProgressEvery{100};
constexpr seconds kKeepAliveEvery{10};
constexpr seconds kLeftEvery{1};
/// Frames handled before the core may act on them: keeps batches whole, and the journal and the
/// clock from starving.
constexpr int kFramesAtOnce = 1000;

size_t BytesOf(const Task& task) {
  size_t bytes = task.rows.size();
  for (const std::string& value : task.values) bytes += value.size();
  return bytes + task.group.size() + task.details->problem.size();
}

}  // namespace

MasterLoop::MasterLoop(Options options, Core core, Transport transport, TaskSource& tasks,
                       Workforce& workforce, const MakeRecordWriter& make_writer,
                       RunObserver& observer)
    : options_(std::move(options)),
      core_(std::move(core)),
      port_(std::move(transport), observer),
      tasks_(tasks),
      workforce_(workforce),
      observer_(observer) {
  RecordWriter::Callbacks callbacks;
  callbacks.committed = [this](Committed committed) { mail_.Put(std::move(committed)); };
  callbacks.failed = [this](std::string reason) { mail_.Put(JournalFailed{std::move(reason)}); };
  callbacks.copied = [this](std::string path, std::string problem) {
    mail_.Put(Copied{std::move(path), std::move(problem)});
  };
  writer_ = make_writer(std::move(callbacks));
  if (!options_.proposer.proposer) return;
  Asking::Doors doors;
  doors.answer = [this](ProposerAnswer answer) { mail_.Put(std::move(answer)); };
  doors.write = [this](JournalRecord record) { Push(std::move(record)); };
  doors.note = [this](const std::string& text) { observer_.Note(text); };
  asking_.emplace(std::move(options_.proposer), core_, std::move(doors));
}

// The pools' threads write to our mailbox and journal until they are closed.
MasterLoop::~MasterLoop() {
  workforce_.Close(WorkerSource::End::kNow);
  workforce_.Wait();
}

MasterLoop::End MasterLoop::Run() {
  const Counts& before = core_.counts();
  failed_before_ = before.done - before.outcomes[static_cast<size_t>(Outcome::kOk)];
  workforce_.Open([this](Workforce::Word word) { mail_.Put(std::move(word)); }, mail_.fd(),
                  [this](JournalRecord record) {
                    Push(std::move(record));
                    return writer_->Flush();
                  });
  // Before anything is given out: what is in there does not run again.
  ReadSpool();

  while (!end_) {
    try {
      Turn();
    } catch (const std::exception& error) {
      Fail(error.what());
    }
  }
  TellDropped();
  if (options_.ending) options_.ending(end_->reason);
  if (asking_) asking_->Close(leave_ == WorkerSource::End::kTold);
  workforce_.Close(leave_);
  port_.Close();
  // One that nobody else can read must be closed before the export.
  if (leave_ != WorkerSource::End::kTold || writer_->exclusive()) Close();
  return *end_;
}

void MasterLoop::Close() {
  const std::string left = workforce_.Wait();
  if (!left.empty()) observer_.Warning(left);
  writer_.reset();
  for (const auto& [path, waiting] : copies_) unlink(path.c_str());
}

void MasterLoop::Turn() {
  const auto readable = port_.Wait({mail_.fd(), options_.signal_fd},
                                   core_.DueIn(Now(), std::min(core_.tick(), kProgressEvery)));
  if (readable[1]) OnSignals();
  // A stalled master reads everything that waits before time passes in the core.
  ReadAll();
  ReadMail();
  const uint64_t workers = core_.counts().workers;
  const uint64_t jobs = workforce_.jobs();
  core_.OnExpected(jobs > workers ? jobs - workers : 0);
  core_.OnTick(Now());
  // The scheduler may know why a worker fell silent.
  if (core_.counts().workers < workers) workforce_.PollSoon();
  core_.Flush(Now());
  Act();
  if (asking_ && !finished_) asking_->Steer(Now());
  if (!finished_) {
    workforce_.Steer(Now(), core_);
    if (const auto problem = workforce_.Problem(core_, interrupted_)) Fail(*problem);
  }
  ShowProgress();
}

void MasterLoop::ReadAll() {
  int frames = kFramesAtOnce;
  while (auto incoming = port_.Receive(frames)) {
    if (const auto* request = std::get_if<Request>(&incoming->message)) {
      OnRequest(incoming->from, *request);
      if (end_) return;
      continue;
    }
    core_.OnMessage(Now(), incoming->from, incoming->envelope, std::move(incoming->message));
  }
}

void MasterLoop::ReadMail() {
  for (Mail& mail : mail_.TakeAll()) {
    std::visit([this](auto& m) { OnMail(m); }, mail);
  }
}

// Files of workers that left without having reached a master. Once their results are durable they
// go.
void MasterLoop::ReadSpool() {
  for (const std::string& path : SpoolFiles(options_.spool)) {
    if (!spool_read_.insert(path).second) continue;
    auto read = ReadSpoolFile(path);
    if (const auto* problem = std::get_if<std::string>(&read)) {
      observer_.Warning(fmt::format("results that a worker left cannot be used: {}", *problem));
      continue;
    }
    core_.OnSpooled(Now(), std::move(std::get<Results>(read)));
    Act();
    Push(SpoolTaken{path});
  }
}

void MasterLoop::OnMail(Committed& committed) {
  if (options_.committed) options_.committed(committed);
  for (const std::string& path : committed.spool) unlink(path.c_str());
  for (AddedRow& row : committed.added) {
    const auto* ended = row.ended();
    if (ended == nullptr) {
      tasks_.Add(row);
    } else if (asking_ && core_.asker().Hears(ended->outcome)) {
      asking_->OnBack(row);
    }
  }
  const auto requests = committed.requests;
  core_.OnCommitted(Now(), std::move(committed));
  for (const auto& [request, rows] : requests) {
    if (asking_ && asking_->OnDurable(request, rows)) continue;
    Answer(adding_[request], {true, false, std::to_string(rows)});
    adding_.erase(request);
  }
}

void MasterLoop::OnMail(JournalFailed& failed) { Fail(failed.reason); }

void MasterLoop::OnMail(Copied& copied) {
  const ConnectionId waiting = copies_[copied.path];
  copies_.erase(copied.path);
  const bool ok = copied.problem.empty();
  if (!ok) unlink(copied.path.c_str());
  port_.Send(waiting, 0, Reply{ok, false, ok ? copied.path : copied.problem});
}

void MasterLoop::OnMail(Workforce::Word& word) {
  // A worker that has left may have done so with results that nobody took: they come before the
  // news that it has ended, since with that its tasks go to others.
  const auto* states = std::get_if<JobStates>(&word.event);
  const bool ended =
      states != nullptr && std::any_of(states->jobs.begin(), states->jobs.end(),
                                       [](const WorkerJob& job) { return job.ended(); });
  if (ended && !finished_) ReadSpool();
  const auto problem = workforce_.On(Now(), word, core_, observer_, finished_);
  if (problem) Fail(*problem);
}

void MasterLoop::OnMail(StopOrder& order) {
  if (!finished_) StopNow(order.reason);
}

// What runs is finished; without it nobody knows what would come next.
void MasterLoop::OnMail(ProposerAnswer& answer) {
  if (finished_ || !proposer_problem_.empty()) return;
  proposer_problem_ = asking_->OnAnswer(std::move(answer));
  if (proposer_problem_.empty()) return;
  observer_.Warning(proposer_problem_ + ": running tasks will be finished and no other started");
  core_.OnDrain(Now(), proposer_problem_);
}

void MasterLoop::OnSignals() {
  signalfd_siginfo info{};
  while (read(options_.signal_fd, &info, sizeof info) == sizeof info) {
    const auto* name = sigabbrev_np(static_cast<int>(info.ssi_signo));
    if (info.ssi_signo == SIGINT && !interrupted_) {
      observer_.Warning(
          fmt::format("interrupted: {} running tasks will be finished and no other started; Ctrl-C "
                      "again to stop now",
                      core_.counts().running));
      DrainNow("interrupted");
    } else if (info.ssi_signo == SIGHUP && !options_.stop_on_hangup && workforce_.outlives() &&
               !finished_) {
      // As if we had died, which the end of a terminal often means: nobody is told.
      end_ = End{130, "hung up (SIGHUP): the workers finish what they have, and wait"};
      leave_ = WorkerSource::End::kStay;
      finished_ = true;
    } else {
      StopNow(fmt::format("stopped by SIG{}", name));
    }
  }
}

void MasterLoop::DrainNow(const std::string& reason) {
  interrupted_ = true;
  core_.OnDrain(Now(), reason);
}

void MasterLoop::StopNow(const std::string& reason) {
  end_ = End{130, reason};
  leave_ = WorkerSource::End::kNow;
  finished_ = true;
  core_.OnStop(Now(), "stopped");
  Act();
}

// `cq cancel`, whoever asks how it goes, and whoever wants to read a journal that cannot be shared,
// from wherever the run's connection file can be read.
void MasterLoop::OnRequest(ConnectionId from, const Request& request) {
  if (request.run != core_.run() || finished_) return;
  if (request.kind == RequestKind::kCopy) {
    const std::string path = fmt::format("{}{}-{}.db", options_.copies, getpid(), ++copies_made_);
    copies_[path] = from;
    writer_->Copy(path);
    return;
  }
  if (request.kind == RequestKind::kAddRows) return OnAdd(from, request);
  if (request.kind != RequestKind::kStop && request.kind != RequestKind::kDrain) {
    Answer(from, AnswerTo(request, Now(), core_, workforce_));
    return;
  }
  Reply reply;
  if (request.kind == RequestKind::kStop) {
    reply.text = "is stopped";
  } else {
    reply.text =
        fmt::format("finishes {} running tasks and starts no other", core_.counts().running);
  }
  port_.Send(from, 0, reply);
  if (request.kind == RequestKind::kStop) StopNow("cancelled by 'cq cancel'");
  if (request.kind == RequestKind::kDrain && !interrupted_) {
    observer_.Warning("'cq cancel --drain': running tasks will be finished and no other started");
    DrainNow("cancelled by 'cq cancel --drain'");
  }
}

void MasterLoop::OnAdd(ConnectionId from, const Request& request) {
  AddRecord record;
  const std::string problem = ReadPushed(request.text, core_.form(), record.rows);
  if (!problem.empty()) return Answer(from, {false, false, problem});
  record.request = ++adds_;
  adding_[record.request] = from;
  if (asking_) asking_->OnOthersAdd();
  core_.OnAdding();
  Push(std::move(record));
}

// Of thousands of workers and rows it takes several messages.
void MasterLoop::Answer(ConnectionId to, Reply reply) {
  const std::string text = std::move(reply.text);
  for (size_t at = 0;; at += kFrameBytesSoft) {
    reply.text = text.substr(at, kFrameBytesSoft);
    reply.more = at + kFrameBytesSoft < text.size();
    port_.Send(to, 0, reply);
    if (!reply.more) return;
  }
}

void MasterLoop::Fail(const std::string& reason) {
  if (finished_) return;
  finished_ = true;
  end_ = End{3, reason};
  core_.OnStop(Now(), "the run could not go on");
  Act();
}

void MasterLoop::Act() {
  for (Action& action : core_.TakeActions()) {
    std::visit([this](auto& a) { Do(a); }, action);
  }
}

// From whatever thread.
void MasterLoop::Push(JournalRecord record) {
  std::vector<JournalRecord> records;
  records.push_back(std::move(record));
  writer_->Push(std::move(records));
}

void MasterLoop::Do(Send& send) {
  if (!port_.Send(send)) core_.OnUnreachable(Now(), send.to);
}

void MasterLoop::Do(struct Give& give) {
  Assign assign{core_.run(), {}};
  size_t bytes = 0;
  const auto flush = [&] {
    if (assign.tasks.empty()) return;
    const bool sent = port_.Send(give.to, give.session, std::move(assign));
    if (!sent) core_.OnUnreachable(Now(), give.to);
    assign = {core_.run(), {}};
    bytes = 0;
  };
  assign.tasks.reserve(give.grants.size());
  for (Give::Grant& grant : give.grants) {
    const bool together = grant.span.count > 1;
    while (grant.span.count > 0) {
      auto rows = together ? tasks_.TakeRows(grant.span) : std::nullopt;
      assign.tasks.push_back(rows ? std::move(*rows) : TaskOf(grant));
      bytes += BytesOf(assign.tasks.back());
      if (bytes > kFrameBytesSoft) flush();
    }
  }
  flush();
}

// The first of these.
Task MasterLoop::TaskOf(Give::Grant& grant) {
  Task task = For<Task>(CutFront(grant.span, 1));
  const TaskRow& row = tasks_.Get(task.task);
  task.attempt_number = grant.attempt_number;
  if (grant.dangerous) task.details.Edit().extras.emplace_back(kDangerous, true);
  if (grant.of != 0) PutRequest(task.details.Edit().extras, core_.request(grant.of));
  task.seed = row.seed;
  const uint64_t limit = core_.TimeLimit(grant.of, row.timeout_ms);
  if (limit != 0) task.details.Edit().timeout_ms = limit;
  if (!row.problem.empty()) task.details.Edit().problem = row.problem;
  size_t size = 0;
  for (const std::string& value : row.values) size += value.size();
  size += row.group.size();
  if (size > kTaskBytesMax) {
    task.details.Edit().problem = fmt::format(
        "the values of this row that the command uses have {} bytes; at "
        "most {} can be passed on",
        size, kTaskBytesMax);
  } else {
    task.values = row.values;
    task.group = row.group;
  }
  return task;
}

void MasterLoop::Do(Write& write) {
  for (const JournalRecord& record : write.records) {
    const auto* result = std::get_if<ResultRecord>(&record);
    if (result == nullptr) continue;
    if (first_result_ == nanoseconds{}) first_result_ = Now();
    if (result->told) asking_->OnEnded(*result, tasks_);
    tasks_.Forget(result->result);
  }
  writer_->Push(std::move(write.records));
}

void MasterLoop::Do(AvoidHost& avoid) {
  if (workforce_.Avoid(avoid.host)) Push(AvoidRecord{avoid.host});
}

void MasterLoop::Do(Note& note) {
  if (note.kind == Note::Kind::kWarning) {
    observer_.Warning(note.text);
  } else {
    observer_.Note(note.text);
  }
}

void MasterLoop::Do(Finished&) {
  finished_ = true;
  if (end_) return;
  leave_ = WorkerSource::End::kTold;
  end_ = End{interrupted_ ? 130 : 0, core_.drain_reason(), core_.halted()};
  if (core_.asker().stuck()) {
    end_ = End{1, "its proposer names no new row, and nothing is left that it could wait for"};
  }
  if (!proposer_problem_.empty()) end_ = End{3, proposer_problem_};
}

void MasterLoop::TellDropped() {
  const Counts& counts = core_.counts();
  if (port_.unreadable() + counts.rejected > 0) {
    observer_.Warning(
        fmt::format("dropped: {} messages that could not be read, {} reports of attempts that "
                    "were never given out",
                    port_.unreadable(), counts.rejected));
  }
  if (counts.dropped > 0) {
    observer_.Note(fmt::format("{} reports came late or again and were dropped", counts.dropped));
  }
}

void MasterLoop::ShowProgress() {
  const auto now = Now();
  if (options_.keep_alive && now - last_keep_alive_ > kKeepAliveEvery) {
    last_keep_alive_ = now;
    ReadSpool();
    try {
      options_.keep_alive();
    } catch (const Error& error) {
      observer_.Warning(error.what());
    }
  }
  if (now - last_progress_ < kProgressEvery && !end_) return;
  last_progress_ = now;
  const Counts& counts = core_.counts();
  if (now - last_left_ >= kLeftEvery) {
    last_left_ = now;
    const auto left = core_.Left(now);
    left_.reset();
    if (left) left_ = std::pair(InSeconds(left->first), InSeconds(left->second));
  }
  RunProgress progress;
  progress.phase = RunProgress::Phase::kRunning;
  progress.tasks = counts.tasks;
  progress.done = counts.done;
  progress.failed = counts.done - counts.outcomes[static_cast<size_t>(Outcome::kOk)];
  progress.failed_before = failed_before_;
  progress.running = counts.running;
  progress.workers = counts.workers;
  progress.pending_workers = workforce_.pending();
  progress.pending_reason = workforce_.pending_reason();
  progress.seconds = InSeconds(now);
  progress.left = left_;
  observer_.Progress(progress);
}

}  // namespace cq
