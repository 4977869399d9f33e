#include "master/loop/replay.h"

#include <algorithm>
#include <string>
#include <vector>

#include "master/journal/endings_table.h"
#include "master/loop/asking.h"

namespace cq {
namespace {

/// So many endings are read at a time: their rows in the order of the input.
constexpr size_t kAtOnce = 10'000;

using Ending = EndingsCursor::Ending;

void AppendEndings(std::deque<Telling>& replay, std::vector<Ending>& endings, TaskSource& rows,
                   const RowForm& form) {
  std::vector<Ending*> by_task;
  by_task.reserve(endings.size());
  for (Ending& ending : endings) by_task.push_back(&ending);
  std::sort(by_task.begin(), by_task.end(),
            [](const Ending* a, const Ending* b) { return a->task < b->task; });
  for (Ending* ending : by_task) {
    if (!ending->fields) ending->fields = rows.Fields(ending->task);
  }
  for (const Ending& ending : endings) {
    // What it answered is kept up to some of them.
    if (!replay.empty() && replay.back().known != ending.answered) replay.emplace_back();
    Telling& telling = RoomIn(replay);
    telling.known = ending.answered;
    telling.last = ending.task;
    ++telling.count;
    AppendEnding(telling.endings, ending.task, ending.outcome, *ending.fields, ending.returned,
                 form);
  }
  endings.clear();
}

}  // namespace

std::deque<Telling> Replay(Database& journal, const TaskSet& closed, const ReplayedRun& run,
                           TaskSource& rows) {
  const bool asks = run.kind == Asker::Kind::kIsAsked;
  std::deque<Telling> replay;
  EndingsCursor cursor(journal, asks);
  std::vector<Ending> endings;
  Ending ending;
  while (cursor.Next(ending)) {
    endings.push_back(std::move(ending));
    if (endings.size() == kAtOnce) AppendEndings(replay, endings, rows, run.form);
  }
  AppendEndings(replay, endings, rows, run.form);
  for (TaskId task = 1; asks && task <= run.last; ++task) {
    if (closed.Contains(task)) continue;
    if (replay.empty() || replay.back().count > 0) replay.emplace_back();
    AppendRow(RoomIn(replay).waiting, task, rows.Fields(task), run.form);
  }
  return replay;
}

}  // namespace cq
