#include "worker/slots/command_task.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/files.h"
#include "base/spawn.h"
#include "base/wall_clock.h"
#include "cq/error.h"
#include "protocol/command.h"
#include "protocol/limits.h"
#include "worker/processes/process_tree.h"
#include "worker/processes/signal_names.h"
#include "worker/slots/json_values.h"
#include "worker/slots/output.h"
#include "worker/slots/task_limits.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// A task that ends sooner is spared what only matters for one that takes much memory: it costs as
/// much as a hundredth of a trivial task.
constexpr milliseconds kYoung{20};

uint64_t MicrosOf(const timeval& t) {
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000 + static_cast<uint64_t>(t.tv_usec);
}

// Reads what is there.
template <class F>
void ReadAvailable(int fd, const F& take) {
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n > 0) take(std::string_view(buffer.data(), static_cast<size_t>(n)));
    if (n >= 0 && static_cast<size_t>(n) < buffer.size()) return;
    if (n < 0 && errno != EINTR) return;
  }
}

}  // namespace

// The pipes of a slot, and how its tasks are started. The pipes are kept from task to task and
// their write ends stay open here: the end of a task is the end of its first process and never an
// end of file, so two wake-ups and a dozen system calls a task are saved.
class CommandRunner::Starter {
 public:
  Starter(std::string cwd, const MemoryCgroup* cgroup)
      : cwd_(std::move(cwd)),
        null_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
        out_(MakePipe()),
        err_(MakePipe()) {
    fcntl(out_.read.get(), F_SETFL, O_NONBLOCK);
    fcntl(err_.read.get(), F_SETFL, O_NONBLOCK);
    spawner_.Give(null_.get(), 0);
    spawner_.Give(out_.write.get(), 1);
    spawner_.Give(err_.write.get(), 2);
    std::error_code unknown;
    if (std::filesystem::current_path(unknown) != cwd_) spawner_.StartIn(cwd_);
    if (cgroup != nullptr) spawner_.JoinCgroup(cgroup->tasks_file());
  }

  const std::string& cwd() const { return cwd_; }
  int out() const { return out_.read.get(); }
  int err() const { return err_.read.get(); }
  Spawner& spawner() { return spawner_; }

 private:
  std::string cwd_;
  Fd null_;
  Pipe out_;
  Pipe err_;
  Spawner spawner_{Spawner::Group::kOwn};
};

class CommandRunner::Running {
 public:
  Running(const RunContext& run, const Task& task, const Slot& slot, Starter& starter,
          MemoryCgroup* cgroup)
      : run_(run),
        task_(task),
        slot_(slot),
        starter_(starter),
        limits_(run.text().memory_bytes, cgroup) {
    TaskResult& r = end_.result;
    r.task = task.task;
    r.attempt = task.attempt;
    r.slot = slot.number;
    r.started_us = static_cast<uint64_t>(UnixMicroseconds());
  }

