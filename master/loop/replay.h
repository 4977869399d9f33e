#pragma once

#include <deque>

#include "master/core/asker.h"
#include "master/core/task_table.h"
#include "master/input/task_source.h"
#include "master/journal/database.h"
#include "master/proposer/proposer_lines.h"

namespace cq {

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
