#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "master/core/worker_table.h"

namespace cq {

/// What there is to do for the workers of a pool.
struct WorkLeft {
  /// Tasks without an outcome for which it is the pool; and as how many that each take a slot they
  /// fill its workers.
  uint64_t tasks = 0;
  uint64_t slots = 0;
  /// Of these slots, those that are work for other pools, too; and for which.
  uint64_t shared = 0;
  std::set<size_t> with = {};
  /// How long one takes as it seems now; zero: nobody knows.
  std::chrono::nanoseconds mean{};
};

/// A core, as those see it who bring its workers.
class Employer {
 public:
  virtual ~Employer() = default;
  /// The job that started this worker (as its hello names it) has ended; `blame` as its scheduler
  /// says.
  virtual void OnAllocationEnded(Time now, const std::string& allocation, const std::string& reason,
                                 Blame blame) = 0;
  /// This job may run for so long from now, and could in all.
  virtual void OnTimeLeft(Time now, const std::string& allocation, Time left, Time all) = 0;
  /// Of the workers whose allocations begin so it may keep this many; of more it lets the emptiest
  /// go that are not on the hosts `spared`.
  virtual void OnLimit(const std::string& allocations, uint64_t workers,
                       const std::vector<std::string>& spared) = 0;
  /// Whether a worker of this allocation has ever said hello.
  virtual bool HasSession(const std::string& allocation) const = 0;
  /// Whether one is connected now.
  virtual bool IsConnected(const std::string& allocation) const = 0;
  virtual WorkLeft demand(size_t pool) = 0;
  /// No further worker of this pool will come: its work is others', if they can do it. Or again
  /// some may.
  virtual void OnPool(size_t pool, bool closed) = 0;
  /// Grows with whatever workers get done.
  virtual uint64_t progress() = 0;
  /// Those that are connected; and those of them that were not told to go.
  virtual uint64_t workers() = 0;
  virtual uint64_t staying() const = 0;
  /// The allocations of those that stay and have had nothing to do for so long.
  virtual std::vector<std::string> Idle(Time now, Time time) const = 0;
  /// The allocations of those that stay, whoever has least to do first.
  virtual std::vector<std::string> Emptiest() const = 0;
  /// The workers of this allocation finish what they have, and leave.
  virtual void OnDismissed(const std::string& allocation, const std::string& reason) = 0;
  /// No worker is needed any more.
  virtual bool draining() const = 0;
  /// If workers are connected and none of them can take tasks: why, as the first of them says.
  virtual std::string CommonProblem() const = 0;
};

}  // namespace cq
