#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "cq/run.h"
#include "cq/run_observer.h"
#include "master/core/ledger.h"
#include "master/run/readers.h"
#include "master/run/run_directory.h"

// How a run over rows ends: when it may, what has become of it, and what is made of its results.
namespace cq {

/// What the parts below have in common.
struct RunEnding {
  const RunOptions& options;
  RunDirectory& directory;
  RunObserver& observer;
  std::chrono::steady_clock::time_point begun;
};

/// --halt and --max-failures.
std::vector<Halt> HaltsOf(const RunOptions& options);
/// Sets its status by its outcomes: 0 or 1. `halted`: the rule that ended it.
void Judge(RunSummary& summary, const std::optional<Halt>& halted);
SlotTime SlotTimeOf(const Ledger& ledger);
/// `rows`: those of the input. What goes wrong is in the summary, with exit status 3.
void Export(const RunEnding& run, uint64_t rows, RunSummary& summary);
/// Whoever reads the results gets the rest. What goes wrong is in the summary, and in the journal
/// for whoever asks later.
void FinishReaders(Readers& readers, const RunEnding& run, RunSummary& summary);

}  // namespace cq
