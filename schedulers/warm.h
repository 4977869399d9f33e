#pragma once

#include <memory>
#include <string>

#include "protocol/pool_file.h"
#include "schedulers/scheduler.h"
#include "schedulers/traits.h"

namespace cq {

SchedulerTraits TraitsOfPool(const PoolFile& pool);

/// Borrows workers of a warm pool. Throws UsageError for a launch that it cannot start.
std::unique_ptr<Scheduler> MakeWarmScheduler(const PoolFile& pool, WorkerLaunch launch);

}  // namespace cq
