#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "master/core/records.h"
#include "schedulers/lending_terms.h"
#include "schedulers/traits.h"
#include "schedulers/worker_job.h"

namespace cq {

/// A worker's connection, and what its process costs where it is ours.
inline constexpr uint64_t kDescriptorsOfWorker = 4;

/// What the event loop learns of its workers' jobs.
struct JobStates {
  std::vector<WorkerJob> jobs;
  /// The end of the log of each that has ended, by its allocation.
  std::map<std::string, std::string> last_words;
  LendingTerms terms;
};
/// The answer to Start: of the workers that were wanted, so many are on their way; the others were
/// adopted and live, or could not be submitted.
struct Submitted {
  unsigned wanted = 0;
  unsigned workers = 0;
  /// Why a submission failed; empty if none did.
  std::string problem;
  enum class Refusal {
    kForGood,
    /// It may be taken later.
    kForNow,
    /// It may have been taken.
    kUncertain,
  };
  Refusal refusal = Refusal::kForGood;
};
/// The scheduler has not answered several times in a row.
struct QueryFailed {
  std::string reason;
};
/// Something that the user should know.
struct PoolNotice {
  std::string text;
};
using PoolEvent = std::variant<JobStates, Submitted, QueryFailed, PoolNotice>;

/// Where the workers of a pool come from, as the workforce sees it: told what to bring and what to
/// end, it answers with events, from whatever thread.
class WorkerSource {
 public:
  struct Callbacks {
    std::function<void(PoolEvent)> event;
    /// What `event` writes to.
    int event_fd = -1;
    /// Writes a record; returns once it is durable. False when the journal has failed.
    std::function<bool(JournalRecord)> write_durably;
  };

  virtual ~WorkerSource() = default;
  virtual const SchedulerTraits& traits() const = 0;
  virtual const std::string& scheduler() const = 0;

  /// Before anything else.
  virtual void Open(Callbacks callbacks) = 0;
  /// Brings this many workers, less those of adopted submissions that live; `known` of these have
  /// been told of already.
  virtual void Start(unsigned workers, uint64_t known) = 0;
  virtual void PollSoon() = 0;
  /// For how many workers there is work, if that is to be known.
  virtual void Want(uint64_t workers) = 0;
  /// Ends the job of a worker that was lost by its silence, if it answers to nobody else.
  virtual void EndSilent(const std::string& allocation) = 0;
  /// Ends this job; those of these that have not started.
  virtual void EndJob(const std::string& allocation) = 0;
  virtual void Withdraw(std::vector<std::string> allocations) = 0;
  /// No further worker goes to this host.
  virtual void Avoid(const std::string& host) = 0;
  /// Whether a job that lives has not said hello yet: its early death is to be noticed soon.
  virtual void Expect(bool expecting) = 0;
  enum class End {
    /// The workers were told to, and leave.
    kTold,
    kNow,
    /// Those that live without us stay, for whoever goes on with the run.
    kStay,
  };
  /// Wait returns when none is left that does not stay, with what went wrong, if anything.
  virtual void Close(End how) = 0;
  virtual std::string Wait() = 0;
};

}  // namespace cq
