#pragma once

#include <string>
#include <vector>

#include "protocol/connection_file.h"
#include "worker/worker.h"

namespace cq {

/// What a worker has for its tasks.
struct Machine {
  Capacity has;
  /// The names of the GPUs, as in CUDA_VISIBLE_DEVICES.
  std::vector<std::string> gpus;
};

/// What its pool is said to have, and for the rest what is found: the CPUs and the memory that it
/// may use; the GPUs that its scheduler has given it, or those of this machine if no scheduler has.
Machine FindMachine(const WorkerOptions& options, const ConnectionFile& file);

}  // namespace cq
