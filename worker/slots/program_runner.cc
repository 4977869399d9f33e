#include "worker/slots/program_runner.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <thread>

#include "base/json_text.h"
#include "base/spawn.h"
#include "base/text.h"
#include "base/wall_clock.h"
#include "cq/error.h"
#include "protocol/bundle.h"
#include "protocol/limits.h"
#include "protocol/packed_values.h"
#include "protocol/pushed_rows.h"
#include "protocol/spans.h"
#include "worker/log.h"
#include "worker/processes/process_tree.h"
#include "worker/processes/signal_names.h"
#include "worker/slots/json_values.h"
#include "worker/slots/printed_text.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// What a batch should take: long against a round trip, short against what a user notices.
constexpr milliseconds kBatchTime{50};
constexpr size_t kBatchLargest = 1024;
/// While a program is busy with its batch, its answers are looked at no more often than after half
/// of the time that is left, or after the longer of these; for less than the shorter it is not
/// worth it.
constexpr std::chrono::microseconds kRest{1000};
constexpr std::chrono::microseconds kLeastRest{200};
}  // namespace

/// The tasks of one call of Run, and how far they are.
class ProgramRunner::Batch {
 public:
  Batch(ProgramRunner& runner, const RunContext& run, std::vector<Task> tasks,
        const Listener& listener)
      : runner_(runner), run_(run), tasks_(std::move(tasks)), listener_(listener) {}

  void Run() {
    RunSpan();
    for (; at_ < tasks_.size(); Report()) {
      if (!Ready()) continue;
      if (Refuse()) continue;
      const size_t sent = one_at_a_time_ ? at_ + 1 : Sendable();
      SendUpTo(sent);
      ServeOrEnd(sent);
    }
  }

  // ---- one task, without waiting ----

  bool BeginFirst() {
    SendUpTo(1);
    return process().Send();
  }

  Seen Look() {
    if (!process().Look()) return Seen::kNothing;
    try {
      while (auto message = process().Next()) OnMessage(*message, 1);
    } catch (const std::exception& error) {
      fault_ = Fault(error);
    }
    if (at_ == 0 || !fault_.empty()) return Seen::kElse;
    runner_.LearnPace(steady_clock::now() - task_begin_, 1);
    return Seen::kAnswer;
  }

  std::vector<CommandEnd> TakeEnded() { return std::exchange(ended_, {}); }

  void GoOn() {
    at_ == 0 ? ServeOrEnd(1) : OnEnded(false);
    Report();
    Run();
  }

  // Why the program cannot be told a task's row; empty if it can.
  static std::string Unsayable(const ProgramProcess& process, const RunContext& run,
                               const Task& task) {
    if (!task.details->problem.empty()) return task.details->problem;
    // JSON has no place for bytes that are not UTF-8.
    if (process.format() != SlotFormat::kJson) return {};
    for (size_t i = 0; i < task.values.size(); ++i) {
      if (IsUtf8(task.values[i])) continue;
      return fmt::format("column '{}' holds bytes that are not UTF-8, which JSON cannot carry",
                         run.text().program.columns[i]);
    }
    if (!IsUtf8(task.group))
      return "its group holds bytes that are not UTF-8, which JSON cannot carry";
    return {};
  }

 private:
  ProgramProcess& process() { return *runner_.process_; }

