#pragma once

#include <string>
#include <vector>

namespace cq {

/// Cancels the scheduler's jobs of a run whose master is gone, by their ids or tokens. Returns
/// their names. Throws UsageError while a master lives, Error if the scheduler does not do it.
std::vector<std::string> CancelLeftJobs(const std::string& run_dir);

}  // namespace cq
