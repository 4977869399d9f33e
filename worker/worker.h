#pragma once

#include <cstdint>
#include <string>

namespace cq {

struct WorkerOptions {
  std::string connection_file;
  uint64_t slots = 1;
  /// The pool that it is of; empty: there is but one.
  std::string pool;
  /// Names the scheduler's job that this worker is; empty: found in the environment.
  std::string allocation;
  /// The worker was started by a master on this machine, and ends with it.
  bool local = false;
  /// Readable (end of file) once the guardian is gone; -1 without one.
  int life_fd = -1;
  /// Kept open, and from the tasks; -1: none.
  int held_fd = -1;
  /// The file of TrialLock; empty: none.
  std::string trial = {};
};

/// The worker proper: runs until the master stops it, it is told to go, or its guardian is gone.
/// Returns the exit status of the process. Throws Error when it cannot start.
int RunWorker(const WorkerOptions& options);

}  // namespace cq
