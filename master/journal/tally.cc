#include "master/journal/tally.h"

#include <fmt/format.h>

#include "master/journal/pushed_table.h"

namespace cq {

Tally TallyOf(Database& journal, const RunDefinition& definition) {
  Tally tally;
  tally.tasks = definition.tasks() + LivePushed(journal).size();
  const bool grown = tally.tasks > definition.tasks() || HasPushed(journal);
  auto counts = journal.Prepare(fmt::format(
      "SELECT outcome, count(*) FROM results {} GROUP BY outcome",
      !grown ? ""
             : "WHERE task NOT IN (SELECT task FROM pushed) OR task IN (SELECT task FROM"
               " live_pushed)"));
  while (counts.Step()) {
    tally.outcomes.at(static_cast<size_t>(counts.Int(0))) = static_cast<uint64_t>(counts.Int(1));
  }
  return tally;
}

}  // namespace cq
