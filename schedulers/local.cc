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
#include "base/worker_process.h"
#include "cq/error.h"
#include "schedulers/scheduler.h"

extern char** environ;

namespace cq {
namespace {

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
      const pid_t waited = waitpid(guardian.process.pid, &status, WNOHANG);
      // Somebody else may have waited for it: a program that embeds us, and ignores SIGCHLD.
      const bool unknown = waited < 0 && errno == ECHILD;
      const bool ended = waited == guardian.process.pid || unknown;
      if (ended) {
        const bool left = !unknown && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        job.ending = left ? JobEnding::kLeft : JobEnding::kItself;
        job.state = WorkerJob::State::kEnded;
        job.reason = fmt::format("{} {}", guardian.allocation,
                                 unknown ? "ended, nobody knows how" : EndOfProcess(status));
      }
      jobs.push_back(std::move(job));
      return ended;
    });
    return jobs;
  }

  void End(const std::string& allocation) override {
    for (Guardian& guardian : guardians_) {
      if (guardian.allocation != allocation) continue;
      kill(guardian.process.pid, SIGCONT);
      guardian.process.life.Close();
    }
  }

  void Finish() override {
    WaitForAll(std::chrono::seconds(1));
    CancelAll();
  }

  // A guardian sees the end of its pipe and kills all that is below it.
  void CancelAll() override {
    for (Guardian& guardian : guardians_) guardian.process.life.Close();
    // It leads its own session and group; one that is stopped or stuck is killed, and its worker
    // ends itself.
    WaitForAll(std::chrono::seconds(5));
    for (Guardian& guardian : guardians_) {
      kill(guardian.process.pid, SIGKILL);
      while (waitpid(guardian.process.pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    guardians_.clear();
  }

  std::chrono::milliseconds PollInterval(bool) const override { return std::chrono::minutes(1); }

  std::vector<int> WatchFds() const override {
    std::vector<int> fds;
    for (const Guardian& guardian : guardians_) fds.push_back(guardian.process.pidfd.get());
    return fds;
  }

 private:
  struct Guardian {
    std::string allocation;
    std::string log_file;
    WorkerProcess process;
  };

  void WaitForAll(std::chrono::seconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (const Guardian& guardian : guardians_) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd ended{guardian.process.pidfd.get(), POLLIN, 0};
      poll(&ended, 1, std::max(0, static_cast<int>(left.count())));
    }
  }

  void Start() {
    Guardian guardian;
    const unsigned number = next_++;
    guardian.allocation = fmt::format("local {}", number);
    guardian.log_file = fmt::format("{}/local-{}.log", launch_.log_dir, number);
    std::vector<std::string> words = launch_.program;
    words.insert(words.end(), {"worker", "--connect", launch_.connection_file, "--slots",
                               std::to_string(launch_.slots), "--allocation", guardian.allocation});
    if (!launch_.pool.empty()) words.insert(words.end(), {"--pool", launch_.pool});
    // Run by the guardian, so that a set-up that hangs ends like a worker.
    if (!launch_.worker_init.empty()) words.insert(words.end(), {"--init", launch_.worker_init});
    guardian.process = StartWorkerProcess({words, guardian.log_file, environ, held_fd_, hurry_fd_});
    // The guardian is far from its first child by now.
    rlimit limit{};
    if (descriptor_limit_ != 0 &&
        prlimit(guardian.process.pid, RLIMIT_NOFILE, nullptr, &limit) == 0) {
      limit.rlim_cur = std::min<rlim_t>(descriptor_limit_, limit.rlim_max);
      prlimit(guardian.process.pid, RLIMIT_NOFILE, &limit, nullptr);
    }
    guardians_.push_back(std::move(guardian));
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
