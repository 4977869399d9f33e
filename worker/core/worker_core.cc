#include "worker/core/worker_core.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "protocol/limits.h"
#include "protocol/spans.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Time = WorkerCore::Time;

/// A task that has run this long without being reported is reported as started.
constexpr Time kReportStartAfter = milliseconds(50);
/// Results wait this long for company while the slots have work at hand.
constexpr Time kGatherResults = milliseconds(20);
/// How long the end of a task by a signal that may be the end of its worker is kept back.
constexpr Time kDoubt = seconds(1);
/// How long a worker that was told to go waits for the acknowledgement of its last results.
constexpr Time kLeaveWait = seconds(10);
/// How long a worker takes nothing when its machine had no room for a process.
constexpr Time kFullFor = seconds(30);
/// A worker whose master has never answered leaves after this: it started after its master's end.
constexpr Time kFirstAnswer = seconds(60);

bool EndedBySignalOfOthers(const TaskResult& result) {
  // At a limit the signal was ours.
  if (result.outcome != Outcome::kError && result.outcome != Outcome::kCrashed) return false;
  return result.details->exit == -SIGTERM || result.details->exit == -SIGXCPU ||
         result.details->exit == -SIGKILL;
}

size_t BytesOf(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return text->size();
  if (const auto* json = std::get_if<Json>(&value)) return json->text.size();
  return sizeof value;
}

size_t BytesOf(const TaskResult& result) {
  const ResultDetails& details = *result.details;
  size_t bytes = 128 + details.out.size() + details.err.size() + details.error.size() +
                 result.blob->bytes.size() + result.answers.size();
  for (const auto& [name, value] : result.values) bytes += 16 + name.size() + BytesOf(value);
  // At least so much each: a message may be of kHeldMax tasks.
  constexpr size_t kTaskBytes = 20;
  return bytes + kTaskBytes * (result.count - 1);
}

// Why the master could not take it; empty if it can. Answers were looked at one by one.
std::string Oversize(const TaskResult& result) {
  if (!result.answers.empty()) return {};
  if (result.values.size() > kNamesMax) {
    return fmt::format("it returned {} names; a result may have {}", result.values.size(),
                       kNamesMax);
  }
  const size_t bytes = BytesOf(result) - result.details->out.size() - result.details->err.size() -
                       result.details->error.size();
  if (bytes <= kResultBytesMax) return {};
  return fmt::format("it returned {} bytes; a result may have {} ({} MiB): write it to a file",
                     bytes, kResultBytesMax, kResultBytesMax >> 20);
}

}  // namespace

std::vector<AttemptRef> HeldTask::Refs() const {
  std::vector<AttemptRef> refs;
  refs.reserve(count);
  for (uint64_t i = 0; i < count; ++i) refs.push_back({task + i, attempt + i});
  return refs;
}

void HeldTask::CutFront(uint64_t n, HeldTask& front) {
  CQ_ASSERT(n >= 1 && n < count, "{} of {} tasks from {} are cut off", n, count, task);
  static_cast<AttemptSpan&>(front) = cq::CutFront(*this, n);
  if (held::Running* r = running(); r != nullptr && r->at < attempt) {
    front.state = std::exchange(state, held::Queued{});
  } else if (held::Finished* f = finished()) {
    CQ_ASSERT(!f->result->answers.empty(), "a span has the result of task {} alone", task);
    front.state =
        held::Finished{std::make_unique<TaskResult>(cq::CutFront(*f->result, n)), f->sent};
  }
}

// Why this task of the run cannot be run, whoever made it up. A span's rows are looked at where
// they are unpacked.
std::string WorkerCore::FaultOf(const Task& task) const {
  // RenderCommand looks at what a command needs.
  if (!text_ || text_->program.empty() || !task.rows.empty()) return {};
  const Program& program = text_->program;
  const size_t values = task.values.size();
  const size_t wanted = program.calls ? 2 : program.columns.size();
  const bool enough = program.calls ? values >= wanted : values == wanted;
  if (enough) return {};
  return fmt::format("the task came with {} values, and its run has {} columns", values, wanted);
}

