#pragma once

#include <memory>

#include "worker/serving_loop.h"

namespace cq {

/// Of a worker of a warm pool: its slots are lent to runs, and a task that it is sent is the order
/// to start a run's worker there (protocol/loan_order.h). Throws Error where this machine has no
/// room for them.
std::unique_ptr<ServingLoop> MakeLoanLoop(const WorkerOptions& options, ConnectionFile file);

}  // namespace cq