  // Gives a span to the program as it is, and passes its answers on as they come. At anything else
  // that happens its tasks are taken apart.
  void RunSpan() {
    if (tasks_.size() != 1 || tasks_[0].rows.empty()) return;
    if (run_.text().program.function.empty()) {
      TakeTexts();
      return;
    }
    if (!runner_.process_ || !process().Serves(run_.text())) {
      tasks_ = Apart(std::move(tasks_[0]));
      return;
    }
    process().Write(Encoded({&tasks_[0]}));
    span_ = std::move(tasks_[0]);
    tasks_.clear();
    BeginSpan();
    bool killed = false;
    std::optional<FromProgram> other;
    while (span_.count > 0 && !other) {
      const bool lives = process().Wait(milliseconds(60'000), killed);
      try {
        while (auto message = process().Next()) {
          auto* answers = std::get_if<TaskResult>(&*message);
          if (answers != nullptr && Pass(*answers)) continue;
          other = std::move(message);
          break;
        }
      } catch (const std::exception& error) {
        fault_ = Fault(error);
      }
      if (!lives || killed || !fault_.empty()) break;
    }
    if (span_.count == 0) {
      AfterTheLast(other);
      return;
    }
    tasks_ = Apart(std::move(span_));
    ServeOrEnd(tasks_.size(), std::move(other), killed);
    Report();
  }

  // Programs of the user's get tasks in the form that they speak.
  void TakeTexts() {
    in_span_ = true;
    tasks_ = Apart(std::move(tasks_[0]));
    for (Task& task : tasks_) {
      try {
        UnpackRow(task);
        const size_t columns = run_.text().program.columns.size();
        if (task.values.size() != columns) {
          throw Error(fmt::format("the task came with {} values, and its run has {} columns",
                                  task.values.size(), columns));
        }
      } catch (const Error& error) {
        task.details.Edit().problem = error.what();
      }
    }
  }

  // What it says behind its last answer is nobody's.
  void AfterTheLast(std::optional<FromProgram>& other) {
    try {
      if (other) OnMessage(*other, 0);
      process().Send();
    } catch (const std::exception& error) {
      fault_ = Fault(error);
    }
    if (!fault_.empty()) OnEnded(false);
  }

  // False for what is not the next of the span, or has prints beside it.
  bool Pass(TaskResult& answers) {
    if (answers.answers.empty() || answers.task != span_.task || answers.count > span_.count ||
        process().printed()) {
      return false;
    }
    runner_.Learn(answers.wall_us / answers.count);
    runner_.LearnPace(steady_clock::now() - task_begin_, answers.count);
    static_cast<AttemptSpan&>(answers) = CutFront(span_, answers.count);
    answers.slot = runner_.slot_.number;
    answers.started_us = started_us_;
    ended_.emplace_back().result = std::move(answers);
    Report();
    if (span_.count > 0) BeginSpan();
    return true;
  }

  void BeginSpan() {
    NoteTime();
    listener_.begins(span_.first());
  }

  void ServeOrEnd(size_t sent, std::optional<FromProgram> first = {}, bool killed = false) {
    if (Serve(sent, std::move(first), killed)) return;
    // It ended. Whoever was alone with it is guilty.
    OnEnded(sent - at_ == 1);
    one_at_a_time_ = true;
  }

  static std::string Fault(const std::exception& error) {
    return fmt::format("the program broke the slot protocol: {}", error.what());
  }

  // Makes sure that a program is ready; ends the next task where that is not possible.
  bool Ready() {
    if (runner_.process_ && process().Serves(run_.text())) return true;
    runner_.process_.reset();
    const std::string problem = runner_.Prepare(run_);
    if (problem.empty()) return true;
    CommandEnd end = NewEnd();
    if (runner_.no_room_) {
      end.no_room = problem;
      Finish(std::move(end));
      return false;
    }
    end.result.outcome = Outcome::kError;
    end.result.unstartable = true;
    end.result.details.Edit().exit = 127;
    end.result.details.Edit().error = problem;
    Finish(std::move(end));
    return false;
  }

  // Ends the next task where its program cannot be told its row.
  bool Refuse() {
    std::string reason = Unsayable(process(), run_, tasks_[at_]);
    if (reason.empty()) return false;
    CommandEnd end = NewEnd();
    end.result.outcome = Outcome::kError;
    end.result.details.Edit().exit = 1;
    end.result.details.Edit().error = std::move(reason);
    Finish(std::move(end));
    return true;
  }

  static size_t BytesOf(const Task& task) {
    size_t bytes = task.rows.size();
    for (const std::string& value : task.values) bytes += value.size();
    return bytes;
  }

  // Up to the next one that cannot be sent, or is too large for the same frame.
  size_t Sendable() {
    size_t end = at_ + 1;
    size_t bytes = BytesOf(tasks_[at_]);
    while (end < tasks_.size() && Unsayable(process(), run_, tasks_[end]).empty()) {
      bytes += BytesOf(tasks_[end]);
      if (bytes > kFrameBytesSoft) break;
      ++end;
    }
    return end;
  }

  void SendUpTo(size_t end) {
    first_ = at_;
    std::vector<const Task*> tasks;
    for (size_t i = at_; i < end; ++i) tasks.push_back(&tasks_[i]);
    process().Write(Encoded(tasks));
    Begin();
  }

  std::string Encoded(const std::vector<const Task*>& tasks) {
    return EncodeTasks(process().format(), process().NextId(), run_.text().program, tasks,
                       runner_.prints_);
  }

  void NoteTime() {
    if (std::exchange(live_, false)) process().ShowNoMore();
    task_begin_ = steady_clock::now();
    started_us_ = static_cast<uint64_t>(UnixMicroseconds());
  }

  void Begin() {
    NoteTime();
    listener_.begins(tasks_[at_].first());
  }

  // Takes answers until all up to `end` have come, `first` before those that are still to be read.
  // False if the program is gone, or has to go.
  bool Serve(size_t end, std::optional<FromProgram> first, bool killed) {
    process().limits.Begin(task_begin_, run_.LimitOf(tasks_[at_]));
    while (at_ < end) {
      const bool at_once = first || killed || !fault_.empty();
      const bool lives = process().Wait(at_once ? milliseconds(0) : Nap(), killed);
      const size_t before = at_;
      try {
        if (first) OnMessage(*first, end);
        first.reset();
        while (auto message = process().Next()) OnMessage(*message, end);
      } catch (const std::exception& error) {
        fault_ = Fault(error);
      }
      if (at_ > before) runner_.LearnPace(steady_clock::now() - task_begin_, at_ - before);
      if (at_ == end && fault_.empty()) break;
      if (at_ > before && at_ < end) {
        Report();
        Begin();
        process().limits.Begin(task_begin_, run_.LimitOf(tasks_[at_]));
        // A program that hands over each answer by itself would wake us for each.
        const auto busy = runner_.Expected(end - at_);
        if (fault_.empty() && lives && busy > kLeastRest) {
          std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(busy / 2, kRest));
        }
      }
      if (killed && AnyUnwanted(end)) {
        killed_ = true;
        return false;
      }
      killed = false;
      if (!lives || !fault_.empty()) return false;
      if (!CheckLimits()) return false;
    }
    return true;
  }

  bool AnyUnwanted(size_t end) const {
    return std::any_of(tasks_.begin() + static_cast<ptrdiff_t>(at_),
                       tasks_.begin() + static_cast<ptrdiff_t>(end),
                       [this](const Task& task) { return listener_.unwanted(task.first()); });
  }

  milliseconds Nap() {
    auto until = process().limits.next();
    if (!live_) until = std::min(until, task_begin_ + kLongRunning);
    if (until == steady_clock::time_point::max()) return milliseconds(60'000);
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    return std::clamp(left, milliseconds(0), milliseconds(60'000));
  }

  bool CheckLimits() {
    const auto now = steady_clock::now();
    if (!live_ && now >= task_begin_ + kLongRunning) {
      live_ = true;
      process().ShowFrom(tasks_[at_].first());
    }
    const auto act =
        process().limits.Look(now, process().pid(), [this] { return process().Family(); });
    if (act == TaskLimits::Act::kTerm) process().Signal(SIGTERM);
    return act != TaskLimits::Act::kKill;
  }

  void OnMessage(FromProgram& message, size_t end) {
    if (auto* answer = std::get_if<TaskResult>(&message)) {
      // As most do, it comes alone and with its values.
      if (answer->answers.empty()) return OnAnswer(*answer, end);
      for (TaskResult& one : Apart(std::move(*answer))) {
        UnpackAnswer(one);
        OnAnswer(one, end);
      }
    } else if (const auto* other = std::get_if<SlotOther>(&message)) {
      if (other->type == "unsupported") return;
      process().Reply(EncodeUnsupported(process().format(), *other));
    } else {
      throw Error("a second greeting");
    }
  }

  CommandEnd NewEnd() const {
    CommandEnd end;
    Identify(end.result);
    return end;
  }

  void Identify(TaskResult& result) const {
    result.task = tasks_[at_].task;
    result.attempt = tasks_[at_].attempt;
    result.slot = runner_.slot_.number;
    result.started_us = started_us_;
  }

  void OnAnswer(TaskResult& answer, size_t until) {
    // In order: what it works on is known then.
    if (at_ >= until || answer.task != tasks_[at_].task) {
      throw Error(fmt::format("an answer for task {}, which it was not to work on", answer.task));
    }
    const bool last = at_ + 1 == until;
    runner_.Learn(answer.wall_us);
    // All that it printed before this answer has been read with it (Process::Read).
    std::string out = process().out_text.Take(answer.task);
    std::string err = process().err_text.Take(answer.task);
    if (last) {
      std::string out_rest = process().out_text.TakeRest();
      std::string err_rest = process().err_text.TakeRest();
      // What has no mark is nobody's for certain: from now on each task gets one.
      if (!out_rest.empty() || !err_rest.empty()) runner_.prints_ = true;
      out += OfBatch(std::move(out_rest));
      err += OfBatch(std::move(err_rest));
    }
    if (!err.empty() && !answer.details->err.empty() && !err.ends_with('\n')) err += '\n';
    err += answer.details->err;
    if (!out.empty()) answer.details.Edit().out = std::move(out);
    if (!err.empty()) answer.details.Edit().err = std::move(err);
    Identify(answer);
    // They are worked on one after the other.
    started_us_ += answer.wall_us;
    CommandEnd end;
    end.result = std::move(answer);
    Finish(std::move(end));
  }

  // What no mark gives to a task was printed by some task of the batch.
  std::string OfBatch(std::string rest) const {
    if (rest.empty() || first_ == at_) return rest;
    return fmt::format("[printed while tasks {} to {} ran]\n{}", tasks_[first_].task,
                       tasks_[at_].task, rest);
  }

  void Finish(CommandEnd end) {
    ++at_;
    ended_.push_back(std::move(end));
  }

  void Report() {
    if (in_span_) Together();
    if (!ended_.empty()) listener_.ended(std::exchange(ended_, {}));
  }

  // Those that returned, and have nothing else to tell.
  static bool IsPlain(const CommandEnd& end) {
    const TaskResult& r = end.result;
    return r.outcome == Outcome::kOk && !end.killed && end.no_room.empty() && !r.unstartable &&
           r.details.fresh() && r.blob.fresh() && !r.values.empty() &&
           std::none_of(r.values.begin(), r.values.end(), [](const auto& named) {
             return std::holds_alternative<Json>(named.second) || named.first == kPushName;
           });
  }

  // What was given as a span goes back as spans, as far as it can.
  void Together() {
    std::vector<CommandEnd> ended;
    msgpack::sbuffer packed;
    for (CommandEnd& end : std::exchange(ended_, {})) {
      TaskResult& r = end.result;
      packed.clear();
      if (IsPlain(end)) PackValues(packed, r.values);
      if (packed.size() == 0 || packed.size() > kFrameBytesSoft) {
        ended.push_back(std::move(end));
        continue;
      }
      TaskResult* last = ended.empty() ? nullptr : &ended.back().result;
      const bool next = last != nullptr && !last->answers.empty() &&
                        last->answers.size() <= kFrameBytesSoft &&
                        r.task == last->task + last->count;
      if (next) {
        ++last->count;
        last->wall_us += r.wall_us;
      } else {
        r.values.clear();
        last = &ended.emplace_back(std::move(end)).result;
      }
      AppendAnswer(last->answers, r.wall_us, {packed.data(), packed.size()});
    }
    ended_ = std::move(ended);
  }

  // The program is gone, or is sent away. `alone`: only one task was with it; otherwise answers may
  // have been on their way, and nobody knows whose fault it was.
  void OnEnded(bool alone) {
    const int status = process().End(SIGKILL);
    if (std::exchange(live_, false)) process().ShowNoMore();
    process().limits.Ended(status, killed_ || !fault_.empty(), *runner_.slot_.oom);
    // None is left where it spoke after its last answer.
    const TaskId task = at_ < tasks_.size() ? tasks_[at_].task : 0;
    const std::string last = process().err_text.Reason();
    const std::string out = process().out_text.Take(task) + process().out_text.TakeRest();
    const std::string err = process().err_text.Take(task) + process().err_text.TakeRest();
    const TaskLimits limits = process().limits;
    runner_.process_.reset();
    if (std::exchange(killed_, false)) {
      EndUnwanted();
    } else if (alone) {
      CommandEnd end = NewEnd();
      TaskResult& r = end.result;
      r.wall_us = static_cast<uint64_t>(
          std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - task_begin_)
              .count());
      r.outcome = limits.verdict() != Outcome::kOk ? limits.verdict() : Outcome::kCrashed;
      // Its master takes it apart, and finds out whose fault it was.
      if (run_.text().program.calls && tasks_[at_].values.size() == kValuesOfBundle) {
        r.outcome = Outcome::kError;
      }
      ResultDetails& details = r.details.Edit();
      details.out = out;
      details.err = err;
      details.exit = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
      details.error = limits.verdict() != Outcome::kOk ? limits.Reason() : Reason(status, last);
      Finish(std::move(end));
    }
    fault_.clear();
  }

  std::string Reason(int status, const std::string& last) const {
    if (!fault_.empty()) return fault_;
    const std::string how =
        WIFSIGNALED(status)
            ? fmt::format("its program was ended by {}", SignalName(WTERMSIG(status)))
            : fmt::format("its program ended with status {}", WEXITSTATUS(status));
    return last.empty() ? how : how + ": " + last;
  }

  // Those that were to be killed end so; the rest goes to a fresh program.
  void EndUnwanted() {
    std::vector<Task> left;
    const std::vector<Task> all(tasks_.begin() + static_cast<ptrdiff_t>(at_), tasks_.end());
    for (const Task& task : all) {
      if (!listener_.unwanted(task.first())) {
        left.push_back(task);
        continue;
      }
      tasks_[at_] = task;
      CommandEnd end = NewEnd();
      end.killed = true;
      end.result.outcome = Outcome::kError;
      end.result.details.Edit().exit = -SIGKILL;
      Finish(std::move(end));
    }
    tasks_.erase(tasks_.begin(), tasks_.end());
    tasks_ = std::move(left);
    at_ = 0;
  }

  ProgramRunner& runner_;
  const RunContext& run_;
  std::vector<Task> tasks_;
  /// What of a span is not answered yet, while it is one.
  Task span_;
  /// The tasks came as a span, and their results leave so.
  bool in_span_ = false;
  const Listener& listener_;
  /// The task that the program works on, and the first one that was sent with it.
  size_t at_ = 0;
  size_t first_ = 0;
  bool one_at_a_time_ = false;
  bool killed_ = false;
  std::string fault_;
  /// When the next one began: for its limits, and since 1970.
  steady_clock::time_point task_begin_ = steady_clock::now();
  uint64_t started_us_ = 0;
  /// What ended and was not reported yet.
  std::vector<CommandEnd> ended_;
  /// What the task that runs prints is sent while it runs.
  bool live_ = false;
};

ProgramRunner::ProgramRunner(CommandRunner::Slot slot) : slot_(std::move(slot)) {}
ProgramRunner::~ProgramRunner() = default;

std::string ProgramRunner::Prepare(const RunContext& run) {
  std::string problem;
  try {
    no_room_ = false;
    process_ = std::make_unique<ProgramProcess>(run, slot_);
    problem = process_->start_error() != 0 ? StartProblem() : Greet(run);
  } catch (const std::exception& error) {
    problem = fmt::format("the program broke the slot protocol: {}", error.what());
  }
  slot_.tell("");
  if (!problem.empty()) process_.reset();
  return problem;
}

std::string ProgramRunner::StartProblem() {
  const int error = process_->start_error();
  no_room_ = IsWantOfRoom(error);
  return fmt::format("the program '{}' cannot be started: {}", process_->name(),
                     error == ENOENT ? "there is none"
                     : no_room_      ? AdviceOnRoom()
                                     : strerror(error));
}

// Until it is ready. What takes long may be meant so; but the user is told what is waited for.
std::string ProgramRunner::Greet(const RunContext& run) {
  constexpr milliseconds kTellAfter{60'000};
  const auto begin = steady_clock::now();
  bool greeted = false;
  bool killed = false;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(begin + kTellAfter - steady_clock::now());
    const bool lives = process_->Wait(left.count() > 0 ? left : kTellAfter, killed);
    while (const auto message = process_->Next()) {
      if (std::holds_alternative<SlotReady>(*message)) {
        BeFirstVictims({process_->pid()});
        LogStart();
        return {};
      }
      if (const auto* refuse = std::get_if<SlotRefuse>(&*message)) return refuse->message;
      if (!std::holds_alternative<SlotHello>(*message)) continue;
      if (greeted) throw Error("a second greeting");
      greeted = true;
      process_->Write(EncodeStart(process_->format(), process_->NextId(), run.text().program,
                                  WideColumns(run.text())));
    }
    if (!lives || killed) return EndedEarly(killed);
    if (steady_clock::now() - begin < kTellAfter) continue;
    slot_.tell(fmt::format(
        "the program '{}' was started {} s ago and has not said {} yet{}", process_->name(),
        std::chrono::floor<std::chrono::seconds>(steady_clock::now() - begin).count(),
        greeted ? "that it is ready" : "hello",
        greeted ? ""
                : ": it has to call cq_serve (R), cq.serve (Python), or speak the slot protocol"));
  }
}

// What it printed while it got ready is no task's.
void ProgramRunner::LogStart() {
  const std::string printed = process_->out_text.TakeRest() + process_->err_text.TakeRest();
  if (!printed.empty()) {
    LogInfo(
        fmt::format("'{}' printed while it started: {}", process_->name(), PrintableText(printed)));
  }
}

std::string ProgramRunner::EndedEarly(bool killed) {
  const int status = process_->End(SIGKILL);
  if (killed) return "stopped while its program was starting";
  const std::string how = WIFSIGNALED(status) ? fmt::format("by {}", SignalName(WTERMSIG(status)))
                                              : fmt::format("with status {}", WEXITSTATUS(status));
  // R says on standard output what it cannot open.
  std::string words = process_->err_text.LastLines();
  if (words.empty()) words = process_->out_text.LastLines();
  return fmt::format("the program '{}' ended before it was ready, {}{}", process_->name(), how,
                     words.empty() ? "" : ":\n" + words);
}

void ProgramRunner::Run(const RunContext& run, std::vector<Task> batch, const Listener& listener) {
  Batch(*this, run, std::move(batch), listener).Run();
}

bool ProgramRunner::MayBegin(const RunContext& run, const Task& task) const {
  return process_ != nullptr && process_->Serves(run.text()) && run.LimitOf(task).count() == 0 &&
         run.text().memory_bytes == 0 && Batch::Unsayable(*process_, run, task).empty();
}

bool ProgramRunner::Begin(std::shared_ptr<const RunContext> run, Task task,
                          const Listener& listener) {
  std::vector<Task> tasks;
  tasks.push_back(std::move(task));
  begun_run_ = std::move(run);
  begun_ = std::make_unique<Batch>(*this, *begun_run_, std::move(tasks), listener);
  return begun_->BeginFirst();
}

ProgramRunner::Seen ProgramRunner::Look() { return begun_->Look(); }

std::vector<CommandEnd> ProgramRunner::TakeAnswered() {
  const auto batch = std::exchange(begun_, nullptr);
  return batch->TakeEnded();
}

void ProgramRunner::GoOn() {
  const auto batch = std::exchange(begun_, nullptr);
  batch->GoOn();
}

void ProgramRunner::Learn(uint64_t wall_us) {
  constexpr double kWeight = 1.0 / 32;
  const double took = std::max(static_cast<double>(wall_us) * 1e3, 200.0);
  if (mean_ == 0) mean_ = took;
  deviation_ += (std::abs(took - mean_) - deviation_) * kWeight;
  mean_ += (took - mean_) * kWeight;
  longest_ = std::max(took, longest_ * (1 - kWeight / 8));
}

void ProgramRunner::LearnPace(std::chrono::nanoseconds took, size_t tasks) {
  constexpr double kWeight = 1.0 / 8;
  const double each = static_cast<double>(took.count()) / static_cast<double>(tasks);
  pace_ += (each - pace_) * (pace_ == 0 ? 1 : kWeight);
}

std::chrono::nanoseconds ProgramRunner::Expected(size_t tasks) const {
  return std::chrono::nanoseconds(static_cast<int64_t>(pace_ * static_cast<double>(tasks)));
}

size_t ProgramRunner::BatchSize() {
  // Helpers that know no marks tell whose a print is by having no other task.
  if (prints_ && process_ != nullptr && process_->format() == SlotFormat::kMessagePack) return 1;
  if (mean_ == 0) return 1;
  const double expected = std::max(mean_ + 2 * deviation_ + longest_ / 64, pace_);
  const double budget = std::chrono::nanoseconds(kBatchTime).count();
  const auto fit = std::clamp<size_t>(static_cast<size_t>(budget / expected), 1, kBatchLargest);
  return grown_ = std::min(fit, 2 * grown_);
}

}  // namespace cq
