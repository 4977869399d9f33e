#include "worker/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "cq/error.h"
#include "cq/version.h"
#include "protocol/codec.h"
#include "protocol/connection_file.h"
#include "protocol/spool.h"
#include "worker/core/worker_core.h"
#include "worker/link.h"
#include "worker/log.h"
#include "worker/processes/descendants.h"
#include "worker/slots/slots.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// How long the loop waits at most while short tasks come and go (Slots::OwnerSleeps).
constexpr milliseconds kShortNap{10};
/// How often new output of long tasks is sent.
constexpr std::chrono::seconds kOutputEvery{5};
constexpr milliseconds kCheckLimit = std::chrono::minutes(5);

uint64_t Tasks(const Results& results) {
  uint64_t tasks = 0;
  for (const TaskResult& result : results.results) tasks += result.count;
  return tasks;
}

WorkerId RandomId() {
  WorkerId id{};
  if (getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) {
    throw Error("the system gives no random numbers");
  }
  return id;
}

std::string AllocationFromEnvironment() {
  const auto get = [](const char* name) {
    const char* value = getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string array = get("SLURM_ARRAY_JOB_ID");
  if (!array.empty()) return fmt::format("slurm {}_{}", array, get("SLURM_ARRAY_TASK_ID"));
  if (const std::string job = get("SLURM_JOB_ID"); !job.empty()) return "slurm " + job;
  return fmt::format("{} {}", HostName(), getpid());
}

class WorkerLoop {
 public:
  explicit WorkerLoop(const WorkerOptions& options)
      : options_(options),
        file_(ReadConnectionFile(options.connection_file)),
        core_(CoreOptions(options, file_.run)),
        slots_(options.slots, [this] { return Now(); }) {}

  int Run() {
    const sigset_t signals = Signals();
    const Fd signal_fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    link_.Connect(file_, options_.local);
    core_.OnConnected(Now());
    for (;;) {
      Act();
      if (exit_status_ >= 0) return exit_status_;
      const auto readable = Sleep(signal_fd.get());
      if (readable[1]) OnSignal(signal_fd.get());
      if (readable[2]) GuardianGone();
      if (std::find(readable.begin() + 3, readable.end(), true) != readable.end()) {
        slots_.LookAtPrograms();
      }
      ReadAll();
      if (link_.Broken()) core_.OnDisconnected();
      Collect();
      core_.OnTick(Now());
    }
  }

  static sigset_t Signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGXCPU}) sigaddset(&set, signal);
    return set;
  }

 private:
  static WorkerCoreOptions CoreOptions(const WorkerOptions& options, RunId run) {
    WorkerCoreOptions core;
    core.version = kVersion;
    core.path = OwnExecutable();
    core.run = run;
    core.worker = RandomId();
    // The scheduler's own name for this machine, if it has one: the one that it can be told to
    // avoid.
    const char* node = getenv("SLURMD_NODENAME");
    core.host = node != nullptr ? node : HostName();
    core.pid = static_cast<uint64_t>(getpid());
    core.allocation = options.allocation.empty() ? AllocationFromEnvironment() : options.allocation;
    core.slots = options.slots;
    core.local = options.local;
    return core;
  }

  nanoseconds Now() const { return std::chrono::steady_clock::now() - origin_; }

  std::vector<bool> Sleep(int signal_fd) {
    auto wait = std::chrono::ceil<milliseconds>(core_.next_due() - Now());
    // Not more often than heartbeats come, unless something runs that may print.
    if (!last_running_.empty()) {
      wait = std::min(wait, std::chrono::ceil<milliseconds>(next_output_ - Now()));
    }
    wait = std::clamp(wait, milliseconds(0), milliseconds(60'000));
    // Something began or ended a moment ago: the next change is likely near, and is collected then.
    const bool lively = std::exchange(changed_, false);
    slots_.OwnerSleeps(!lively);
    if (lively) wait = std::min(wait, kShortNap);
    std::vector<int> fds{slots_.wake_fd(), signal_fd, options_.life_fd};
    const auto watched = slots_.watched_fds();
    fds.insert(fds.end(), watched.begin(), watched.end());
    return link_.Wait(fds, wait);
  }

  void OnSignal(int signal_fd) {
    signalfd_siginfo info{};
    while (read(signal_fd, &info, sizeof info) == sizeof info) {
      const auto* name = sigabbrev_np(static_cast<int>(info.ssi_signo));
      LogInfo(fmt::format("SIG{} received: finishing what runs", name));
      core_.OnToldToGo(Now(), fmt::format("SIG{}", name));
    }
  }

  [[noreturn]] void GuardianGone() {
    // A slot whose task has just been killed must not start the next one behind our back.
    slots_.Shut();
    const nanoseconds limit = Now() + std::chrono::seconds(10);
    while (!slots_.Idle() && Now() < limit) KillAllDescendants(10);
    for (const pid_t pid : KillAllDescendants(10'000)) {
      LogError(fmt::format("process {} could not be ended", pid));
    }
    _exit(7);
  }

  void ReadAll() {
    while (auto incoming = link_.Receive()) {
      auto decoded = DecodeToWorker(incoming->frame);
      if (const auto* error = std::get_if<DecodeError>(&decoded)) {
        LogWarning(fmt::format("a message of the master was dropped: {}", error->reason));
        continue;
      }
      auto& [envelope, message] = std::get<Decoded<ToWorker>>(decoded);
      if (std::holds_alternative<Who>(message)) link_.Offered(incoming->socket, envelope.session);
      const bool welcome = std::holds_alternative<Welcome>(message);
      const bool before = core_.welcomed();
      core_.OnMessage(Now(), envelope, std::move(message));
      if (welcome && !before && core_.welcomed()) link_.Welcomed(incoming->socket);
      Act();
      if (exit_status_ >= 0) return;
    }
  }

  void Collect() {
    slots_.ClearWake();
    // What runs is asked first: what ended since is then known to have been started.
    auto running = slots_.Running();
    changed_ = running != last_running_;
    core_.OnRunning(running);
    last_running_ = std::move(running);
    if (Now() >= next_output_) {
      next_output_ = Now() + kOutputEvery;
      core_.OnOutput(slots_.TakeOutput());
    }
    core_.OnLedger(slots_.ledger());
    core_.OnWaits(slots_.WaitsFor());
    const nanoseconds now = Now();
    for (CommandEnd& end : slots_.TakeEnded()) {
      changed_ = true;
      if (end.result.task == 0) {
        OnChecked(end.result);
        continue;
      }
      if (end.no_room.empty()) {
        core_.OnFinished(now, std::move(end.result), end.killed);
      } else {
        LogWarning(end.no_room);
        core_.OnNoRoom(now, {end.result.task, end.result.attempt}, end.no_room);
      }
    }
  }

  void Act() {
    for (auto actions = core_.TakeActions(); !actions.empty(); actions = core_.TakeActions()) {
      for (WorkerAction& action : actions) {
        std::visit([this](auto& a) { Do(a); }, action);
      }
    }
  }

  void Do(SendUp& send) { link_.Send(send.envelope, Encode(send.envelope, send.message)); }

  void Do(Reconnect&) {
    try {
      const ConnectionFile file = ReadConnectionFile(options_.connection_file);
      if (file.run == file_.run) {
        file_ = file;
      } else {
        LogWarning(fmt::format("'{}' is of another run now", options_.connection_file));
      }
    } catch (const Error& error) {
      LogWarning(error.what());
    }
    LogWarning("the master is out of reach; connecting anew");
    // By the way that is always there.
    link_.Connect(file_, false);
    core_.OnConnected(Now());
  }

  void Do(Prepare& prepare) {
    prepared_ = std::make_shared<RunContext>(prepare.text);
    const std::string problem = prepared_->Problem();
    if (!problem.empty()) {
      Prepared(problem);
    } else if (prepare.text.check.empty()) {
      CheckProgram();
    } else {
      RunText check = std::move(prepare.text);
      check.command = {{"/bin/sh"}, {"-c"}, {check.check}};
      check.parse = Parse::kNothing;
      check.timeout_ms = kCheckLimit.count();
      check.program = {};
      checking_ = Checking::kCommand;
      slots_.Check(std::make_shared<RunContext>(std::move(check)));
    }
  }

  // A program that is started once must be able to run tasks of this run.
  void CheckProgram() {
    if (prepared_->text().program.empty()) {
      Prepared("");
    } else {
      checking_ = Checking::kProgram;
      slots_.Check(prepared_);
    }
  }

  void OnChecked(const TaskResult& result) {
    const bool command = checking_ == Checking::kCommand;
    if (result.outcome != Outcome::kOk) {
      Prepared(command ? fmt::format("--worker-check failed on {}: {}", HostName(),
                                     result.details->error)
                       : result.details->error);
    } else if (command) {
      CheckProgram();
    } else {
      Prepared("");
    }
  }

  void Prepared(const std::string& problem) {
    if (!problem.empty()) LogError(problem);
    slots_.SetRun(prepared_);
    core_.OnPrepared(problem);
  }

  void Do(Enqueue& enqueue) {
    slots_.Push(std::move(enqueue.tasks));
    changed_ = true;
  }
  void Do(TakeBack& take) { core_.OnTakenBack(slots_.TakeBack(take.attempts), take.reason); }
  void Do(cq::Kill& k) { slots_.Kill(k.attempts); }

  void Do(StartUntil& start) { slots_.StartUntil(start.until); }

  void Do(Spool& spool) {
    try {
      const std::string path =
          WriteSpoolFile(prepared_->text().run_dir + "/spool", core_.worker(), spool.results);
      LogWarning(fmt::format("results that no master took are in '{}'", path));
    } catch (const Error& error) {
      LogError(fmt::format("{} results are lost: {}", Tasks(spool.results), error.what()));
    }
  }

  void Do(Exit& exit) {
    if (exit.status != 0) LogError(exit.reason);
    slots_.KillAll();
    exit_status_ = exit.status;
  }

  const WorkerOptions& options_;
  const std::chrono::steady_clock::time_point origin_ = std::chrono::steady_clock::now();
  ConnectionFile file_;
  WorkerCore core_;
  Link link_;
  Slots slots_;
  std::vector<RunningTask> last_running_;
  bool changed_ = false;
  std::shared_ptr<const RunContext> prepared_;
  enum class Checking { kCommand, kProgram };
  Checking checking_ = Checking::kCommand;
  nanoseconds next_output_ = kOutputEvery;
  int exit_status_ = -1;
};

}  // namespace

int RunWorker(const WorkerOptions& options) {
  OpenLog();
  // Before any thread: they inherit the mask, and the signals come through the descriptor alone.
  const sigset_t signals = WorkerLoop::Signals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  // Its log may be a pipe that nobody reads any more.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  BecomeSubreaper();
  for (const int fd : {options.life_fd, options.held_fd}) {
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  // A slot has two pipes, three other descriptors, and a moment's more while it spawns.
  RequireDescriptors(64 + 10 * options.slots, "fewer slots");
  // Those of the slots, and the transport's.
  RequireThreads(options.slots + 2, "fewer slots");
  int status = 0;
  {
    WorkerLoop loop(options);
    status = loop.Run();
  }
  KillAllDescendants(10'000);
  return status;
}

}  // namespace cq
