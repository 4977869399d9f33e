#pragma once

#include <memory>
#include <string>

#include "schedulers/scheduler.h"

// The schedulers that there are: the one place that compares their names.
namespace cq {

/// Throws UsageError for a name that no scheduler has, and for a template or a value that cannot be
/// used. Nothing is started.
std::unique_ptr<Scheduler> MakeScheduler(const std::string& name, WorkerLaunch launch);

}  // namespace cq
