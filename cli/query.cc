#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/input/csv_reader.h"
#include "master/journal/database.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kQueryHelp = {
    "cq query [RUN] SQL",
    "Asks the run's journal, live or afterwards, and prints the answer as CSV. The tables are "
    "those "
    "of JOURNAL.md: results,\n"
    "failures, workers, allocations, meta, … Returned values are JSON in results.returned. Nothing "
    "can be changed this way.\n"
    "RUN is the run's directory; without it, the only *.cq here, or the newest.",
    "cq query \"SELECT worker, count(*), avg(wall_us) / 1e6 FROM results GROUP BY worker\""};

po::options_description QueryDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("help,h", "show this page");
  return options;
}

int QueryCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kQuery, values)) return 0;
  std::vector<std::string> words = Positional(values);
  if (words.empty()) throw UsageError("no SQL: cq query [RUN] SQL");
  const std::string sql = words.back();
  words.pop_back();
  Database journal = OpenToRead(FindRun(words));
  try {
    auto rows = journal.Prepare(sql);
    const int columns = rows.columns();
    for (int i = 0; i < columns; ++i) {
      fmt::print("{}{}", i == 0 ? "" : ",", CsvField(rows.Name(i)));
    }
    if (columns > 0) fmt::print("\n");
    while (rows.Step()) {
      for (int i = 0; i < columns; ++i) {
        fmt::print("{}{}", i == 0 ? "" : ",", CsvField(rows.Text(i)));
      }
      fmt::print("\n");
    }
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
  return 0;
}

}  // namespace

const Subcommand kQuery = {"query", "ask the journal of a run in SQL", kQueryHelp, QueryDescription,
                           QueryCommandLine};

}  // namespace cq
