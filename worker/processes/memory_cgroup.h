#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/mutex.h"

namespace cq {

/// How often the kernel has killed a process of this worker's own cgroup for want of memory: what
/// tells a scheduler's memory limit from any other KILL.
class OomCounter {
 public:
  OomCounter();
  /// Whether it happened, no longer ago than a moment, once more than this was called for: others
  /// may share the cgroup, and what became of their processes is none of ours. Thread-safe.
  bool HasGrown();
  /// Call now and then: what it sees is soon too long ago. Thread-safe.
  void Look();

 private:
  std::string file_;
  Mutex mutex_;
  uint64_t last_ CQ_GUARDED_BY(mutex_) = 0;
  /// As last seen, and when; it takes the place of `last_` a second later.
  uint64_t seen_ CQ_GUARDED_BY(mutex_) = 0;
  std::chrono::steady_clock::time_point looked_ CQ_GUARDED_BY(mutex_);
};

/// A memory cgroup (v2, or v1) for the tasks of one slot, below this worker's own.
class MemoryCgroup {
 public:
  /// None where no cgroup can be made: not root, not delegated, or no such controller.
  static std::unique_ptr<MemoryCgroup> Make(uint64_t slot, uint64_t limit_bytes);
  MemoryCgroup(const MemoryCgroup&) = delete;
  MemoryCgroup& operator=(const MemoryCgroup&) = delete;
  ~MemoryCgroup();

  /// Where a process writes itself into it, before it is the task: to move one that runs already
  /// takes milliseconds, and what it starts meanwhile gets away.
  const std::string& tasks_file() const { return tasks_file_; }
  /// Whether this process is in it: it may not have been able to move.
  bool Holds(pid_t pid) const;
  /// Whether the kernel has killed one of its processes since the last call.
  bool HasKilled();

 private:
  MemoryCgroup(std::string directory, std::string tasks_file)
      : directory_(std::move(directory)), tasks_file_(std::move(tasks_file)) {}

  const std::string directory_;
  const std::string tasks_file_;
  uint64_t kills_ = 0;
};

}  // namespace cq
