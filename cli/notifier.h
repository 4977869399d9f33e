#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "cq/run.h"
#include "cq/run_observer.h"

namespace cq {

/// Starts the user's command when a row fails for the first time, when nothing has moved for long,
/// and at the end, each once a start of the run. `CQ_EVENT` says which (failure, stall, end),
/// `CQ_RUN_DIR` of which run, `CQ_TASKS`, `CQ_DONE` and `CQ_FAILED` how far it is, and at the end
/// `CQ_STATUS` its exit status.
class Notifier {
 public:
  /// An empty command is never started.
  Notifier(std::string command, std::string run_dir, std::chrono::milliseconds stall);
  /// It waits for none of them.
  void OnProgress(const RunProgress& progress);
  /// Waits until what it has started has ended, for a minute at most.
  void OnEnd(const RunSummary& summary);

 private:
  void Tell(const char* event, const std::string& status);

  const std::string command_;
  const std::string run_dir_;
  const std::chrono::milliseconds stall_;
  RunProgress last_;
  std::chrono::steady_clock::time_point moved_ = std::chrono::steady_clock::now();
  bool told_failure_ = false;
  bool told_stall_ = false;
  std::vector<pid_t> started_;
};

}  // namespace cq