std::vector<WorkerAction> WorkerCore::TakeActions() { return std::exchange(actions_, {}); }

uint64_t WorkerCore::capacity() const {
  if (!std::holds_alternative<Serving>(life_) || !problem_.empty() || full_) return 0;
  const uint64_t room = kHeldMax / 2 - std::min<uint64_t>(finished_, kHeldMax / 2);
  return std::min<uint64_t>(options_.slots * (1 + kPrefetchMax), room);
}

void WorkerCore::Send(FromWorker message) {
  actions_.emplace_back(SendUp{{session_, ++sent_}, std::move(message)});
}

// Results that the master has, or does not want.
void WorkerCore::Forget(AttemptSpan attempts) {
  while (attempts.count > 0) {
    const HeldTask* held = held_.Containing(attempts.attempt);
    if (held == nullptr || !held->finished()) {
      CutFront(attempts, 1);
      continue;
    }
    const uint64_t here = held->last().attempt + 1 - attempts.attempt;
    const AttemptSpan gone = CutFront(attempts, std::min(here, attempts.count));
    if (held->unsent()) {
      unsent_tasks_ -= std::min(unsent_tasks_, gone.count);
      // What stood before them may have gone by their last.
      unsent_.push_back(gone.attempt - 1);
    }
    held_.Isolate(gone.attempt, gone.count);
    held_.Erase(gone.last().attempt);
    CQ_ASSERT(gone.count <= finished_, "{} results are forgotten of {}", gone.count, finished_);
    finished_ -= gone.count;
  }
}

// Taken out of its span. If that was to be sent, its parts still are.
HeldTask* WorkerCore::Single(AttemptId attempt) {
  const HeldTask* held = held_.Containing(attempt);
  if (held != nullptr && held->count > 1 && held->unsent()) {
    unsent_.push_back(attempt - 1);
    unsent_.push_back(attempt);
  }
  return held_.Find(attempt);
}

// A result that was sent says by itself that the attempt is over; one that was not is still to be
// sent: its master judges it.
void WorkerCore::CancelFinished(const AttemptRef& ref) {
  const HeldTask* held = held_.Containing(ref.attempt);
  if (held == nullptr || held->unsent()) return;
  held = Single(ref.attempt);
  if (held != nullptr && held->finished()) Forget({ref.task, ref.attempt});
}

void WorkerCore::OnPrepared(const std::string& problem) {
  if (problem == problem_) return;
  problem_ = problem;
  if (problem.empty()) {
    if (welcomed()) SendHeartbeat();
    return;
  }
  ReturnQueued(ReturnReason::kRefused);
  if (welcomed()) SendHeartbeat();
}

void WorkerCore::SendHeartbeat() {
  Send(WorkerHeartbeat{received_, capacity(), problem_, full_ ? full_->reason : waits_for_});
}

// ---- tasks ----

void WorkerCore::OnAssign(Assign& assign) {
  if (assign.run != options_.run) return;
  std::vector<Task> fresh;
  fresh.reserve(assign.tasks.size());
  constexpr uint64_t kCenturyMs = 100ull * 365 * 24 * 3600 * 1000;
  for (Task& task : assign.tasks) {
    // Numbers that no master gives: they are ours for what is no task.
    if (task.task == 0 || task.count == 0 || EpochOf(task.attempt) == 0) continue;
    if (held_.size() + task.count > kHeldMax) {
      Return(task, ReturnReason::kRetracted);
      continue;
    }
    if (HoldsSome(task)) continue;
    // What the master says comes first: a row that is too large to be sent comes without values.
    if (std::string fault = FaultOf(task); !fault.empty() && task.details->problem.empty()) {
      task.details.Edit().problem = std::move(fault);
    }
    if (task.details->timeout_ms > kCenturyMs) task.details.Edit().timeout_ms = kCenturyMs;
    static_cast<AttemptSpan&>(held_.Add(task.attempt, task.count).first) = task;
    newest_ = std::max(newest_, task.last().attempt);
    grouped_ = grouped_ || !task.group.empty();
    fresh.push_back(std::move(task));
  }
  if (fresh.empty()) return;
  if (capacity() > 0) {
    actions_.emplace_back(Enqueue{std::move(fresh)});
    return;
  }
  const auto reason = told_to_go()       ? ReturnReason::kToldToGo
                      : problem_.empty() ? ReturnReason::kRetracted
                                         : ReturnReason::kRefused;
  for (const Task& task : fresh) {
    held_.Erase(task.last().attempt);
    Return(task, reason);
  }
}

