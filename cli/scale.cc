#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/run/run_directory.h"
#include "protocol/pool_file.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kScaleHelp = {
    "cq scale [RUN|POOL] -w N|MIN:MAX [--pool NAME]",
    "Gives a live run, or a warm pool, other numbers of workers: more are submitted, and of more "
    "than may be those\n"
    "with least to do finish what they run and leave (of a pool, when the runs that have its slots "
    "are done with what\n"
    "runs there). A pool for which nothing more was submitted tries again. A resume starts with "
    "what 'cq run' or 'cq\n"
    "resume' was told last. RUN is the run's directory; without it, the only *.cq here, or the "
    "newest. POOL is the name\n"
    "of a warm pool ('cq pool list').",
    "cq scale params.cq -w 20"};

po::options_description ScaleDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("workers,w", po::value<std::string>()->value_name("N|MIN:MAX"),
                        "so many workers from now on, or as many as there is work for")(
      "pool", po::value<std::string>()->value_name("NAME"),
      "of this pool, where there are several")("help,h", "show this page");
  return options;
}

std::string Shown(const WorkerRange& range) {
  return fmt::format("{}{} workers from now on",
                     range.least ? fmt::format("{} to ", *range.least) : "", range.most);
}

// A name without a path, of a pool.
bool IsPool(const std::vector<std::string>& words) {
  if (words.size() != 1 || words[0].find('/') != std::string::npos) return false;
  const std::string& name = words[0];
  const auto pools = PoolNames();
  if (std::find(pools.begin(), pools.end(), name) == pools.end()) return false;
  for (const std::string& run : {name, name + ".cq"}) {
    if (!std::filesystem::exists(std::filesystem::path(run) / "journal.db")) continue;
    throw UsageError(
        fmt::format("'{}' is a warm pool and a run here: './{}' is the run; for the pool, ask from "
                    "another directory",
                    name, run));
  }
  return true;
}

int ScalePool(const std::string& name, const WorkerRange& range) {
  const PoolFile pool = ReadPoolFile(name);
  if (const std::string why = WhyUnreachable(pool); !why.empty()) throw UsageError(why);
  const auto answer = AskPool(
      pool, {{"say", "scale"}, {"least", range.least.value_or(range.most)}, {"most", range.most}});
  if (!answer) throw Error(fmt::format("the pool '{}' does not answer", name));
  if (const auto problem = (*answer)["problem"].get<std::string>(); !problem.empty()) {
    throw Error(fmt::format("the pool '{}': {}", name, problem));
  }
  fmt::print("the pool '{}': {}\n", name, Shown(range));
  return 0;
}

int ScaleCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kScale, values)) return 0;
  if (values.count("workers") == 0) throw UsageError("cq scale: -w says how many workers");
  const auto text = values["workers"].as<std::string>();
  const WorkerRange range = ParseWorkers(text, "--workers");
  const auto words = Positional(values);
  if (IsPool(words)) {
    if (values.count("pool") > 0) throw UsageError("--pool is one of a run's pools");
    return ScalePool(words[0], range);
  }
  const bool named = words.size() == 1 && words[0].find('/') == std::string::npos;
  if (named && !std::filesystem::exists(words[0]) && !std::filesystem::exists(words[0] + ".cq")) {
    throw UsageError(fmt::format(
        "'{}' is neither a run here nor a warm pool: 'cq pool list' shows the pools", words[0]));
  }
  const std::string run = FindRun(words, true);
  if (!MasterMayLive(run)) {
    throw UsageError(fmt::format("'{}' does not run: cq resume {} -w {}", run, run, text));
  }
  const std::string pool = values.count("pool") > 0 ? values["pool"].as<std::string>() : "";
  const OrderedJson how = {
      {"pool", pool}, {"least", range.least.value_or(range.most)}, {"most", range.most}};
  AskMaster(run, RequestKind::kResize, JsonText(how));
  fmt::print("{}: {}{}\n", run, Shown(range),
             pool.empty() ? "" : fmt::format(" in the pool '{}'", pool));
  return 0;
}

}  // namespace

const Subcommand kScale = {"scale", "give a live run more workers, or fewer", kScaleHelp,
                           ScaleDescription, ScaleCommandLine};

}  // namespace cq
