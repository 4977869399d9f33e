#pragma once

#include <memory>
#include <string>

#include "cq/run.h"
#include "cq/run_observer.h"
#include "master/proposer/proposer.h"
#include "master/run/program_beside.h"

namespace cq {

/// That a program's rows are proposed, for the helpers in its slots.
inline constexpr const char* kProposesVariable = "CQ_PROPOSES";

/// Whether a run with these options has a proposer.
Asker::Kind ProposerOf(const RunOptions& options);

/// What is started as a proposer, and in which surroundings: those of the run's tasks.
struct ProposerProgram : ProgramBeside {
  /// LIBRARY:NAME of the function whose proposer it is, in place of words.
  std::string function;
  std::string log;
  int interrupt_fd = -1;
  ProposerStart start;
};
/// Throws UsageError where it cannot be started, or refuses.
std::unique_ptr<Proposer> StartProposer(ProposerProgram program, const RowForm& form,
                                        RunObserver& observer);

}  // namespace cq
