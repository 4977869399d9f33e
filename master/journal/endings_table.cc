#include "master/journal/endings_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "master/journal/pushed_table.h"
#include "master/journal/recovery.h"

namespace cq {
namespace {

/// The number of the newest ending of which the answer is kept.
int64_t Answered(Database& journal) {
  auto row = journal.Prepare("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'answered'");
  return row.Step() ? row.Int(0) : 0;
}

}  // namespace

EndingsTable::Statements::Statements(Database& db)
    : insert(db.Prepare("INSERT OR REPLACE INTO endings VALUES(?1, ?2)")),
      again(db.Prepare("UPDATE endings SET seq = ?2 WHERE task = ?1")),
      answered(db.Prepare("INSERT INTO meta SELECT 'answered', seq FROM endings WHERE task = ?1"
                          " ON CONFLICT(name) DO UPDATE SET value ="
                          " max(CAST(value AS INTEGER), excluded.value)")),
      done(db.Prepare("INSERT OR REPLACE INTO meta VALUES('proposer_done', 'true')")) {
  auto row = db.Prepare("SELECT max(seq) FROM endings");
  row.Step();
  last = std::max(row.Int(0), Answered(db));
}

EndingsTable::Statements& EndingsTable::statements() {
  if (!statements_) statements_.emplace(database_);
  return *statements_;
}

void EndingsTable::Add(TaskId first, uint64_t tasks) {
  Statements& to = statements();
  for (uint64_t i = 0; i < tasks; ++i) {
    to.insert.Bind(1, static_cast<int64_t>(first + i)).Bind(2, ++to.last).Run();
  }
}

void EndingsTable::OnBack(const std::vector<AddedRow>& added) {
  for (const AddedRow& row : added) {
    if (row.ended() == nullptr) continue;
    Statements& to = statements();
    to.again.Bind(1, static_cast<int64_t>(row.task)).Bind(2, ++to.last).Run();
  }
}

void EndingsTable::OnAnswer(const AddRecord::Proposed& answer) {
  if (answer.told != 0) {
    statements().answered.Bind(1, static_cast<int64_t>(answer.told));
    statements().answered.Run();
  }
  if (answer.done) statements().done.Run();
}

void EndingsTable::OnOthersAdd() {
  database_.Execute("DELETE FROM meta WHERE name = 'proposer_done'");
}

EndingsCursor::EndingsCursor(Database& journal, bool all)
    : answered_(Answered(journal)),
      rows_(journal.Prepare(
          fmt::format("SELECT r.task, r.outcome, r.returned, p.fields, e.seq FROM endings e"
                      " JOIN results r USING(task) LEFT JOIN pushed p USING(task){} ORDER BY e.seq",
                      all ? "" : " WHERE r.outcome = 0"))) {}

bool EndingsCursor::Next(Ending& ending) {
  if (!rows_.Step()) return false;
  ending.task = static_cast<TaskId>(rows_.Int(0));
  ending.outcome = static_cast<Outcome>(rows_.Int(1));
  ending.returned = rows_.Text(2);
  ending.fields.reset();
  if (!rows_.IsNull(3)) ending.fields = ListOfJson(ParseJson(rows_.Text(3)));
  ending.answered = rows_.Int(4) <= answered_;
  return true;
}

void OrderEndings(Database& journal, const std::vector<RowRange>& ranges, uint64_t limit) {
  std::vector<TaskId> wanted = LivePushed(journal);
  std::vector<RowRange> rows = ranges;
  std::sort(rows.begin(), rows.end(),
            [](const RowRange& a, const RowRange& b) { return a.task < b.task; });
  const auto is_wanted = [&](TaskId task) {
    const auto after = std::upper_bound(rows.begin(), rows.end(), task,
                                        [](TaskId t, const RowRange& r) { return t < r.task; });
    if (after != rows.begin()) {
      const RowRange& range = *std::prev(after);
      const uint64_t at = task - range.task;
      if (at < range.rows) return limit == 0 || range.position + at <= limit;
    }
    return std::binary_search(wanted.begin(), wanted.end(), task);
  };
  std::vector<TaskId> tasks;
  auto untold = journal.Prepare(
      "SELECT task FROM results WHERE task NOT IN (SELECT task FROM endings) ORDER BY task");
  while (untold.Step()) {
    const auto task = static_cast<TaskId>(untold.Int(0));
    if (is_wanted(task)) tasks.push_back(task);
  }
  untold.Reset();
  journal.Execute(
      "BEGIN IMMEDIATE; DELETE FROM endings WHERE task NOT IN (SELECT task FROM results)");
  EndingsTable endings(journal);
  for (const TaskId task : tasks) endings.Add(task, 1);
  journal.Execute("COMMIT");
}

bool HasAnsweredAll(Database& journal) {
  auto row = journal.Prepare(
      "SELECT 1 FROM endings JOIN results USING(task) WHERE seq > ?1 AND outcome = 0 LIMIT 1");
  row.Bind(1, Answered(journal));
  return !row.Step();
}

bool ProposerIsDone(Database& journal) { return MetaText(journal, "proposer_done") == "true"; }

}  // namespace cq
