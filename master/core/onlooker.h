#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "master/core/run_core.h"
#include "master/core/run_view.h"

namespace cq {

/// What people are told of a run: it looks at everything and changes nothing.
class Onlooker {
 public:
  Onlooker(RunCore& run, Time now) : run_(run), now_(now) { run_.OnTime(now); }

  /// What goes on, with so many of the rows that run and of the workers.
  RunView Look(size_t rows, size_t workers) const;
  /// Why a task has not ended, in lines.
  std::vector<std::string> Explain(TaskId task);
  /// As RunView::left. `worked`: what those that run have behind them, in seconds of a slot.
  std::optional<std::pair<Time, Time>> TimeToEnd(double worked) const;
  /// Why a worker that is not gone takes nothing, or is not heard; empty: it works.
  std::string StateOf(const Worker& worker) const;

 private:
  RunView::Member MemberOf(const Worker& worker) const;
  const Pace& PaceOf(const TaskClass& one) const;
  std::string Bound(const RunView& view) const;
  void ExplainOut(TaskId task, const Work& open, std::vector<std::string>& lines) const;
  void ExplainWaiting(const Work& open, std::vector<std::string>& lines) const;
  void ExplainReady(TaskId task, const Work* open, std::vector<std::string>& lines);

  RunCore& run_;
  const Time now_;
};

}  // namespace cq
