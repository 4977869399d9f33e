#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace cq {

/// How the job of a worker ended, as its scheduler tells it.
enum class JobEnding {
  /// By itself, for all that is known: it crashed, or was killed.
  kItself,
  /// Its worker had left.
  kLeft,
  kTimeLimit,
  kCancelled,
  kPreempted,
  kNode,
  kMemory,
};
/// A cause that no task has to answer for.
constexpr bool Explains(JobEnding ending) {
  return ending == JobEnding::kTimeLimit || ending == JobEnding::kCancelled ||
         ending == JobEnding::kPreempted || ending == JobEnding::kNode;
}

/// The job of one worker, as its scheduler tells it.
struct WorkerJob {
  enum class State {
    kPending,
    /// It can never start as it was asked for.
    kHopeless,
    kRunning,
    kEnded,
    /// It had ended before it was first asked for, under an earlier master.
    kOver,
  };
  /// As the worker's hello names it: "local 3", "slurm 1234_2".
  std::string allocation;
  State state = State::kPending;
  /// Why it waits, or how it ended, in the scheduler's words; and which of these that is.
  std::string reason = {};
  JobEnding ending = JobEnding::kItself;
  std::string log_file = {};
  /// How long it may still run, and may run in all; none: as long as it likes, or nobody says.
  struct Time {
    std::chrono::seconds left{};
    std::chrono::seconds all{};
    bool operator==(const Time&) const = default;
  };
  std::optional<Time> time = {};

  bool waits() const { return state == State::kPending || state == State::kHopeless; }
  bool ended() const { return state == State::kEnded || state == State::kOver; }
};

}  // namespace cq
