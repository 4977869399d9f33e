#include "worker/program_runner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <thread>

#include "cq/error.h"
#include "protocol/bundle.h"
#include "protocol/files.h"
#include "protocol/json_text.h"
#include "protocol/limits.h"
#include "protocol/own_program.h"
#include "worker/json_values.h"
#include "worker/printed_text.h"
#include "worker/process_tree.h"
#include "worker/signal_names.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kGrace{5'000};
constexpr milliseconds kMemoryEvery{100};
/// What a batch should take: long against a round trip, short against what a user notices.
constexpr milliseconds kBatchTime{20};
constexpr size_t kBatchLargest = 1024;
/// While a program is busy with its batch, its answers are looked at no more often than after half
/// of the time that is left, or after the longer of these; for less than the shorter it is not
/// worth it.
constexpr std::chrono::microseconds kRest{1000};
constexpr std::chrono::microseconds kLeastRest{200};
/// The descriptors at which a program finds its pipes.
constexpr int kProgramIn = 3;
constexpr int kProgramOut = 4;

std::string RandomToken() {
  std::array<unsigned char, 12> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw Error("the system gives no random numbers");
  }
  std::string token;
  for (const unsigned char byte : bytes) token += fmt::format("{:02x}", byte);
  return token;
}

// Where the helpers for other languages are: beside an installed or a built program.
std::string HelperDirectory() {
  const std::filesystem::path program = OwnExecutable();
  return (program.parent_path().parent_path() / "share" / "cq").string();
}

std::vector<std::string> ProgramWords(const Program& program) {
  if (program.function.empty()) return program.words;
  std::vector<std::string> words = OwnCommand();
  words.insert(words.end(), {"slot", program.function});
  return words;
}

std::vector<std::string> ProgramEnvironment(const RunContext& run, const std::string& token) {
  auto environment = run.environment();
  const std::string helpers = HelperDirectory();
  bool has_path = false;
  for (std::string& entry : environment) {
    if (!entry.starts_with("PYTHONPATH=")) continue;
    entry = "PYTHONPATH=" + helpers + ":" + entry.substr(11);
    has_path = true;
  }
  if (!has_path) environment.push_back("PYTHONPATH=" + helpers);
  environment.push_back("CQ_R=" + helpers + "/cq.R");
  environment.push_back(fmt::format("CQ_SLOT_IN={}", kProgramIn));
  environment.push_back(fmt::format("CQ_SLOT_OUT={}", kProgramOut));
  environment.push_back("CQ_SLOT_MARK=" + token);
  return environment;
}

}  // namespace

