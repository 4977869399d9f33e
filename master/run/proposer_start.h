#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cq/run.h"
#include "cq/run_observer.h"
#include "master/proposer/proposer.h"

namespace cq {

/// That a program's rows are proposed, for the helpers in its slots.
inline constexpr const char* kProposesVariable = "CQ_PROPOSES";

/// Whether a run with these options has a proposer.
Asker::Kind ProposerOf(const RunOptions& options);

/// What is started as a proposer, and in which surroundings: those of the run's tasks.
struct ProposerProgram {
  /// The first words of cq, which guards it, and is it where it is a function.
  std::vector<std::string> cq;
  /// Its words, or LIBRARY:NAME of the function whose proposer it is.
  std::vector<std::string> words;
  std::string function;
  std::string run_dir;
  std::string cwd;
  std::vector<std::pair<std::string, std::string>> env;
  std::string log;
  int interrupt_fd = -1;
  ProposerStart start;
};
/// Throws UsageError where it cannot be started, or refuses.
std::unique_ptr<Proposer> StartProposer(const ProposerProgram& program, const RowForm& form,
                                        RunObserver& observer);

}  // namespace cq
