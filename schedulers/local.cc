// Workers on this machine: guardians that the master starts itself.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/files.h"
#include "base/spawn.h"
#include "cq/error.h"
#include "schedulers/scheduler.h"

extern char** environ;

namespace cq {
namespace {

/// The descriptor at which a guardian sees that its master is gone.
constexpr int kMasterFd = 3;
/// The one that workers hold as long as they live.
constexpr int kHeldFd = 4;

class LocalScheduler : public Scheduler {
 public:
  explicit LocalScheduler(WorkerLaunch launch)
      : launch_(std::move(launch)), next_(launch_.first_number) {}
  ~LocalScheduler() override { CancelAll(); }

  void HurryAt(int fd) override { hurry_fd_ = fd; }
  void HoldOpen(int fd) override { held_fd_ = fd; }
  void KeepDescriptorLimit(uint64_t limit) override { descriptor_limit_ = limit; }

  std::string Submit(unsigned workers, const std::string&) override {
    const unsigned first = next_;
    for (unsigned i = 0; i < workers; ++i) Start();
    return fmt::format("{}-{}", first, next_ - 1);
  }

  std::vector<WorkerJob> Poll() override {
    std::vector<WorkerJob> jobs;
    std::erase_if(guardians_, [&](Guardian& guardian) {
      WorkerJob job;
      job.allocation = guardian.allocation;
      job.log_file = guardian.log_file;
      job.state = WorkerJob::State::kRunning;
      int status = 0;
      const pid_t waited = waitpid(guardian.pid, &status, WNOHANG);
      // Somebody else may have waited for it: a program that embeds us, and ignores SIGCHLD.
      const bool unknown = waited < 0 && errno == ECHILD;
      const bool ended = waited == guardian.pid || unknown;
      if (ended) {
        job.state = WorkerJob::State::kEnded;
        job.reason =
            unknown ? fmt::format("{} ended, nobody knows how", guardian.allocation)
            : WIFSIGNALED(status)
                ? fmt::format("{} was ended by signal {}", guardian.allocation, WTERMSIG(status))
                : fmt::format("{} ended with status {}", guardian.allocation, WEXITSTATUS(status));
      }
      jobs.push_back(std::move(job));
      return ended;
    });
    return jobs;
  }

  void End(const std::string& allocation) override {
    for (Guardian& guardian : guardians_) {
      if (guardian.allocation != allocation) continue;
      kill(guardian.pid, SIGCONT);
      guardian.life.Close();
    }
  }

  void Finish() override {
    WaitForAll(std::chrono::seconds(1));
    CancelAll();
  }

  // A guardian sees the end of its pipe and kills all that is below it.
  void CancelAll() override {
    for (Guardian& guardian : guardians_) guardian.life.Close();
    // It leads its own session and group; one that is stopped or stuck is killed, and its worker
    // ends itself.
    WaitForAll(std::chrono::seconds(5));
    for (Guardian& guardian : guardians_) {
      kill(guardian.pid, SIGKILL);
      while (waitpid(guardian.pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    guardians_.clear();
  }

  std::chrono::milliseconds PollInterval(bool) const override { return std::chrono::minutes(1); }

  std::vector<int> WatchFds() const override {
    std::vector<int> fds;
    for (const Guardian& guardian : guardians_) fds.push_back(guardian.pidfd.get());
    return fds;
  }

 private:
  struct Guardian {
    std::string allocation;
    std::string log_file;
    pid_t pid = 0;
    Fd pidfd;
    Fd life;
  };

  void WaitForAll(std::chrono::seconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (const Guardian& guardian : guardians_) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd ended{guardian.pidfd.get(), POLLIN, 0};
      poll(&ended, 1, std::max(0, static_cast<int>(left.count())));
    }
  }

  void Start() {
    Guardian guardian;
    const unsigned number = next_++;
    guardian.allocation = fmt::format("local {}", number);
    guardian.log_file = fmt::format("{}/local-{}.log", launch_.log_dir, number);
    Pipe life = MakePipe();
    const Fd life_read(fcntl(life.read.get(), F_DUPFD_CLOEXEC, 10));
    const Fd log(open(guardian.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    if (!log) {
      throw Error(fmt::format("cannot write the worker's log '{}': {}", guardian.log_file,
                              strerror(errno)));
    }
    std::vector<std::string> words = launch_.program;
    words.insert(words.end(), {"worker", "--connect", launch_.connection_file, "--slots",
                               std::to_string(launch_.slots), "--allocation", guardian.allocation,
                               "--master-fd", std::to_string(kMasterFd)});
    // Run by the guardian, so that a set-up that hangs ends like a worker.
    if (!launch_.worker_init.empty()) words.insert(words.end(), {"--init", launch_.worker_init});
    if (held_fd_ >= 0) words.insert(words.end(), {"--held-fd", std::to_string(kHeldFd)});
    guardian.pid = Spawn(words, log.get(), life_read.get());
    // The guardian is far from its first child by now.
    rlimit limit{};
    if (descriptor_limit_ != 0 && prlimit(guardian.pid, RLIMIT_NOFILE, nullptr, &limit) == 0) {
      limit.rlim_cur = std::min<rlim_t>(descriptor_limit_, limit.rlim_max);
      prlimit(guardian.pid, RLIMIT_NOFILE, &limit, nullptr);
    }
    guardian.pidfd = OpenPidfd(guardian.pid);
    guardian.life = std::move(life.write);
    guardians_.push_back(std::move(guardian));
  }

  pid_t Spawn(const std::vector<std::string>& words, int log, int life) const {
    // A session of its own: Ctrl-C reaches the master alone.
    Spawner spawner(Spawner::Group::kOwnSession);
    spawner.GiveNoInput();
    spawner.Give(log, 1);
    spawner.Give(log, 2);
    // Neither source is one of these numbers.
    spawner.Give(life, kMasterFd);
    if (held_fd_ >= 0) spawner.Give(held_fd_, kHeldFd);
    pid_t pid = 0;
    const int error =
        spawner.StartPatiently(pid, words[0], words, environ, 0, kShortRoomPatience, hurry_fd_);
    if (error != 0) {
      throw Error(fmt::format("cannot start a worker '{}': {}{}", words[0], strerror(error),
                              IsWantOfRoom(error) ? "; " + AdviceOnRoom() : ""));
    }
    return pid;
  }

  WorkerLaunch launch_;
  int held_fd_ = -1;
  int hurry_fd_ = -1;
  uint64_t descriptor_limit_ = 0;
  unsigned next_;
  std::vector<Guardian> guardians_;
};

}  // namespace

std::unique_ptr<Scheduler> MakeLocalScheduler(WorkerLaunch launch) {
  if (!launch.template_text.empty()) {
    throw UsageError("--template is for workers of a batch scheduler; give one with --scheduler");
  }
  if (!launch.set.empty()) {
    throw UsageError(
        fmt::format("--set {} is for the template of a batch scheduler; give one with --scheduler",
                    launch.set.begin()->first));
  }
  return std::make_unique<LocalScheduler>(std::move(launch));
}

}  // namespace cq
