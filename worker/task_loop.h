#pragma once

#include <memory>

#include "worker/serving_loop.h"

namespace cq {

/// Of a worker that runs tasks, in slots. Throws Error where this machine has no room for them.
std::unique_ptr<ServingLoop> MakeTaskLoop(const WorkerOptions& options, ConnectionFile file);

}  // namespace cq
