#include "worker/loan_loop.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "base/proc.h"
#include "base/worker_process.h"
#include "cq/error.h"
#include "protocol/loan_order.h"
#include "worker/log.h"
#include "worker/processes/descendants.h"

extern char** environ;

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

/// A run's worker whose guardian was killed ends by itself, and its tasks; what it has not ended by
/// then it will not.
constexpr seconds kOrphanTime{10};

class LoanLoop final : public ServingLoop {
 public:
  LoanLoop(const WorkerOptions& options, ConnectionFile file)
      : ServingLoop(options, std::move(file)) {}

 private:
  struct Loan {
    RunningTask task;
    WorkerProcess process;
    /// Readable once the run's master is gone; none: it is not on this machine.
    Fd master;
    bool killed = false;
  };

  std::vector<int> WatchedFds() override {
    std::vector<int> fds;
    for (const auto& [attempt, loan] : loans_) fds.push_back(loan.process.pidfd.get());
    for (const auto& [attempt, loan] : loans_) {
      if (loan.master && !loan.killed) fds.push_back(loan.master.get());
    }
    return fds;
  }

  milliseconds Nap(milliseconds due) override {
    if (orphans_since_) due = std::min<milliseconds>(due, seconds(1));
    return std::clamp(due, milliseconds(0), milliseconds(60'000));
  }

  void OnReadable(const std::vector<bool>& readable) override {
    // With the run's master goes its worker, whatever the pool makes of it.
    size_t at = loans_.size();
    for (auto& [attempt, loan] : loans_) {
      if (loan.master && !loan.killed && readable[at++]) End(loan);
    }
  }

  void Collect() override {
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      const auto ended = std::find_if(loans_.begin(), loans_.end(), [&](const auto& entry) {
        return entry.second.process.pid == pid;
      });
      if (ended == loans_.end()) continue;
      OnEnded(ended->second, status);
      loans_.erase(ended);
    }
    KillOrphans();
    std::vector<RunningTask> running;
    for (const auto& [attempt, loan] : loans_) running.push_back(loan.task);
    core().OnRunning(running);
  }

  void OnEnded(const Loan& loan, int status) {
    TaskResult result;
    result.task = loan.task.ref.task;
    result.attempt = loan.task.ref.attempt;
    result.slot = loan.task.slot;
    result.wall_us = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Now() - loan.task.started).count());
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      result.outcome = Outcome::kOk;
    } else {
      result.outcome = Outcome::kError;
      result.details.Edit().exit = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
      result.details.Edit().error = "its guardian " + EndOfProcess(status);
      if (WIFSIGNALED(status)) orphans_since_ = Now();
    }
    core().OnFinished(Now(), std::move(result), loan.killed);
  }

  // What a guardian that was killed left, its worker first, is ours now.
  void KillOrphans() {
    if (!orphans_since_) return;
    std::vector<pid_t> orphans = children_.List();
    std::erase_if(orphans, [this](pid_t pid) {
      return std::any_of(loans_.begin(), loans_.end(),
                         [pid](const auto& entry) { return entry.second.process.pid == pid; });
    });
    if (orphans.empty()) {
      orphans_since_.reset();
    } else if (Now() > *orphans_since_ + kOrphanTime) {
      for (const pid_t pid : orphans) kill(pid, SIGKILL);
    }
  }

  void OnToldToGo() override {
    for (const auto& [attempt, loan] : loans_) kill(loan.process.pid, SIGTERM);
  }

  void EndAll() override {}  // whoever kills all below us kills the loans, and what is below them

  void Do(Prepare&) override { core().OnPrepared(""); }
  void Do(Enqueue& enqueue) override {
    for (const Task& task : enqueue.tasks) Start(task);
  }
  // Nothing waits.
  void Do(TakeBack& take) override { core().OnTakenBack({}, take.reason); }
  void Do(cq::Kill& kill) override {
    for (const AttemptRef& ref : kill.attempts) {
      const auto loan = loans_.find(ref.attempt);
      if (loan != loans_.end()) End(loan->second);
    }
  }
  void Do(StartUntil&) override {}
  // A pool that comes later has nobody to tell.
  void Do(Spool&) override {}
  void DoExit() override {
    for (auto& [attempt, loan] : loans_) End(loan);
    const nanoseconds limit = Now() + kOrphanTime;
    while (!loans_.empty() && Now() < limit) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, WNOHANG);
      std::erase_if(loans_, [pid](const auto& entry) { return entry.second.process.pid == pid; });
      if (pid == 0) usleep(1000);
    }
  }

  void End(Loan& loan) {
    loan.killed = true;
    // One that is stopped could not see it.
    kill(loan.process.pid, SIGCONT);
    loan.process.life.Close();
  }

  void Start(const Task& task) {
    Loan loan;
    loan.task = {{task.task, task.attempt}, FreeSlot(), Now()};
    try {
      if (task.values.size() != 1) throw Error("the order has no text");
      const LoanOrder order = ParseLoanOrder(task.values[0]);
      StartWorker(order, loan);
    } catch (const Error& error) {
      LogError(error.what());
      TaskResult result;
      result.task = task.task;
      result.attempt = task.attempt;
      result.outcome = Outcome::kError;
      result.details.Edit().exit = 127;
      result.details.Edit().error = error.what();
      core().OnFinished(Now(), std::move(result), false);
      return;
    }
    loans_.emplace(task.attempt, std::move(loan));
  }

  // As that process began with.
  static std::vector<std::string> EnvironmentOf(uint64_t pid) {
    std::vector<std::string> environment;
    std::istringstream entries(ReadFile(fmt::format("/proc/{}/environ", pid)));
    for (std::string entry; std::getline(entries, entry, '\0');) environment.push_back(entry);
    return environment;
  }

  void StartWorker(const LoanOrder& order, Loan& loan) {
    WorkerStart start;
    start.words = order.program;
    start.words.insert(start.words.end(), {"worker", "--connect", order.connection_file, "--slots",
                                           "1", "--allocation", order.allocation});
    if (trial_) {
      start.words.insert(start.words.end(),
                         {"--trial", fmt::format("/proc/{}/fd/{}", getpid(), trial_.get())});
    }
    start.log_file = order.log_file;
    start.environment = environ;
    Fd held;
    std::vector<std::string> environment;
    std::vector<char*> pointers;
    if (order.master_pid == 0) {
      start.words.emplace_back("--away");
    } else {
      loan.master = WatchProcess(static_cast<pid_t>(order.master_pid), order.master_start);
      if (!loan.master) throw Error("the run's master has ended");
      bool locked = false;
      held = ShareLock(order.workers_lock, &locked);
      if (!locked) throw Error("another master is taking over the run");
      start.held_fd = held.get();
      environment = EnvironmentOf(order.master_pid);
      pointers = ArgumentPointers(environment);
      start.environment = pointers.data();
    }
    loan.process = StartWorkerProcess(start);
  }

  uint64_t FreeSlot() const {
    uint64_t slot = 0;
    while (std::any_of(loans_.begin(), loans_.end(),
                       [slot](const auto& entry) { return entry.second.task.slot == slot; })) {
      ++slot;
    }
    return slot;
  }

  AdoptedChildren children_;
  /// What the workers of all runs here lock while they run a task that may take them all with it.
  const Fd trial_{memfd_create("cq-trial", MFD_CLOEXEC)};
  std::map<AttemptId, Loan> loans_;
  /// Since when there may be processes of a guardian that was killed.
  std::optional<nanoseconds> orphans_since_;
};

}  // namespace

std::unique_ptr<ServingLoop> MakeLoanLoop(const WorkerOptions& options, ConnectionFile file) {
  // A loan has three descriptors, and a moment's more while it is started.
  RequireDescriptors(64 + 3 * options.slots, "fewer slots");
  return std::make_unique<LoanLoop>(options, std::move(file));
}

}  // namespace cq
