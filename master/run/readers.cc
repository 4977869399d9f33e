#include "master/run/readers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <exception>

#include "base/files.h"

namespace cq {

Readers::Readers(const RunOptions& options, const RunDefinition& definition,
                 const ProgramBeside& reduce, Database& journal, bool live, RunObserver& observer)
    : observer_(observer), shown_(options.show_reduced ? reduce.run_dir + "/reduced" : "") {
  using Order = ResultFeed::Order;
  ResultFeed::Options feed{reduce.run_dir, Order::kInput, options.limit};
  // Where it cannot be shared, it is read once the master has closed it.
  feed.live = live && !journal.exclusive();
  if (options.keep_order || options.tail) {
    output_ = std::make_unique<ShownOutput>();
    feed.order = options.keep_order ? Order::kInput : Order::kFresh;
    to_output_ = std::make_unique<ResultFeed>(feed, journal, *output_);
  }
  if (reduce.words.empty()) return;
  const bool prints = !definition.served() && !definition.parse_json;
  const RowForm form{definition.columns, definition.types, {}};
  reducer_ = std::make_unique<Reducer>(Reducer::Options{reduce, form, prints});
  feed.order = options.reduce_unordered ? Order::kAnyOrder : Order::kInput;
  feed.fields = true;
  to_reducer_ = std::make_unique<ResultFeed>(feed, journal, *reducer_);
}

void Readers::OnCommitted(const Committed& committed) {
  if (to_output_) to_output_->OnCommitted(committed);
  if (!to_reducer_) return;
  to_reducer_->OnCommitted(committed);
  if (told_failure_ || !reducer_->HasFailed()) return;
  told_failure_ = true;
  observer_.Warning(
      "the program of --reduce has failed (reduce.log): the run goes on, and a resume reduces "
      "anew");
}

std::string Readers::Finish(const Ending& ending) {
  std::string problem;
  const auto add = [&](const std::string& text) {
    if (!text.empty()) problem += (problem.empty() ? "" : "; ") + text;
  };
  try {
    if (to_output_) add(to_output_->Finish(ending));
    if (output_) add(output_->problem());
    if (output_ && output_->cut() > 0) {
      observer_.Warning(fmt::format(
          "{} tasks printed more than is kept: the first 16 KiB and the last 48 were shown",
          output_->cut()));
    }
    if (reducer_) add(Reduce(ending));
  } catch (const std::exception& error) {
    add(error.what());
  }
  return problem;
}

std::string Readers::Reduce(const Ending& ending) {
  if (!ending.whole) {
    // First: it is not to see an end of what it reads.
    reducer_->Kill();
    to_reducer_.reset();
    return "--reduce: nothing was made of the results so far, since not all rows have ended";
  }
  observer_.Note("all rows have ended: --reduce is waited for");
  std::string problem = to_reducer_->Finish(ending);
  if (problem.empty()) problem = reducer_->Finish(ending);
  if (!problem.empty()) return problem;
  const bool shown =
      shown_.empty() || WriteWhileWanted(STDOUT_FILENO, ReadFile(shown_), ending.hurry_fd);
  return shown || errno == EPIPE ? "" : CannotShow(errno);
}

}  // namespace cq
