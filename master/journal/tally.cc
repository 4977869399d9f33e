#include "master/journal/tally.h"

#include <algorithm>

#include "base/json.h"
#include "master/core/row_range.h"
#include "master/journal/pushed_table.h"
#include "master/journal/recovery.h"

namespace cq {
namespace {

void Count(Statement& counts, Tally& tally) {
  while (counts.Step()) {
    tally.outcomes.at(static_cast<size_t>(counts.Int(0))) += static_cast<uint64_t>(counts.Int(1));
  }
  counts.Reset();
}

// Those beyond the limit may have results, too.
void CountFirst(Database& journal, uint64_t limit, Tally& tally) {
  auto counts = journal.Prepare(
      "SELECT outcome, count(*) FROM results WHERE task BETWEEN ?1 AND ?2 GROUP BY outcome");
  for (const RowRange& range : ReadRanges(journal)) {
    if (range.position > limit) break;
    const uint64_t rows = std::min(range.rows, limit - range.position + 1);
    counts.Bind(1, static_cast<int64_t>(range.task));
    counts.Bind(2, static_cast<int64_t>(range.task + rows - 1));
    Count(counts, tally);
  }
}

void CountPushed(Database& journal, Tally& tally) {
  auto counts = journal.Prepare(
      "SELECT coalesce(r.outcome, -1), count(*) FROM live_pushed p LEFT JOIN results r USING(task)"
      " GROUP BY 1");
  while (counts.Step()) {
    const auto count = static_cast<uint64_t>(counts.Int(1));
    tally.tasks += count;
    if (counts.Int(0) >= 0) tally.outcomes.at(static_cast<size_t>(counts.Int(0))) += count;
  }
}

}  // namespace

void SetProblem(Database& journal, const std::string& problem) {
  journal.Prepare("INSERT OR REPLACE INTO meta VALUES(?1, ?2)")
      .BindText(1, kProblem)
      .BindText(2, JsonText(problem))
      .Run();
}

Tally TallyOf(Database& journal, const RunDefinition& definition) {
  Tally tally;
  tally.tasks = definition.tasks();
  const bool grown = HasPushed(journal);
  if (definition.limit != 0) {
    CountFirst(journal, definition.limit, tally);
  } else {
    auto counts = journal.Prepare(
        grown ? "SELECT outcome, count(*) FROM results WHERE task NOT IN (SELECT task FROM pushed)"
                " GROUP BY outcome"
              : "SELECT outcome, count(*) FROM results GROUP BY outcome");
    Count(counts, tally);
  }
  if (grown) CountPushed(journal, tally);
  const std::string halted = MetaText(journal, kHalted);
  const std::string problem = MetaText(journal, kProblem);
  if (!problem.empty()) tally.problem = ParseJson(problem).get<std::string>();
  if (halted == "1" || halted == "2") tally.halted = static_cast<Halt::Of>(halted[0] - '0');
  return tally;
}

}  // namespace cq