  CommandEnd Run() {
    begin_ = steady_clock::now();
    if (Start()) {
      Watch();
      End();
    }
    end_.result.wall_us = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - begin_)
            .count());
    return std::move(end_);
  }

 private:
  void Fail(int64_t exit, std::string reason) {
    end_.result.outcome = Outcome::kError;
    end_.result.details.Edit().exit = exit;
    end_.result.details.Edit().error = std::move(reason);
  }

  bool Start() {
    // The statuses are those of a shell: 126 found but cannot be executed, 127 not found.
    if (!task_.details->problem.empty()) {
      Fail(126, task_.details->problem);
      return false;
    }
    for (const auto& [name, value] : task_.details->extras) {
      if (!name.starts_with('!')) continue;
      Fail(126, fmt::format("the task asks for '{}', which this worker does not know", name));
      return false;
    }
    auto rendered = RenderCommand(run_.text().command, task_.values, task_.task);
    if (auto* reason = std::get_if<std::string>(&rendered)) {
      Fail(126, std::move(*reason));
      return false;
    }
    const auto& arguments = std::get<std::vector<std::string>>(rendered);
    const std::string program = arguments.at(0);
    const std::string file = run_.ResolveProgram(program);
    if (file.empty()) {
      end_.result.unstartable = true;
      Fail(127, fmt::format("cannot run '{}': not found in PATH", program));
      return false;
    }
    std::vector<std::string> own = OwnEnvironment();
    std::vector<char*> environment = Environment(own);
    const auto before = steady_clock::now();
    const int error = starter_.spawner().StartPatiently(
        pid_, file, arguments, environment.data(), task_.attempt, kRoomPatience, slot_.kill_fd);
    end_.spawn =
        std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - before);
    if (IsWantOfRoom(error)) {
      if (TakeKill()) return false;
      end_.no_room =
          fmt::format("cannot run '{}': {}; {}", program, strerror(error), AdviceOnRoom());
      return false;
    }
    if (error != 0) {
      // Arguments that are too long are the task's own fault, wherever it runs.
      end_.result.unstartable = error != E2BIG;
      Fail(error == ENOENT ? 127 : 126,
           fmt::format("cannot run '{}': {}{}", program, strerror(error), Hint(error, file)));
      return false;
    }
    pidfd_ = OpenPidfd(pid_);
    PlanChecks();
    return true;
  }

  void PlanChecks() {
    young_until_ = begin_ + kYoung;
    live_at_ = begin_ + kLongRunning;
    limits_.Begin(begin_, run_.LimitOf(task_));
  }

  // Everything that this task has started and that lives.
  std::vector<pid_t> Processes() const {
    std::vector<pid_t> all = ProcessTree(pid_);
    for (const pid_t pid : slot_.adopted->Of(task_.attempt)) {
      for (const pid_t below : ProcessTree(pid)) all.push_back(below);
    }
    return all;
  }

  void SignalAll(int signal) const {
    const auto all = Processes();
    kill(-pid_, signal);
    for (const pid_t pid : all) {
      if (getpgid(pid) != pid_) kill(pid, signal);
    }
  }

  steady_clock::time_point NextCheck() const {
    return std::min({young_until_, live_at_, limits_.next()});
  }

  void Check(steady_clock::time_point now) {
    constexpr auto kNever = steady_clock::time_point::max();
    if (now >= young_until_) {
      young_until_ = kNever;
      BeFirstVictims(Processes());
    }
    if (now >= live_at_) {
      live_at_ = kNever;
      slot_.live->Begin({task_.task, task_.attempt}, stdout_.Text(), stderr_.Text());
      live_ = true;
    }
    const auto act = limits_.Look(now, pid_, [this] { return Processes(); });
    if (act != TaskLimits::Act::kNothing) {
      SignalAll(act == TaskLimits::Act::kTerm ? SIGTERM : SIGKILL);
    }
  }

  void Take(bool from_err, std::string_view bytes) {
    (from_err ? stderr_ : stdout_).Append(bytes);
    if (!from_err && run_.text().parse == Parse::kJson) last_line_.Append(bytes);
    if (live_) slot_.live->Append(from_err, bytes);
  }
  void TakeOutput() {
    ReadAvailable(starter_.out(), [this](std::string_view bytes) { Take(false, bytes); });
    ReadAvailable(starter_.err(), [this](std::string_view bytes) { Take(true, bytes); });
  }

  int WaitMs(steady_clock::time_point now) const {
    const auto wait = std::chrono::ceil<milliseconds>(NextCheck() - now).count();
    const auto longest = pidfd_ ? int64_t{3'600'000} : int64_t{10};
    return static_cast<int>(std::clamp<int64_t>(wait, 0, longest));
  }

  static std::string Hint(int error, const std::string& file) {
    if (error == E2BIG) return "; arguments and environment together are too long for this system";
    if (error == ENOENT && access(file.c_str(), F_OK) == 0) {
      return "; the file exists, so its interpreter or the working directory does not";
    }
    return {};
  }

  std::vector<std::string> OwnEnvironment() const {
    return {fmt::format("CQ_TASK={}", task_.task),
            fmt::format("CQ_ATTEMPT={}", task_.attempt_number),
            fmt::format("CQ_ATTEMPT_ID={}", task_.attempt), fmt::format("CQ_SEED={}", task_.seed),
            "CQ_GROUP=" + task_.group};
  }

  std::vector<char*> Environment(std::vector<std::string>& own) const {
    const auto& common = run_.environment();
    std::vector<char*> pointers;
    pointers.reserve(common.size() + own.size() + 1);
    for (std::string& entry : own) pointers.push_back(entry.data());
    for (const std::string& entry : common) {
      // Ours come first, and what a worker inherited under these names (a run inside a task) does
      // not count.
      const bool ours = entry.starts_with("CQ_TASK=") || entry.starts_with("CQ_ATTEMPT=") ||
                        entry.starts_with("CQ_ATTEMPT_ID=") || entry.starts_with("CQ_SEED=") ||
                        entry.starts_with("CQ_GROUP=");
      if (!ours) pointers.push_back(const_cast<char*>(entry.c_str()));
    }
    pointers.push_back(nullptr);
    return pointers;
  }

  // Whether there was a word to end this task.
  bool TakeKill() {
    uint64_t ignored = 0;
    if (read(slot_.kill_fd, &ignored, sizeof ignored) <= 0) return false;
    end_.killed = true;
    return true;
  }

  // Until the first process has ended, whoever else still holds the pipes.
  void Watch() {
    std::array<pollfd, 4> fds{{{starter_.out(), POLLIN, 0},
                               {starter_.err(), POLLIN, 0},
                               {pidfd_.get(), POLLIN, 0},
                               {slot_.kill_fd, POLLIN, 0}}};
    auto now = begin_;
    do {
      const int ready = poll(fds.data(), fds.size(), WaitMs(now));
      if (ready < 0) continue;
      if (fds[0].revents != 0 || fds[1].revents != 0) TakeOutput();
      if (fds[3].revents != 0 && TakeKill()) kill(-pid_, SIGKILL);
      // A task that prints without end wakes us all the time; its limits hold all the same.
      now = steady_clock::now();
      if (now >= NextCheck()) Check(now);
    } while (fds[2].revents == 0 && !(!pidfd_ && HasEnded()));
  }

  // Where there is no descriptor for the process.
  bool HasEnded() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == pid_;
  }

  void End() {
    // The group goes before its leader is reaped: a freed id is soon another task's.
    kill(-pid_, SIGKILL);
    end_.left_behind = slot_.adopted->EndThoseOf(task_.attempt, slot_.others_run, slot_.alone);
    int status = 0;
    rusage usage{};
    pid_t waited = 0;
    while ((waited = wait4(pid_, &status, 0, &usage)) < 0 && errno == EINTR) {
    }
    // What is left in the pipes is this task's, and would be taken for the next one's.
    TakeOutput();
    if (live_) slot_.live->End();
    ResultDetails& details = end_.result.details.Edit();
    details.user_us = MicrosOf(usage.ru_utime);
    details.system_us = MicrosOf(usage.ru_stime);
    details.max_rss_kb = static_cast<uint64_t>(usage.ru_maxrss);
    details.out = stdout_.Text();
    details.err = stderr_.Text();
    if (waited == pid_) {
      Judge(status);
    } else {
      Fail(126, "how it ended is not known: its process was waited for by somebody else");
    }
  }

  void Judge(int status) {
    const std::string last = ReasonIn(stderr_.Text());
    limits_.Ended(status, end_.killed, *slot_.oom);
    if (limits_.verdict() != Outcome::kOk && !end_.killed) {
      // However it then ended.
      Fail(WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), limits_.Reason());
      end_.result.outcome = limits_.verdict();
      return;
    }
    if (WIFSIGNALED(status)) {
      const int signal = WTERMSIG(status);
      Fail(-signal, last.empty() ? fmt::format("ended by {}", SignalName(signal))
                                 : fmt::format("ended by {}: {}", SignalName(signal), last));
      return;
    }
    const int code = WEXITSTATUS(status);
    if (code != 0) {
      // As a shell says that it could not start something.
      end_.result.unstartable = code == 126 || code == 127;
      Fail(code, last.empty() ? fmt::format("exit status {}", code) : last);
      return;
    }
    if (run_.text().parse != Parse::kJson) return;
    if (last_line_.cut()) {
      Fail(0, fmt::format("--parse json: the last line of standard output has more than {} bytes",
                          kResultBytesMax));
      return;
    }
    auto values = ParseLastLine(last_line_.line());
    if (auto* reason = std::get_if<std::string>(&values)) {
      Fail(0, std::move(*reason));
    } else {
      end_.result.values = std::move(std::get<NamedValues>(values));
    }
  }

  const RunContext& run_;
  const Task& task_;
  const Slot& slot_;
  Starter& starter_;
  steady_clock::time_point begin_{};
  // When something is to be looked at; never, unless set.
  steady_clock::time_point young_until_ = steady_clock::time_point::max();
  steady_clock::time_point live_at_ = steady_clock::time_point::max();
  TaskLimits limits_;
  bool live_ = false;
  CommandEnd end_;
  KeptOutput stdout_;
  /// With --parse json.
  LastLineKept last_line_;
  KeptOutput stderr_;
  pid_t pid_ = 0;
  Fd pidfd_;
};

CommandRunner::CommandRunner(Slot slot) : slot_(std::move(slot)) {}
CommandRunner::~CommandRunner() = default;

CommandEnd CommandRunner::Run(const RunContext& run, const Task& task) {
  try {
    if (run.text().memory_bytes != cgroup_bytes_) {
      starter_.reset();
      cgroup_.reset();
      cgroup_bytes_ = run.text().memory_bytes;
      if (cgroup_bytes_ != 0) cgroup_ = MemoryCgroup::Make(slot_.number, cgroup_bytes_);
    }
    if (!starter_ || starter_->cwd() != run.text().cwd) {
      starter_ = std::make_unique<Starter>(run.text().cwd, cgroup_.get());
    }
  } catch (const Error& error) {
    CommandEnd end;
    end.result.task = task.task;
    end.result.attempt = task.attempt;
    end.no_room = error.what();
    return end;
  }
  CommandEnd end = Running(run, task, slot_, *starter_, cgroup_.get()).Run();
  // A process that got away holds the pipes, too: what it prints is not the next task's.
  if (end.left_behind) starter_.reset();
  return end;
}

}  // namespace cq
