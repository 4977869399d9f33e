#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cq/error.h"
#include "schedulers/lending_terms.h"
#include "schedulers/worker_job.h"

namespace cq {

/// What starting workers takes, whatever the scheduler.
struct WorkerLaunch {
  /// The job is to be no worker but a run's master: `program` is all of its command.
  bool of_master = false;
  /// The program `cq`, as the workers' machines see it, or one that embeds the master; the words
  /// that follow are those of `cq`'s command line.
  std::vector<std::string> program;
  std::string connection_file;
  std::string run_dir;
  std::string log_dir;
  unsigned slots = 1;
  /// The pool that the workers say they are of; empty: there is but one, without a name.
  std::string pool;
  unsigned cpus_per_slot = 1;
  /// Of slots that are borrowed: larger ones first.
  int64_t priority = 0;
  /// Of workers on this machine: the first one's number.
  unsigned first_number = 1;
  /// Shell text that runs before the worker.
  std::string worker_init;
  /// The template's text and the name to show in messages; empty: the scheduler's own.
  std::string template_text;
  std::string template_name;
  /// Template values: `--set`.
  std::map<std::string, std::string> set;
};

/// A submission that an earlier master made, or was about to make.
struct LeftSubmission {
  std::string token;
  /// The scheduler's id; empty if that master never knew it.
  std::string job;
  unsigned workers = 0;
  /// Of workers of that master's which may still live, these and others.
  std::vector<std::string> allocations = {};
  /// Since when that master meant to make it.
  std::chrono::seconds age{};
};

/// A submission of which nobody knows whether the scheduler has it: it did not answer in time.
class UncertainSubmission : public Error {
 public:
  using Error::Error;
};

/// A submission that the scheduler refused for now: it may take it, or a smaller one, later.
class TemporaryRefusal : public Error {
 public:
  using Error::Error;
};

/// Starts, watches and ends workers. All functions block and are called from one thread. They throw
/// Error with what the scheduler said.
class Scheduler {
 public:
  virtual ~Scheduler() = default;

  /// One submission of `workers` workers; `token` finds it again. Returns the scheduler's id.
  /// Throws UncertainSubmission, TemporaryRefusal, and Error where there is none.
  virtual std::string Submit(unsigned workers, const std::string& token) = 0;
  /// How many workers one submission may have.
  virtual unsigned AtOnce() { return std::numeric_limits<unsigned>::max(); }
  /// Workers on this machine inherit this descriptor and hold it as long as they live.
  virtual void HoldOpen(int /*fd*/) {}
  /// Once this descriptor is readable the run ends: what is being done then is cut short, however
  /// long it could take otherwise.
  virtual void HurryAt(int /*fd*/) {}
  /// Workers on this machine get this soft limit of descriptors.
  virtual void KeepDescriptorLimit(uint64_t /*limit*/) {}
  enum class Adopted {
    kYes,
    /// There is no such job any more.
    kGone,
    /// It may still come: to be asked again.
    kUnknown,
  };
  /// Takes over a submission of an earlier master.
  virtual Adopted Adopt(const LeftSubmission&) { return Adopted::kGone; }
  /// Ends what a submission that was uncertain has brought after all.
  virtual void CancelSubmission(const std::string& /*token*/) {}
  /// All workers of all submissions, each until it has been told as ended once. A query that fails
  /// throws, and says nothing about the workers.
  virtual std::vector<WorkerJob> Poll() = 0;
  /// The tokens of submissions of which no worker lives any more, each once.
  virtual std::vector<std::string> TakeEnded() { return {}; }
  /// Ends the worker of this allocation, which may be stopped or stuck.
  virtual void End(const std::string& /*allocation*/) {}
  /// Ends those of these that have not started.
  virtual void Withdraw(const std::vector<std::string>& /*allocations*/) {}
  /// Of one that lends: for how many workers there is work.
  virtual void Want(uint64_t /*workers*/) {}
  /// The same: as of the last Poll.
  virtual LendingTerms Terms() const { return {}; }
  /// Later submissions keep away from this host.
  virtual void Avoid(const std::string& /*host*/) {}
  /// The workers were told to end: waits a moment for it, and cancels those that have not.
  virtual void Finish() = 0;
  /// Ends every worker that has not ended. Idempotent.
  virtual void CancelAll() = 0;
  /// Of workers that outlive their master: ends none of them, now or later.
  virtual void LetGo() {}

  /// The script that so many workers would be submitted with; empty where there is none.
  virtual std::string Script(unsigned /*workers*/) const { return {}; }
  /// How long to wait between polls while workers are young or pending, and later.
  virtual std::chrono::milliseconds PollInterval(bool young) const = 0;
  /// Descriptors that become readable when a worker has ended.
  virtual std::vector<int> WatchFds() const { return {}; }
  /// The addresses of this machine that workers may reach the master at are all but loopback,
  /// unless this says that the scheduler's own controller is there.
  virtual bool ControllerAtLoopback() { return true; }
};

/// Throws UsageError for a template or a value that cannot be used; nothing is started.
std::unique_ptr<Scheduler> MakeLocalScheduler(WorkerLaunch launch);
std::unique_ptr<Scheduler> MakeSlurmScheduler(WorkerLaunch launch);

std::unique_ptr<Scheduler> MakeByHand(WorkerLaunch launch);

/// The last lines of a log file, indented; or why there is none.
std::string LogTail(const std::string& path);

}  // namespace cq
