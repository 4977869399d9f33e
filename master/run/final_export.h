#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "cq/run_observer.h"

namespace cq {

/// The results of a run that has come to its end.
struct FinalExport {
  std::string run_dir;
  std::string output;
  /// How many rows there are at most, and since when the run goes on: for who watches.
  uint64_t rows = 0;
  std::chrono::steady_clock::time_point begun;
  /// Readable: the user wants to wait no longer. -1: none.
  int signal_fd = -1;
};
/// Writes them (ExportResults). Empty, or why they could not be.
std::string ExportAtEnd(const FinalExport& what, RunObserver& observer);

}  // namespace cq
