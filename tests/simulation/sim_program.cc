#include "tests/simulation/sim_program.h"

#include <algorithm>

namespace cq::sim {

TaskId SimProgram::Start(SimJournal& journal, Recovered& recovered) {
  known_ = journal.calls();
  submitted_.clear();
  next_ = 1;
  last_ = journal.mark();
  TaskSet called;
  for (const auto& [call, task] : known_) {
    last_ = std::max(last_, task);
    called.Insert(task);
    if (!journal.Has(task)) recovered.held_back.push_back(task);
  }
  for (TaskId task = 1; task <= last_; ++task) {
    if (called.Contains(task)) continue;
    recovered.closed.Insert(task);
    ++recovered.closed_count;
  }
  // What is known may go out before any other mark is durable.
  journal.SetMark(last_);
  recovered.mark = last_;
  return last_;
}

std::optional<SimProgram::Submission> SimProgram::Next() {
  if (next_ > calls_) return std::nullopt;
  Submission submission;
  submission.call = next_++;
  const auto known = known_.find(submission.call);
  submission.known = known != known_.end();
  submission.task = submission.known ? known->second : ++last_;
  submitted_.insert(submission.task);
  return submission;
}

}  // namespace cq::sim
