#pragma once

#include <memory>
#include <string>

#include "cq/run.h"
#include "cq/run_observer.h"
#include "master/journal/run_definition.h"
#include "master/run/reducer.h"
#include "master/run/result_feed.h"
#include "master/run/shown_output.h"

namespace cq {

/// Whoever reads the results of a run while it goes on: our standard output (--keep-order, --tail),
/// and the program of --reduce.
class Readers {
 public:
  /// `journal` as for ResultFeed. `live`: the run is about to go on; else it has ended. Throws
  /// Error where the program cannot be started.
  Readers(const RunOptions& options, const RunDefinition& definition, const ProgramBeside& reduce,
          Database& journal, bool live, RunObserver& observer);

  void OnCommitted(const Committed& committed);
  struct Ending : ReadersPatience {
    /// All rows of the run have ended, or as many as were to. Of a part of them the program makes
    /// nothing.
    bool whole = true;
  };
  /// The run has come to its end. Returns what went wrong, for people.
  std::string Finish(const Ending& ending);

 private:
  std::string Reduce(const Ending& ending);

  RunObserver& observer_;
  /// What is shown at the end, if anything.
  std::string shown_;
  std::unique_ptr<ShownOutput> output_;
  std::unique_ptr<Reducer> reducer_;
  /// The feeds of both.
  std::unique_ptr<ResultFeed> to_output_;
  std::unique_ptr<ResultFeed> to_reducer_;
  bool told_failure_ = false;
};

}  // namespace cq
