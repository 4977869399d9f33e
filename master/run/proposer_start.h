#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cq/run.h"
#include "master/core/recovered.h"
#include "master/input/task_source.h"
#include "master/journal/database.h"
#include "master/loop/asking.h"

namespace cq {

/// That a program's rows are proposed, for the helpers in its slots.
inline constexpr const char* kProposesVariable = "CQ_PROPOSES";

/// Whether a run with these options has a proposer.
Asker::Kind ProposerOf(const RunOptions& options);

/// What is started as a proposer, and in which surroundings: those of the run's tasks.
struct ProposerProgram {
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

/// The run whose proposer is told again what it knew.
struct ReplayedRun {
  TaskId last = 0;
  Asker::Kind kind = Asker::Kind::kNone;
  RowForm form;
};
/// What it is told before anything else: all endings, in the order in which it heard of them, and,
/// where it is asked, the rows that wait or run (those that are not in `closed`).
std::deque<Telling> Replay(Database& journal, const TaskSet& closed, const ReplayedRun& run,
                           TaskSource& rows);

}  // namespace cq
