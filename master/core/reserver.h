#pragma once

#include <optional>

#include "master/core/run_core.h"

namespace cq {

/// Keeps workers for classes that have waited for long: whoever asks for much would wait for ever
/// where those who ask for little always fit.
class Reserver {
 public:
  explicit Reserver(const RunCore& run) : run_(run) {}

  /// Which workers are kept, and for whom, from now on. Call about every second.
  static void Keep(RunCore& run);
  /// Whether a task of this class may go to the worker though it is kept for another: it ends
  /// before that could begin.
  bool LetsBy(const Worker& worker, ClassId of) const;

 private:
  void KeepFor(RunCore& run, ClassId of) const;
  const Worker* BestFor(ClassId of) const;
  std::optional<Time> RemainingOf(const Work& open) const;
  std::optional<Time> FreeIn(const Worker& worker, ClassId of) const;

  const RunCore& run_;
};

}  // namespace cq
