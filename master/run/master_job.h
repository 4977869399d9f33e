#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cq/run.h"

namespace cq {

/// Set in the environment of a master that is a job.
inline constexpr const char* kMasterJobVariable = "CQ_MASTER_JOB";

/// A run's master as a job of a batch system, which goes on with the run when it starts.
struct MasterJob {
  /// One whose jobs outlive whoever submits them (SchedulerTraits).
  std::string scheduler = "slurm";
  std::string run_dir;
  /// All words of `cq resume …`, the program first.
  std::vector<std::string> command;
  unsigned cpus = 1;
  /// Values of its template: `--set-master`.
  std::map<std::string, std::string> set;
};

/// That of a run with these options, which its `command` goes on with.
MasterJob PlanMasterJob(const RunOptions& options, std::string run_dir,
                        std::vector<std::string> command);
/// The submission script, as filled. Throws UsageError for one that could not be submitted.
std::string ScriptOf(const MasterJob& job);
/// Submits it, and notes that in the run's directory. Returns what it is called. Throws Error.
std::string SubmitMasterJob(const MasterJob& job);
/// Of the run's last one that is in its scheduler's queue, or runs: which it is and how it stands,
/// as "slurm 12_1 waits (Priority)"; none: there is none. Asks the scheduler. Throws Error.
std::optional<std::string> MasterJobOf(const std::string& run_dir);
/// It has done what there was to do.
void ForgetMasterJob(const std::string& run_dir);
/// Cancels it. Returns what it is called; none: there is none. Throws Error.
std::optional<std::string> CancelMasterJob(const std::string& run_dir);

}  // namespace cq