// They go back as they came.
void WorkerCore::Return(const AttemptSpan& attempts, ReturnReason reason) {
  for (uint64_t i = 0; i < attempts.count; ++i) {
    returned_.push_back({attempts.task + i, attempts.attempt + i, reason, 0, {}});
  }
}

// Whether any of them is held, or no span can be: no master gives one twice.
bool WorkerCore::HoldsSome(const AttemptSpan& span) const {
  const AttemptId last = span.last().attempt;
  if (last < span.attempt) return true;
  for (uint64_t i = 0; i < span.count && span.attempt + i <= newest_; ++i) {
    if (held_.Containing(span.attempt + i) != nullptr) return true;
  }
  return false;
}

void WorkerCore::ReturnQueued(ReturnReason reason) {
  TakeBack take;
  take.reason = reason;
  for (const AttemptId end : held_.Ends()) {
    const HeldTask& held = *held_.EndingAt(end);
    // Of a span some may run, and others wait.
    for (const AttemptRef& ref : held.Refs()) {
      if (held.StateOf(ref.attempt) == HeldState::kQueued) take.attempts.push_back(ref);
    }
  }
  if (!take.attempts.empty()) actions_.emplace_back(std::move(take));
}

void WorkerCore::OnTakenBack(const std::vector<AttemptRef>& attempts, ReturnReason reason) {
  for (const AttemptRef& ref : attempts) HandBack(ref, reason, 0, {});
}

void WorkerCore::HandBack(const AttemptRef& ref, ReturnReason reason, int64_t exit,
                          const std::string& text) {
  const HeldTask* held = held_.Find(ref.attempt);
  if (held == nullptr) return;
  CQ_ASSERT(!held->finished(), "task {} has finished and is handed back", ref.task);
  if (held->running()) Ended();
  held_.Erase(ref.attempt);
  returned_.push_back({ref.task, ref.attempt, reason, exit, text});
}

void WorkerCore::OnRunning(const std::vector<RunningTask>& running) {
  for (const RunningTask& task : running) Began(task);
}

void WorkerCore::Began(const RunningTask& task) {
  const AttemptId attempt = task.ref.attempt;
  HeldTask* held = held_.Containing(attempt);
  if (held == nullptr || held->finished()) return;
  if (const held::Running* before = held->running()) {
    if (before->at == attempt) return;
    if (before->slot != task.slot) {
      // Two slots share a span: each has its part from now on.
      const AttemptId second = std::max(before->at, attempt);
      held_.Isolate(second, held->last().attempt + 1 - second);
      held = held_.Containing(attempt);
      ++running_;
    }
  } else {
    ++running_;
  }
  held->state = held::Running{attempt, task.slot, task.started, false};
  unreported_.push_back(attempt);
}

