#pragma once

#include <memory>
#include <string>

#include "cq/run.h"
#include "master/journal/run_definition.h"
#include "master/run/live_output.h"
#include "master/run/reducer.h"
#include "master/run/result_feed.h"

namespace cq {

/// Whoever reads the results of a run while it goes on: our standard output (--keep-order, --tail),
/// and the program of --reduce.
class Readers {
 public:
  /// `live`: the journal can be read while it is written. Throws Error where the program cannot be
  /// started.
  Readers(const RunOptions& options, const RunDefinition& definition, const ProgramBeside& reduce,
          bool live);

  void OnCommitted(const Committed& committed);
  /// The run has come to its end, with all its rows or not: nothing is made of some of them.
  /// Returns what went wrong, for people; returns sooner once `hurry_fd` is readable.
  std::string Finish(bool all, int hurry_fd);

 private:
  std::string FinishReducer(bool all, int hurry_fd);

  /// What is shown at the end, if anything.
  std::string shown_;
  std::unique_ptr<LiveOutput> output_;
  std::unique_ptr<Reducer> reducer_;
  /// The feeds of both.
  std::unique_ptr<ResultFeed> to_output_;
  std::unique_ptr<ResultFeed> to_reducer_;
};

}  // namespace cq
