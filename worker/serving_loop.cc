#include "worker/serving_loop.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/probe.h"
#include "cq/error.h"
#include "cq/version.h"
#include "protocol/codec.h"
#include "worker/log.h"
#include "worker/processes/descendants.h"

namespace cq {
namespace {

using std::chrono::milliseconds;

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

WorkerCoreOptions CoreOptionsOf(const WorkerOptions& options, const Machine& machine, RunId run) {
  WorkerCoreOptions core;
  core.version = kVersion;
  core.path = OwnExecutable();
  core.run = run;
  core.worker = RandomId();
  // The scheduler's own name for this machine, if it has one: the one that it can be told to avoid.
  const char* node = getenv("SLURMD_NODENAME");
  core.host = node != nullptr ? node : HostName();
  core.pid = static_cast<uint64_t>(getpid());
  core.allocation = options.allocation.empty() ? AllocationFromEnvironment() : options.allocation;
  core.slots = options.slots;
  core.pool = options.pool;
  core.has = machine.has;
  core.local = options.local;
  return core;
}

}  // namespace

namespace {

Fd MakeSignalFd() {
  const sigset_t signals = GoSignals();
  return Fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

}  // namespace

sigset_t GoSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGXCPU}) sigaddset(&set, signal);
  return set;
}

ServingLoop::ServingLoop(const WorkerOptions& options, ConnectionFile file)
    : options_(options),
      file_(std::move(file)),
      machine_(FindMachine(options, file_)),
      core_(CoreOptionsOf(options, machine_, file_.run)),
      signals_(MakeSignalFd()) {}

int ServingLoop::Run() {
  link_.Connect(file_, options_.local);
  core_.OnConnected(Now());
  for (;;) {
    Act();
    if (exit_status_ >= 0) return exit_status_;
    const auto nap = Nap(std::chrono::ceil<milliseconds>(core_.next_due() - Now()));
    std::vector<int> fds = WatchedFds();
    fds.insert(fds.end(), {signals_.get(), options_.life_fd});
    auto readable = link_.Wait(fds, nap);
    if (readable.back()) GuardianGone();
    readable.pop_back();
    if (readable.back()) HearSignals();
    readable.pop_back();
    OnReadable(readable);
    ReadAll();
    if (link_.Broken()) core_.OnDisconnected();
    Collect();
    core_.OnTick(Now());
  }
}

void ServingLoop::HearSignals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    const auto* name = sigabbrev_np(static_cast<int>(info.ssi_signo));
    LogInfo(fmt::format("SIG{} received: finishing what runs", name));
    // The guardian passes on what came to it alone; a scheduler that signals this process, too,
    // signals all of the job.
    const bool passed_on = static_cast<pid_t>(info.ssi_pid) == getppid();
    const bool job = !options_.local && !passed_on;
    core_.OnToldToGo(Now(), fmt::format("SIG{}", name),
                     job ? WorkerCore::Told::kJob : WorkerCore::Told::kWorker);
    OnToldToGo();
  }
}

void ServingLoop::GuardianGone() {
  EndAll();
  for (const pid_t pid : KillAllDescendants(10'000)) {
    LogError(fmt::format("process {} could not be ended", pid));
  }
  _exit(7);
}

void ServingLoop::ReadAll() {
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

void ServingLoop::Act() {
  for (auto actions = core_.TakeActions(); !actions.empty(); actions = core_.TakeActions()) {
    for (WorkerAction& action : actions) {
      std::visit([this](auto& a) { Do(a); }, action);
    }
  }
}

void ServingLoop::Do(SendUp& send) {
  link_.Send(send.envelope, Encode(send.envelope, send.message));
}

void ServingLoop::Do(Reconnect&) {
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

void ServingLoop::Do(Exit& exit) {
  if (exit.status != 0) LogError(exit.reason);
  // Who has to find out why reads this, here or as its master's words of a worker that was lost.
  if (exit.status == kNoMaster) {
    for (const std::string& endpoint : file_.endpoints) {
      const std::string why = WhyNoAnswer(endpoint);
      LogError(fmt::format("{}: {}", endpoint, why.empty() ? "somebody listens there" : why));
    }
  }
  DoExit();
  exit_status_ = exit.status;
}

}  // namespace cq