void WorkerCore::OnFinished(Time now, TaskResult result, bool by_us) {
  HeldTask* held = held_.Isolate(result.attempt, result.count);
  if (held == nullptr) {
    // They are in several entries, or some are gone.
    if (result.count == 1) return;
    for (TaskResult& one : Apart(std::move(result))) OnFinished(now, std::move(one), by_us);
    return;
  }
  if (held->finished()) return;
  if (held->queued()) {
    held->state = held::Running{result.attempt, 0, now, false};
    ++running_;
  }
  if (result.outcome == Outcome::kOk) succeeded_ = true;
  // Instructions that this machine lacks, rather than a fault of the task.
  if (result.details->exit == -SIGILL && !succeeded_) result.unstartable = true;
  if (by_us) {
    result.outcome = Outcome::kCancelled;
  } else if (told_to_go() && (result.outcome != Outcome::kOk || IsCutShort(result))) {
    HandBack({result.task, result.attempt}, ReturnReason::kToldToGo, result.details->exit,
             result.details->error);
    return;
  } else if (EndedBySignalOfOthers(result)) {
    // Should the worker die of it, too, its master knows what ran.
    if (!held->running()->reported) unreported_.push_back(result.attempt);
    doubtful_.push_back({now + kDoubt, std::move(result)});
    return;
  }
  Keep(now, std::move(result));
}

// Others may have room, and this machine again in a while: no problem of the run, but nothing is
// taken meanwhile.
void WorkerCore::OnNoRoom(Time now, const AttemptRef& ref, const std::string& reason) {
  full_ = {now + kFullFor, reason};
  // First, so that what comes back does not come again at once.
  if (welcomed()) SendHeartbeat();
  HandBack(ref, ReturnReason::kRefused, 0, reason);
  ReturnQueued(ReturnReason::kRefused);
}

void WorkerCore::OnWaits(const std::string& text) {
  if (text == waits_for_) return;
  waits_for_ = text;
  if (welcomed()) SendHeartbeat();
}

void WorkerCore::Keep(Time now, TaskResult result) {
  HeldTask* held = held_.Isolate(result.attempt, result.count);
  if (held == nullptr) return;
  if (std::string problem = Oversize(result); !problem.empty()) {
    result.values.clear();
    result.blob = {};
    result.outcome = Outcome::kError;
    result.details.Edit().error = std::move(problem);
    result.details.Edit().exit = 1;
  }
  Ended();
  QueueToSend(now, *held, std::move(result));
}

void WorkerCore::Ended() {
  CQ_ASSERT(running_ > 0, "a task ends where none runs, of {}", held_.size());
  --running_;
}

void WorkerCore::QueueToSend(Time now, HeldTask& held, TaskResult result) {
  CQ_ASSERT(!held.finished(), "task {} has finished already", held.task);
  CQ_ASSERT(result.count == held.count, "task {} has a result that is not its own", held.task);
  if (unsent_.empty()) oldest_unsent_ = now;
  unsent_.push_back(held.last().attempt);
  unsent_tasks_ += held.count;
  finished_ += held.count;
  held.state = held::Finished{std::make_unique<TaskResult>(std::move(result)), false};
}

// What a signal to all of its processes has come to is no result, though it says so: a shell goes
// on after the command that the signal ended. A program that a slot keeps answers for each task
// itself.
bool WorkerCore::IsCutShort(const TaskResult& result) const {
  return result.outcome == Outcome::kOk && told_to_go()->whom == Told::kJob && text_ &&
         text_->program.empty();
}

void WorkerCore::OnToldToGo(Time now, const std::string& reason, Told whom) {
  if (exited()) return;
  if (ToldToGo* told = std::get_if<ToldToGo>(&life_)) {
    if (whom == Told::kJob) told->whom = whom;
    return;
  }
  life_ = ToldToGo{now, whom};
  leave_reason_ = reason;
  if (welcomed()) Send(Leaving{reason});
  for (const Doubtful& d : doubtful_) {
    HandBack({d.result.task, d.result.attempt}, ReturnReason::kToldToGo, d.result.details->exit,
             d.result.details->error);
  }
  doubtful_.clear();
  ReturnQueued(ReturnReason::kToldToGo);
}

void WorkerCore::OnOutput(std::vector<OutputPart> parts) {
  std::erase_if(parts, [this](const OutputPart& part) {
    const HeldTask* held = held_.Containing(part.attempt);
    return held == nullptr || !held->running();
  });
  if (!welcomed()) return;
  Output message{options_.run, {}};
  size_t bytes = 0;
  for (OutputPart& part : parts) {
    bytes += part.out.size() + part.err.size();
    message.parts.push_back(std::move(part));
    if (bytes < kFrameBytesSoft) continue;
    Send(std::exchange(message, Output{options_.run, {}}));
    bytes = 0;
  }
  if (!message.parts.empty()) Send(std::move(message));
}

