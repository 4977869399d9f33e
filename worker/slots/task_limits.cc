#include "worker/slots/task_limits.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "worker/processes/process_tree.h"

namespace cq {
namespace {

using std::chrono::milliseconds;

/// Between TERM and KILL.
constexpr milliseconds kTermGrace{5'000};
constexpr milliseconds kKillEvery{100};
/// How often memory is summed up; and for no more than a part in so many of the time.
constexpr milliseconds kMemoryEvery{100};
constexpr int kLookShare = 20;

}  // namespace

void TaskLimits::Begin(Time now, milliseconds time) {
  time_ = time;
  term_at_ = time.count() != 0 ? now + time : kNever;
  kill_at_ = kNever;
  // Tasks that each take less than that may grow together.
  if (memory_bytes_ != 0 && memory_at_ == kNever) memory_at_ = now + kMemoryEvery;
  verdict_ = Outcome::kOk;
}

TaskLimits::Act TaskLimits::Look(Time now, pid_t leader,
                                 const std::function<std::vector<pid_t>()>& family) {
  Act act = Act::kNothing;
  if (now >= term_at_) {
    term_at_ = kNever;
    kill_at_ = now + kTermGrace;
    verdict_ = Outcome::kTimeout;
    act = Act::kTerm;
  }
  if (now >= kill_at_) {
    kill_at_ = now + kKillEvery;
    act = Act::kKill;
  }
  if (now < memory_at_) return act;
  // It may not have been able to move there.
  if (cgroup_ != nullptr && !cgroup_->Holds(leader)) cgroup_ = nullptr;
  const bool over =
      cgroup_ != nullptr ? cgroup_->HasKilled() : HaveMoreThan(memory_bytes_, family());
  const auto took = std::chrono::steady_clock::now() - now;
  memory_at_ = now + std::max<std::chrono::nanoseconds>(kMemoryEvery, kLookShare * took);
  if (!over) return act;
  verdict_ = Outcome::kMemory;
  kill_at_ = now + kKillEvery;
  return Act::kKill;
}

void TaskLimits::Ended(int status, bool by_us, OomCounter& oom) {
  const bool in_cgroup = cgroup_ != nullptr && cgroup_->HasKilled();
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !by_us;
  if (verdict_ == Outcome::kOk && (in_cgroup || (killed && oom.HasGrown()))) {
    verdict_ = Outcome::kMemory;
  }
}

std::string TaskLimits::Reason() const {
  if (verdict_ == Outcome::kTimeout) {
    return fmt::format("ended after its time limit of {} s (--task-timeout)",
                       static_cast<double>(time_.count()) / 1000);
  }
  if (memory_bytes_ == 0) return "ended by the system for want of memory";
  return fmt::format("ended at its memory limit of {:g} MiB (--task-memory)",
                     static_cast<double>(memory_bytes_) / (1 << 20));
}

}  // namespace cq
