#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/database.h"
#include "master/export.h"
#include "master/run_definition.h"
#include "master/run_directory.h"

namespace cq {
namespace {

namespace po = boost::program_options;

const HelpPage kHelp = {
    "cq status [RUN] [options]",
    "Says how far a run is. RUN is the run's directory; without it, the only *.cq here, or the "
    "newest.\n"
    "Exit status: 0 finished, all ok; 1 finished with failures; 4 running; 5 interrupted.",
    "cq status params.cq"};

}  // namespace

int StatusCommandLine(const CommandLine& line) {
  po::options_description options("options", 100, 60);
  options.add_options()("json", "as one JSON object")("help,h", "show this page");
  po::variables_map values;
  if (!ParseOptions(line, options, kHelp, values)) return 0;
  const std::string run = FindRun(Positional(values));

  // Before the journal is read: a master that ends in between has written everything by then.
  const bool live = HeldByMaster(run);
  Database journal = OpenToRead(run);
  const RunDefinition definition = ReadDefinition(journal);
  nlohmann::ordered_json counts;
  uint64_t done = 0;
  uint64_t ok = 0;
  auto rows = journal.Prepare("SELECT outcome, count(*) FROM results GROUP BY outcome ORDER BY 1");
  while (rows.Step()) {
    const auto count = static_cast<uint64_t>(rows.Int(1));
    counts[OutcomeName(static_cast<int>(rows.Int(0)))] = count;
    done += count;
    if (rows.Int(0) == 0) ok = count;
  }
  const uint64_t tasks = definition.tasks();
  const int status = live ? 4 : done < tasks ? 5 : ok < tasks ? 1 : 0;
  const char* state = live ? "running" : done < tasks ? "interrupted" : "finished";
  if (values.count("json") > 0) {
    nlohmann::ordered_json json = {
        {"run_dir", run}, {"state", state}, {"tasks", tasks}, {"done", done}, {"outcomes", counts}};
    fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return status;
  }
  fmt::print("{}: {}, {} of {} tasks done\n", run, state, done, tasks);
  for (const auto& [name, count] : counts.items()) {
    fmt::print("  {:<10} {}\n", name, count.get<uint64_t>());
  }
  if (done < tasks) fmt::print("  {:<10} {}\n", "pending", tasks - done);
  return status;
}

}  // namespace cq
