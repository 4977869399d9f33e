#pragma once

#include <string>
#include <vector>

#include "cq/run.h"
#include "cq/run_observer.h"
#include "master/core/requests.h"
#include "master/input/row_requests.h"
#include "master/pools/pool.h"

// Which pools of workers a run has, and what its rows ask of them. All throw UsageError.
namespace cq {

/// What the options say of `--workers` and its like for the pool "default", alone.
PoolOptions PlanPool(const RunOptions& options);
/// All pools: that one, if it is asked for or no other is named, and those that are named.
std::vector<PoolOptions> PlanPools(const RunOptions& options);
/// As tasks see them.
std::vector<PoolKind> KindsOf(const std::vector<PoolOptions>& plans);

/// What rows ask for. A memory limit of all tasks is asked for where a pool says how much it has;
/// elsewhere it is a limit alone.
RequestTexts RequestsOf(const RunOptions& options, const std::vector<PoolOptions>& plans);
/// The class of all tasks, if rows do not differ.
TaskRequest ConstantRequest(const RequestTexts& texts, const std::vector<PoolOptions>& plans);

/// Tells who is about to run the tasks of the run in this directory.
void TellPlans(const std::vector<PoolOptions>& plans, const RequestTexts& requests,
               const std::string& run_dir, RunObserver& observer);

}  // namespace cq