/// The program of a slot, and the pipes to it.
class ProgramRunner::Process {
 public:
  Process(const RunContext& run, const CommandRunner::Slot& slot)
      : slot_(slot), token_(RandomToken()), out_text(token_), err_text(token_) {
    in_ = MakePipe();
    out_ = MakePipe();
    stdout_ = MakePipe();
    stderr_ = MakePipe();
    for (const Fd* fd : {&in_.write, &out_.read, &stdout_.read, &stderr_.read}) {
      fcntl(fd->get(), F_SETFL, O_NONBLOCK);
    }
    if (run.text().memory_bytes != 0) {
      cgroup_ = MemoryCgroup::Make(slot_.number, run.text().memory_bytes);
    }
    Spawn(run);
    in_.read.Close();
    out_.write.Close();
    stdout_.write.Close();
    stderr_.write.Close();
    pidfd_ = OpenPidfd(pid_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { End(SIGKILL); }

  // What was kept for a program that is not there: 126 or 127, and why.
  int start_error() const { return start_error_; }
  const std::string& name() const { return name_; }
  pid_t pid() const { return pid_; }
  SlotFormat format() const { return reader_.format(); }
  MemoryCgroup* cgroup() { return cgroup_.get(); }
  uint64_t NextId() { return ++id_; }

  void Write(std::string bytes) { unsent_ += bytes; }

  // Waits until something happens, at most for `wait`. False once the program has ended and all
  // that it wrote was read.
  bool Wait(milliseconds wait, bool& killed) {
    Send();
    std::array<pollfd, 6> fds{{{out_.read.get(), POLLIN, 0},
                               {stdout_.read.get(), POLLIN, 0},
                               {stderr_.read.get(), POLLIN, 0},
                               {pidfd_.get(), POLLIN, 0},
                               {slot_.kill_fd, POLLIN, 0},
                               {unsent_.empty() ? -1 : in_.write.get(), POLLOUT, 0}}};
    poll(fds.data(), fds.size(), static_cast<int>(wait.count()));
    if (fds[4].revents != 0) {
      uint64_t ignored = 0;
      if (read(slot_.kill_fd, &ignored, sizeof ignored) > 0) killed = true;
    }
    const bool ended = fds[3].revents != 0;
    Read();
    return !ended;
  }

  std::optional<FromProgram> Next() { return reader_.Next(); }

  // Everything that it has written until now; answers first, so that what was printed before them
  // is there, too.
  void Read() {
    ReadAll(out_.read.get(), [this](std::string_view bytes) { reader_.Append(bytes); });
    ReadAll(stdout_.read.get(), [this](std::string_view bytes) { out_text.Append(bytes); });
    ReadAll(stderr_.read.get(), [this](std::string_view bytes) { err_text.Append(bytes); });
  }

  void Signal(int number) const {
    if (pid_ > 0) kill(-pid_, number);
  }

  // Ends it with all that it started, and reaps it. The wait status.
  int End(int number) {
    if (pid_ <= 0) return status_;
    std::vector<pid_t> family = ProcessTree(pid_);
    Signal(number);
    for (const pid_t process : family) {
      if (process != pid_) kill(process, SIGKILL);
    }
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    Read();
    slot_.adopted->EndThoseOf({0, slot_.number + 1}, slot_.others_run, slot_.alone);
    pid_ = -1;
    return status_;
  }

 private:
  template <class F>
  static void ReadAll(int fd, const F& take) {
    std::array<char, 65536> buffer;
    for (;;) {
      const ssize_t n = read(fd, buffer.data(), buffer.size());
      if (n > 0) take(std::string_view(buffer.data(), static_cast<size_t>(n)));
      if (n == 0 || (n < 0 && errno != EINTR)) return;
      if (n > 0 && static_cast<size_t>(n) < buffer.size()) return;
    }
  }

  void Send() {
    size_t sent = 0;
    while (sent < unsent_.size()) {
      const ssize_t n = write(in_.write.get(), unsent_.data() + sent, unsent_.size() - sent);
      if (n > 0) sent += static_cast<size_t>(n);
      if (n < 0 && errno == EPIPE) sent = unsent_.size();
      if (n < 0 && errno != EINTR) break;
    }
    unsent_.erase(0, sent);
  }

  void Spawn(const RunContext& run) {
    auto words = ProgramWords(run.text().program);
    name_ = words.at(0);
    std::string file = run.ResolveProgram(name_);
    if (file.empty()) {
      start_error_ = ENOENT;
      return;
    }
    if (cgroup_) {
      words = cgroup_->Wrap(file, words);
      file = words[0];
    }
    auto environment = ProgramEnvironment(run, token_);
    environment.push_back(fmt::format("CQ_TASK=0"));
    environment.push_back(fmt::format("CQ_ATTEMPT_ID={}", slot_.number + 1));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, stdout_.write.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, stderr_.write.get(), 2);
    // Through numbers that none of our own can have, so that neither hides the other.
    const Fd in(fcntl(in_.read.get(), F_DUPFD_CLOEXEC, 16));
    const Fd out(fcntl(out_.write.get(), F_DUPFD_CLOEXEC, 16));
    posix_spawn_file_actions_adddup2(&actions, in.get(), kProgramIn);
    posix_spawn_file_actions_adddup2(&actions, out.get(), kProgramOut);
    posix_spawn_file_actions_addchdir_np(&actions, run.text().cwd.c_str());
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    start_error_ =
        posix_spawn(&pid_, file.c_str(), &actions, &attributes, ArgumentPointers(words).data(),
                    ArgumentPointers(environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (start_error_ != 0) pid_ = -1;
  }

  const CommandRunner::Slot& slot_;
  const std::string token_;
  Pipe in_, out_, stdout_, stderr_;
  std::unique_ptr<MemoryCgroup> cgroup_;
  ProgramReader reader_;
  std::string unsent_;
  std::string name_;
  int start_error_ = 0;
  int status_ = 0;
  pid_t pid_ = -1;
  Fd pidfd_;
  uint64_t id_ = 0;

 public:
  PrintedText out_text;
  PrintedText err_text;
};

/// The tasks of one call of Run, and how far they are.
class ProgramRunner::Batch {
 public:
  Batch(ProgramRunner& runner, const RunContext& run, std::vector<Task> tasks,
        const Listener& listener)
      : runner_(runner), run_(run), tasks_(std::move(tasks)), listener_(listener) {}

  void Run() {
    for (; at_ < tasks_.size(); Report()) {
      if (!Ready()) continue;
      if (Refuse()) continue;
      const size_t sent = one_at_a_time_ ? at_ + 1 : Sendable();
      SendUpTo(sent);
      if (Serve(sent)) continue;
      // It ended. Whoever was alone with it is guilty.
      OnEnded(sent - at_ == 1);
      one_at_a_time_ = true;
    }
  }

 private:
  Process& process() { return *runner_.process_; }

  // Makes sure that a program is ready; ends the next task where that is not possible.
  bool Ready() {
    if (runner_.process_) return true;
    const std::string problem = runner_.Prepare(run_);
    if (problem.empty()) return true;
    CommandEnd end = NewEnd();
    end.result.outcome = Outcome::kError;
    end.result.unstartable = true;
    end.result.details.Edit().exit = 127;
    end.result.details.Edit().error = problem;
    Finish(std::move(end));
    return false;
  }

  // Why the program cannot be told a task's row; empty if it can.
  std::string Unsayable(const Task& task) {
    if (!task.details->problem.empty()) return task.details->problem;
    // JSON has no place for bytes that are not UTF-8.
    if (process().format() != SlotFormat::kJson) return {};
    for (size_t i = 0; i < task.values.size(); ++i) {
      if (IsUtf8(task.values[i])) continue;
      return fmt::format("column '{}' holds bytes that are not UTF-8, which JSON cannot carry",
                         run_.text().program.columns[i]);
    }
    if (!IsUtf8(task.group))
      return "its group holds bytes that are not UTF-8, which JSON cannot carry";
    return {};
  }

  // Ends the next task where its program cannot be told its row.
  bool Refuse() {
    std::string reason = Unsayable(tasks_[at_]);
    if (reason.empty()) return false;
    CommandEnd end = NewEnd();
    end.result.outcome = Outcome::kError;
    end.result.details.Edit().exit = 1;
    end.result.details.Edit().error = std::move(reason);
    Finish(std::move(end));
    return true;
  }

  static size_t BytesOf(const Task& task) {
    size_t bytes = 0;
    for (const std::string& value : task.values) bytes += value.size();
    return bytes;
  }

  // Up to the next one that cannot be sent, or is too large for the same frame.
  size_t Sendable() {
    size_t end = at_ + 1;
    size_t bytes = BytesOf(tasks_[at_]);
    while (end < tasks_.size() && Unsayable(tasks_[end]).empty()) {
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
    process().Write(
        EncodeTasks(process().format(), process().NextId(), run_.text().program, tasks));
    Begin();
  }

  void Begin() {
    task_begin_ = steady_clock::now();
    started_us_ = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                            std::chrono::system_clock::now().time_since_epoch())
                                            .count());
    listener_.begins({tasks_[at_].task, tasks_[at_].attempt});
  }

  // Takes answers until all up to `end` have come. False if the program is gone, or has to go.
  bool Serve(size_t end) {
    bool killed = false;
    memory_at_ = run_.text().memory_bytes != 0 ? steady_clock::now() + kMemoryEvery
                                               : steady_clock::time_point::max();
    while (at_ < end) {
      const bool lives = process().Wait(Nap(), killed);
      const size_t before = at_;
      try {
        while (auto message = process().Next()) OnMessage(*message, end);
      } catch (const std::exception& error) {
        fault_ = fmt::format("the program broke the slot protocol: {}", error.what());
      }
      if (at_ > before) runner_.LearnPace(steady_clock::now() - task_begin_, at_ - before);
      if (at_ == end && fault_.empty()) break;
      if (at_ > before && at_ < end) {
        Report();
        Begin();
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
                       tasks_.begin() + static_cast<ptrdiff_t>(end), [this](const Task& task) {
                         return listener_.unwanted({task.task, task.attempt});
                       });
  }

  milliseconds Nap() const {
    auto until = memory_at_;
    const auto limit = run_.LimitOf(tasks_[at_]);
    if (limit.count() > 0) {
      until = std::min(until, term_at_ ? *term_at_ + kGrace : task_begin_ + limit);
    }
    if (until == steady_clock::time_point::max()) return milliseconds(60'000);
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    return std::clamp(left, milliseconds(0), milliseconds(60'000));
  }

  bool CheckLimits() {
    const auto now = steady_clock::now();
    const auto limit = run_.LimitOf(tasks_[at_]);
    if (limit.count() > 0 && !term_at_ && now >= task_begin_ + limit) {
      term_at_ = now;
      verdict_ = Outcome::kTimeout;
      process().Signal(SIGTERM);
    }
    if (term_at_ && now >= *term_at_ + kGrace) return false;
    if (now < memory_at_) return true;
    memory_at_ = now + kMemoryEvery;
    if (ResidentBytes(ProcessTree(process().pid())) <= run_.text().memory_bytes) return true;
    verdict_ = Outcome::kMemory;
    return false;
  }

  void OnMessage(FromProgram& message, size_t end) {
    if (auto* answer = std::get_if<TaskResult>(&message)) {
      // In order: what it works on is known then.
      if (at_ >= end || answer->task != tasks_[at_].task) {
        throw Error(
            fmt::format("an answer for task {}, which it was not to work on", answer->task));
      }
      OnAnswer(*answer, at_ + 1 == end);
    } else if (const auto* other = std::get_if<SlotOther>(&message)) {
      process().Write(EncodeUnsupported(process().format(), *other));
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

  void OnAnswer(TaskResult& answer, bool last) {
    runner_.Learn(answer.wall_us);
    // All that it printed before this answer has been read with it (Process::Read).
    std::string out = process().out_text.Take(answer.task);
    std::string err = process().err_text.Take(answer.task);
    if (last) {
      out += OfBatch(process().out_text.TakeRest());
      err += OfBatch(process().err_text.TakeRest());
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
    if (!ended_.empty()) listener_.ended(std::exchange(ended_, {}));
  }

  // The program is gone, or is sent away. `alone`: only one task was with it; otherwise answers may
  // have been on their way, and nobody knows whose fault it was.
  void OnEnded(bool alone) {
    const int status = process().End(SIGKILL);
    const bool memory = verdict_ == Outcome::kOk && !killed_ &&
                        ((process().cgroup() != nullptr && process().cgroup()->HasKilled()) ||
                         (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && fault_.empty() &&
                          runner_.slot_.oom->HasGrown()));
    if (memory) verdict_ = Outcome::kMemory;
    const TaskId task = tasks_[at_].task;
    const std::string last = process().err_text.LastLine();
    const std::string out = process().out_text.Take(task) + process().out_text.TakeRest();
    const std::string err = process().err_text.Take(task) + process().err_text.TakeRest();
    runner_.process_.reset();
    if (std::exchange(killed_, false)) {
      EndUnwanted();
    } else if (alone) {
      CommandEnd end = NewEnd();
      TaskResult& r = end.result;
      r.wall_us = static_cast<uint64_t>(
          std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - task_begin_)
              .count());
      r.outcome = verdict_ != Outcome::kOk ? verdict_ : Outcome::kCrashed;
      // Its master takes it apart, and finds out whose fault it was.
      if (run_.text().program.calls && tasks_[at_].values.size() == kValuesOfBundle) {
        r.outcome = Outcome::kError;
      }
      ResultDetails& details = r.details.Edit();
      details.out = out;
      details.err = err;
      details.exit = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
      details.error = Reason(status, last);
      Finish(std::move(end));
    }
    verdict_ = Outcome::kOk;
    term_at_.reset();
    fault_.clear();
  }

  std::string Reason(int status, const std::string& last) const {
    if (verdict_ == Outcome::kTimeout) {
      return fmt::format("ended after its time limit of {} s (--task-timeout)",
                         static_cast<double>(run_.LimitOf(tasks_[at_]).count()) / 1000);
    }
    if (verdict_ == Outcome::kMemory) {
      return run_.text().memory_bytes == 0
                 ? "ended by the system for want of memory"
                 : fmt::format("ended at its memory limit of {:.0f} MiB (--task-memory)",
                               static_cast<double>(run_.text().memory_bytes) / (1 << 20));
    }
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
      if (!listener_.unwanted({task.task, task.attempt})) {
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
  const Listener& listener_;
  /// The task that the program works on, and the first one that was sent with it.
  size_t at_ = 0;
  size_t first_ = 0;
  bool one_at_a_time_ = false;
  bool killed_ = false;
  std::string fault_;
  Outcome verdict_ = Outcome::kOk;
  /// When the next one began: for its limits, and since 1970.
  steady_clock::time_point task_begin_ = steady_clock::now();
  uint64_t started_us_ = 0;
  /// What ended and was not reported yet.
  std::vector<CommandEnd> ended_;
  steady_clock::time_point memory_at_{};
  std::optional<steady_clock::time_point> term_at_;
};

ProgramRunner::ProgramRunner(CommandRunner::Slot slot) : slot_(std::move(slot)) {}
ProgramRunner::~ProgramRunner() = default;

std::string ProgramRunner::Prepare(const RunContext& run) {
  try {
    process_ = std::make_unique<Process>(run, slot_);
    const int error = process_->start_error();
    if (error != 0) {
      const std::string name = process_->name();
      process_.reset();
      return fmt::format("the program '{}' cannot be started: {}", name,
                         error == ENOENT ? "there is none" : strerror(error));
    }
    bool greeted = false;
    bool killed = false;
    for (;;) {
      const bool lives = process_->Wait(milliseconds(60'000), killed);
      while (const auto message = process_->Next()) {
        if (std::holds_alternative<SlotReady>(*message)) {
          BeFirstVictims({process_->pid()});
          return {};
        }
        if (const auto* refuse = std::get_if<SlotRefuse>(&*message)) {
          const std::string text = refuse->message;
          process_.reset();
          return text;
        }
        if (!greeted && std::holds_alternative<SlotHello>(*message)) {
          greeted = true;
          process_->Write(EncodeStart(process_->format(), process_->NextId(), run.text().program));
        }
      }
      if (lives && !killed) continue;
      const int status = process_->End(SIGKILL);
      const std::string last = process_->err_text.LastLine();
      const std::string name = process_->name();
      process_.reset();
      if (killed) return "stopped while its program was starting";
      return fmt::format("the program '{}' ended before it was ready{}{}", name,
                         WIFSIGNALED(status) ? fmt::format(", by {}", SignalName(WTERMSIG(status)))
                                             : fmt::format(", with status {}", WEXITSTATUS(status)),
                         last.empty() ? "" : ": " + last);
    }
  } catch (const std::exception& error) {
    process_.reset();
    return fmt::format("the program broke the slot protocol: {}", error.what());
  }
}

void ProgramRunner::Run(const RunContext& run, std::vector<Task> batch, const Listener& listener) {
  Batch(*this, run, std::move(batch), listener).Run();
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
  if (mean_ == 0) return 1;
  const double expected = std::max(mean_ + 2 * deviation_ + longest_ / 64, pace_);
  const double budget = std::chrono::nanoseconds(kBatchTime).count();
  const auto fit = std::clamp<size_t>(static_cast<size_t>(budget / expected), 1, kBatchLargest);
  return grown_ = std::min(fit, 2 * grown_);
}

}  // namespace cq
