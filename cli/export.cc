#include "master/export.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "cli/run_lookup.h"
#include "cq/error.h"

namespace cq {
namespace {

namespace po = boost::program_options;

const HelpPage kHelp = {"cq export [RUN] [options]",
                        "Writes the results of a run as CSV, joined to its rows in input order, "
                        "also while it runs; rows without\n"
                        "an outcome are 'pending'. RUN is the run's directory; without it, the "
                        "only *.cq here, or the newest.",
                        "cq export params.cq -o so_far.csv"};

}  // namespace

int ExportCommandLine(const CommandLine& line) {
  po::options_description options("options", 100, 60);
  options.add_options()("output,o", po::value<std::string>()->value_name("FILE"),
                        "where the results go ('-': standard output) [RUN/results.csv]")(
      "quiet", "no progress; errors still")("help,h", "show this page");
  po::variables_map values;
  if (!ParseOptions(line, options, kHelp, values)) return 0;
  const std::string run = FindRun(Positional(values));
  const std::string output =
      values.count("output") > 0 ? values["output"].as<std::string>() : run + "/results.csv";
  ProgressPrinter printer(values.count("quiet") > 0);
  RunProgress progress;
  progress.phase = RunProgress::Phase::kExporting;
  ExportResults(OpenToRead(run), run, output, [&](uint64_t rows) {
    progress.done = rows;
    printer.Progress(progress);
  });
  return 0;
}

}  // namespace cq
