#pragma once

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "protocol/results.h"
#include "worker/processes/memory_cgroup.h"

namespace cq {

/// What one task may take, and what becomes of it if it takes more: TERM at the end of its time,
/// KILL 5 s later; KILL beyond its memory. Decides; the caller signals.
class TaskLimits {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `memory_bytes`: of its processes in sum; 0: no limit. `cgroup` counts them by itself, if it is
  /// one and they are in it.
  explicit TaskLimits(uint64_t memory_bytes = 0, MemoryCgroup* cgroup = nullptr)
      : memory_bytes_(memory_bytes), cgroup_(cgroup) {}

  /// A task begins; for commands once, for a program that goes on from task to task each time.
  /// `time`: how long it may run; 0: no limit.
  void Begin(Time now, std::chrono::milliseconds time);

  /// When Look is due.
  Time next() const { return std::min({term_at_, kill_at_, memory_at_}); }
  enum class Act { kNothing, kTerm, kKill };
  /// What is to be done now to all of `family`, the live processes of the task, of which `leader`
  /// is the first. To be killed they are told again every 100 ms, since one may just be starting
  /// another.
  Act Look(Time now, pid_t leader, const std::function<std::vector<pid_t>()>& family);

  /// Its first process has ended with this wait status. `by_us`: for another reason than a limit,
  /// so that a KILL is not the kernel's for want of memory.
  void Ended(int status, bool by_us, OomCounter& oom);

  /// The limit that it met: kTimeout, kMemory, or kOk for none.
  Outcome verdict() const { return verdict_; }
  /// For people; of a verdict.
  std::string Reason() const;

 private:
  static constexpr Time kNever = Time::max();

  uint64_t memory_bytes_;
  MemoryCgroup* cgroup_;
  std::chrono::milliseconds time_{};
  Time term_at_ = kNever;
  Time kill_at_ = kNever;
  Time memory_at_ = kNever;
  Outcome verdict_ = Outcome::kOk;
};

}  // namespace cq