// ---- reports ----

void WorkerCore::Report(Time now) {
  if (!welcomed()) return;
  while (!returned_.empty()) {
    ptrdiff_t count = 0;
    for (size_t bytes = 0; count < static_cast<ptrdiff_t>(std::min(returned_.size(), kBatchMax)) &&
                           bytes < kFrameBytesSoft;
         ++count) {
      bytes += returned_[static_cast<size_t>(count)].text.size();
    }
    Returned message;
    message.run = options_.run;
    message.attempts.assign(returned_.begin(), returned_.begin() + count);
    returned_.erase(returned_.begin(), returned_.begin() + count);
    Send(std::move(message));
  }
  // Slots about to run dry need the master to know at once; otherwise results travel together.
  // So does one of them that is about to run out of its group.
  const bool hungry = grouped_ || queued() <= options_.slots;
  if (!unsent_.empty() &&
      (hungry || unsent_tasks_ >= kBatchMax / 4 || now >= oldest_unsent_ + kGatherResults)) {
    SendResults();
  }
  ReportStarts(now);
}

void WorkerCore::SendResults() {
  Results message;
  message.run = options_.run;
  size_t bytes = 0;
  const auto flush = [&] {
    message.ledger = ledger_;
    Send(std::exchange(message, Results{options_.run, {}, {}}));
    bytes = 0;
  };
  for (const auto& [attempt, held] : Unreported()) {
    held->running()->reported = true;
    message.started.push_back({held->task_at(attempt), attempt, held->running()->slot});
  }
  unsent_tasks_ = 0;
  for (const AttemptId end : std::exchange(unsent_, {})) {
    HeldTask* held = held_.EndingAt(end);
    if (held == nullptr || !held->unsent()) continue;
    held->finished()->sent = true;
    message.results.push_back(*held->finished()->result);
    bytes += BytesOf(message.results.back());
    if (message.results.size() >= kBatchMax || bytes > kFrameBytesSoft) flush();
  }
  if (!message.results.empty() || !message.started.empty()) flush();
}

void WorkerCore::ReportStarts(Time now) {
  Started message;
  message.run = options_.run;
  for (const auto& [attempt, held] : Unreported()) {
    held::Running& run = *held->running();
    if (now < run.started + kReportStartAfter || message.attempts.size() >= kBatchMax) continue;
    run.reported = true;
    message.attempts.push_back({held->task_at(attempt), attempt, run.slot});
  }
  if (!message.attempts.empty()) Send(std::move(message));
}

std::vector<std::pair<AttemptId, HeldTask*>> WorkerCore::Unreported() {
  std::vector<std::pair<AttemptId, HeldTask*>> all;
  std::erase_if(unreported_, [&](AttemptId attempt) {
    HeldTask* held = held_.Containing(attempt);
    const held::Running* run = held == nullptr ? nullptr : held->running();
    const bool gone = run == nullptr || run->at != attempt || run->reported;
    if (!gone) all.emplace_back(attempt, held);
    return gone;
  });
  return all;
}

// ---- time ----

void WorkerCore::OnTick(Time now) {
  if (exited()) return;
  auto doubtful = std::exchange(doubtful_, {});
  for (Doubtful& d : doubtful) {
    if (now >= d.due) {
      Keep(now, std::move(d.result));
    } else {
      doubtful_.push_back(std::move(d));
    }
  }
  if (full_ && now >= full_->until) {
    full_.reset();
    if (welcomed()) SendHeartbeat();
  }
  Report(now);
  if (lease_end_ && now > *lease_end_) EndLease();
  MaybeLeave(now);
  if (exited() || now < last_heartbeat_ + heartbeat_) return;
  last_heartbeat_ = now;
  if (lost_ || now - std::max(last_heard_, last_connect_) > lease_ / 2) {
    if (MasterLost(now)) return;
    lost_ = true;
    actions_.emplace_back(Reconnect{});
  } else if (welcomed()) {
    SendHeartbeat();
    sent_at_.emplace_back(sent_, now);
  } else {
    if (MasterLost(now)) return;
    SayHello(now);
  }
}

