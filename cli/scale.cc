#include <fmt/format.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kScaleHelp = {
    "cq scale [RUN] -w N|MIN:MAX [--pool NAME]",
    "Gives a live run other numbers of workers: more are submitted, and of more than may be those "
    "with least to do\n"
    "finish what they run and leave. A pool for which nothing more was submitted tries again. A "
    "resume starts with\n"
    "what 'cq run' or 'cq resume' was told last. RUN is the run's directory; without it, the only "
    "*.cq here, or\n"
    "the newest.",
    "cq scale params.cq -w 20"};

po::options_description ScaleDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("workers,w", po::value<std::string>()->value_name("N|MIN:MAX"),
                        "so many workers from now on, or as many as there is work for")(
      "pool", po::value<std::string>()->value_name("NAME"),
      "of this pool, where there are several")("help,h", "show this page");
  return options;
}

int ScaleCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kScale, values)) return 0;
  if (values.count("workers") == 0) throw UsageError("cq scale: -w says how many workers");
  const auto text = values["workers"].as<std::string>();
  const WorkerRange range = ParseWorkers(text, "--workers");
  const std::string run = FindRun(Positional(values), true);
  if (!MasterMayLive(run)) {
    throw UsageError(fmt::format("'{}' does not run: cq resume {} -w {}", run, run, text));
  }
  const std::string pool = values.count("pool") > 0 ? values["pool"].as<std::string>() : "";
  const OrderedJson how = {
      {"pool", pool}, {"least", range.least.value_or(range.most)}, {"most", range.most}};
  AskMaster(run, RequestKind::kResize, JsonText(how));
  fmt::print("{}: {}{} workers from now on{}\n", run,
             range.least ? fmt::format("{} to ", *range.least) : "", range.most,
             pool.empty() ? "" : fmt::format(" in the pool '{}'", pool));
  return 0;
}

}  // namespace

const Subcommand kScale = {"scale", "give a live run more workers, or fewer", kScaleHelp,
                           ScaleDescription, ScaleCommandLine};

}  // namespace cq
