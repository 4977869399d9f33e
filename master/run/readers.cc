#include "master/run/readers.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/files.h"

namespace cq {

Readers::Readers(const RunOptions& options, const RunDefinition& definition,
                 const ProgramBeside& reduce, bool live)
    : shown_(options.show_reduced ? reduce.run_dir + "/reduced" : "") {
  using Order = ResultFeed::Order;
  const auto feed = [&](Order order, ResultTaker& taker) {
    return std::make_unique<ResultFeed>(
        ResultFeed::Options{reduce.run_dir, order, options.limit, live}, taker);
  };
  if (options.keep_order || options.tail) {
    output_ = std::make_unique<LiveOutput>();
    to_output_ = feed(options.keep_order ? Order::kInput : Order::kFresh, *output_);
  }
  if (reduce.words.empty()) return;
  const bool prints = !definition.served() && !definition.parse_json;
  const RowForm form{definition.columns, definition.types, {}};
  reducer_ = std::make_unique<Reducer>(Reducer::Options{reduce, form, prints});
  to_reducer_ = feed(options.reduce_unordered ? Order::kAnyOrder : Order::kInput, *reducer_);
}

void Readers::OnCommitted(const Committed& committed) {
  if (to_output_) to_output_->OnCommitted(committed);
  if (to_reducer_) to_reducer_->OnCommitted(committed);
}

std::string Readers::Finish(bool all, int hurry_fd) {
  std::string problem = to_output_ ? to_output_->Finish(hurry_fd) : "";
  if (!reducer_) return problem;
  const std::string reducing = FinishReducer(all, hurry_fd);
  if (!problem.empty() && !reducing.empty()) problem += "; ";
  return problem + reducing;
}

std::string Readers::FinishReducer(bool all, int hurry_fd) {
  if (!all) return "--reduce: nothing was made of the results so far, since the run has not ended";
  std::string problem = to_reducer_->Finish(hurry_fd);
  if (problem.empty()) problem = reducer_->Finish(hurry_fd);
  if (!problem.empty()) return problem;
  if (!shown_.empty()) WriteWhileWanted(STDOUT_FILENO, ReadFile(shown_), hurry_fd);
  return {};
}

}  // namespace cq