// A local worker ends with its master's process and never because of silence.
bool WorkerCore::MasterLost(Time now) {
  if (options_.local || running_ > 0) return false;
  const Time patience = text_ ? Time(milliseconds(text_->on_master_loss_ms)) : Time::max();
  const Time silence = now - last_heard_;
  const bool never = !ever_welcomed_ && now - first_connect_ > kFirstAnswer;
  if (!never && (!ever_welcomed_ || silence <= patience)) return false;
  SpoolResults();
  Leave(kNoMaster, never ? "no master answered" : "no master was heard for too long");
  return true;
}

void WorkerCore::SpoolResults() {
  Results message;
  message.run = options_.run;
  size_t bytes = 0;
  for (const AttemptId end : held_.Ends()) {
    const HeldTask& held = *held_.EndingAt(end);
    if (!held.finished()) continue;
    message.results.push_back(*held.finished()->result);
    bytes += BytesOf(message.results.back());
    if (message.results.size() < kBatchMax && bytes <= kFrameBytesSoft) continue;
    actions_.emplace_back(Spool{std::exchange(message, Results{options_.run, {}, {}})});
    bytes = 0;
  }
  if (!message.results.empty()) actions_.emplace_back(Spool{std::move(message)});
}

void WorkerCore::Renew(Time until) {
  lease_end_ = until;
  actions_.emplace_back(StartUntil{until});
}

// From now on the master may give what runs here to others.
void WorkerCore::EndLease() {
  lease_end_.reset();
  if (!text_ || !text_->fence) return;
  cq::Kill kill;
  for (const AttemptId end : held_.Ends()) {
    const HeldTask& held = *held_.EndingAt(end);
    if (held.finished()) continue;
    for (const AttemptRef& ref : held.Refs()) kill.attempts.push_back(ref);
  }
  actions_.emplace_back(std::move(kill));
}

void WorkerCore::MaybeLeave(Time now) {
  const ToldToGo* told = told_to_go();
  if (!(told || std::holds_alternative<Draining>(life_)) || running_ > 0 || queued() > 0) return;
  // Without a master there is nobody to wait for, and a scheduler that tells us to go kills soon.
  const bool gave_up = told && (!welcomed() || now - told->at > kLeaveWait);
  if (!returned_.empty() && !gave_up) return;
  if (finished_ > 0 && !gave_up) return;
  SpoolResults();
  if (welcomed()) Send(Goodbye{leave_reason_});
  Leave(0, leave_reason_);
}

void WorkerCore::Leave(int status, const std::string& reason) {
  actions_.emplace_back(Exit{status, reason});
  life_ = Exited{};
}

WorkerCore::Time WorkerCore::next_due() const {
  Time due = last_heartbeat_ + heartbeat_;
  if (!unsent_.empty() && welcomed()) due = std::min(due, oldest_unsent_ + kGatherResults);
  for (const Doubtful& d : doubtful_) due = std::min(due, d.due);
  for (const AttemptId attempt : welcomed() ? unreported_ : std::vector<AttemptId>()) {
    const HeldTask* held = held_.Containing(attempt);
    const held::Running* run = held == nullptr ? nullptr : held->running();
    if (run != nullptr && !run->reported) {
      due = std::min(due, run->started + kReportStartAfter);
    }
  }
  if (lease_end_) due = std::min(due, *lease_end_ + milliseconds(1));
  const ToldToGo* told = told_to_go();
  if (told && running_ == 0) due = std::min(due, told->at + kLeaveWait + milliseconds(1));
  return due;
}

}  // namespace cq
