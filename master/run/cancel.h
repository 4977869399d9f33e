#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "master/journal/database.h"

namespace cq {

/// Gets what is being waited for, if anything is.
using SayWaiting = std::function<void(const std::string&)>;

/// Cancels what earlier masters of this run, in this directory, submitted to schedulers other than
/// those of `kept`, and notes it in the journal. Returns the jobs' names. Throws Error if a
/// scheduler does not do it.
std::vector<std::string> CancelAllocations(Database& journal, const std::string& run_dir,
                                           const std::set<std::string>& kept,
                                           const SayWaiting& say);

/// Cancels the scheduler's jobs of a run whose master is gone, by their ids or tokens. Returns
/// their names. Throws UsageError while a master lives, Error if the scheduler does not do it.
std::vector<std::string> CancelLeftJobs(const std::string& run_dir, const SayWaiting& say);

}  // namespace cq
