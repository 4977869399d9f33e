#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "cli/options.h"
#include "cq/run.h"

namespace cq {

/// Whether this process is the master of a run as a job. First asked before it starts others, which
/// are not.
bool IsMasterJob();
/// Before a start of the run in `directory`: throws UsageError if its master is a job that waits,
/// or runs, and this is not it. As that job it waits until an earlier master is known to have
/// ended.
void RequireNoMasterJob(const std::string& directory);

/// Prepares a run as a start would, by the words of a command line that ask for its master to be a
/// job (--master-job), submits that, and says how to follow it. `observer`: of the first. Returns
/// the exit status. Throws UsageError.
int GoAsJob(const CommandLine& line, const boost::program_options::variables_map& values,
            RunOptions options, const std::string& directory, RunObserver& observer);

/// The script of that job.
std::string MasterScript(const CommandLine& line, const RunOptions& options,
                         const std::string& directory);

/// Whether a run has a master, or a job that is going to be one. Whoever asks often is not a burden
/// to the scheduler.
class MasterWatch {
 public:
  explicit MasterWatch(std::string run_dir) : run_dir_(std::move(run_dir)) {}
  bool Lives();
  /// How its job stands, if it has one and no master is there.
  const std::optional<std::string>& job() const { return job_; }

 private:
  const std::string run_dir_;
  std::optional<std::string> job_;
  std::chrono::steady_clock::time_point asked_{};
};

}  // namespace cq
