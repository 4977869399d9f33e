#include "master/run/export.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/journal/database.h"
#include "master/journal/run_definition.h"
#include "master/run/output_file.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kExportHelp = {
    "cq export [RUN] [options]",
    "Writes the results of a run as CSV, joined to its rows in input order, "
    "also while it runs; rows without\n"
    "an outcome are 'pending'. RUN is the run's directory; without it, the "
    "only *.cq here, or the newest.",
    "cq export params.cq -o so_far.csv"};

int ExportBlob(Database& journal, uint64_t task, const std::string& output) {
  auto row = journal.Prepare("SELECT bytes FROM blobs WHERE task = ?1");
  row.Bind(1, static_cast<int64_t>(task));
  if (!row.Step()) throw UsageError(fmt::format("--blob {}: this task has returned none", task));
  OutputFile file(output);
  file.Append(row.Text(0));
  file.Close();
  return 0;
}

po::options_description ExportDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("output,o", po::value<std::string>()->value_name("FILE"),
                        "where the results go ('-': standard output) [RUN/results.csv]")(
      "blob", po::value<std::string>()->value_name("TASK"),
      "the bytes of the object that this task returned, instead of the results [to standard "
      "output]")("quiet", "no progress; errors still")("help,h", "show this page");
  return options;
}

int ExportCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kExport, values)) return 0;
  const std::string run = FindRun(Positional(values));
  const std::string output =
      values.count("output") > 0 ? values["output"].as<std::string>() : run + "/results.csv";
  if (values.count("output") > 0) {
    Database journal = OpenToRead(run);
    CheckOutput(output, ReadDefinition(journal).input);
  }
  if (values.count("blob") > 0) {
    if (values.count("output") == 0) CheckStandardOutput("--blob");
    Database journal = OpenToRead(run);
    const auto task = ParseCount(values["blob"].as<std::string>(), "--blob", 1);
    return ExportBlob(journal, task, values.count("output") > 0 ? output : "-");
  }
  ProgressPrinter printer(values.count("quiet") > 0);
  RunProgress progress;
  progress.phase = RunProgress::Phase::kExporting;
  ExportResults(OpenToRead(run), run, output, [&](uint64_t rows) {
    progress.done = rows;
    printer.Progress(progress);
  });
  return 0;
}

}  // namespace

const Subcommand kExport = {"export", "write the results of a run as CSV", kExportHelp,
                            ExportDescription, ExportCommandLine};

}  // namespace cq
