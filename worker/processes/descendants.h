#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/mutex.h"
#include "protocol/ids.h"

namespace cq {

/// Makes this process the one that orphaned descendants are given to.
void BecomeSubreaper();

/// Kills all descendants of this process, again until none is left or `limit_ms` have passed, and
/// reaps them. Returns the pids that could not be ended. For the end of a worker: it reads all of
/// /proc.
std::vector<pid_t> KillAllDescendants(int limit_ms);

/// The processes that a worker adopted: what tasks left behind. A child that the kernel gives to a
/// process of several threads goes to its first thread, which starts none itself, so that this
/// thread's list of children is exactly these: one short read per task, and no scan of /proc.
class AdoptedChildren {
 public:
  /// Call in the first thread.
  AdoptedChildren();

  /// All children of that thread.
  std::vector<pid_t> List() const;
  /// The adopted processes that belong to this attempt.
  std::vector<pid_t> Of(AttemptId attempt);
  /// Ends and reaps what `ended` left behind, and reaps whatever else has ended. `others_run` tells
  /// whether the attempt is one that another slot runs now, and `alone` whether no other slot runs
  /// anything: then a process that does not say whose it is goes, too. Returns whether any is left.
  bool EndThoseOf(AttemptId ended, const std::function<bool(AttemptId)>& others_run,
                  const std::function<bool()>& alone);

 private:
  enum class Swept { kNoneLeft, kOthersLeft, kEnding };
  Swept Sweep(AttemptId ended, const std::function<bool(AttemptId)>& others_run,
              const std::function<bool()>& alone);

  Fd children_;
  // Nobody may reap one of them while another is about to signal it.
  Mutex mutex_;
};

/// The attempt whose process it is, as far as that can be told: by the mark that it was started
/// with (Spawner::Start), or by its environment. The mark is RLIMIT_LOCKS, which has had no effect
/// since Linux 2.4.25, has 64 bits, and is inherited over fork, exec, setsid and an emptied
/// environment.
std::optional<AttemptId> AttemptOfProcess(pid_t pid);

}  // namespace cq
