#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace cq {

/// A moment of a run.
struct RunProgress {
  enum class Phase { kReading, kRunning, kExporting };
  Phase phase = Phase::kReading;
  uint64_t tasks = 0;
  uint64_t done = 0;
  /// Done but not ok; and how many were so when this master started.
  uint64_t failed = 0;
  uint64_t failed_before = 0;
  uint64_t running = 0;
  uint64_t workers = 0;
  uint64_t pending_workers = 0;
  std::string pending_reason;
  double seconds = 0;
  /// How many seconds it takes still, at least and at most, if the rows that are left are as the
  /// last ones were; none: nobody can tell.
  std::optional<std::pair<double, double>> left;
};

/// Gets what a user may want to see; called from the thread that runs.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// The input is good, and the workers are about to be started; of each pool, whose name is empty
  /// if it is the only one.
  virtual void Started(const std::string& /*pool*/, unsigned /*least*/, unsigned /*workers*/,
                       unsigned /*slots*/) {}
  /// Something worth saying before the start.
  virtual void Resumed(const std::string& /*what*/) {}
  /// Several times a second.
  virtual void Progress(const RunProgress&) {}
  /// A change of the workers, or the like.
  virtual void Note(const std::string&) {}
  /// Something went wrong; the run goes on.
  virtual void Warning(const std::string&) {}
};

}  // namespace cq
