#include "master/run/cancel.h"

#include <fmt/format.h>

#include <cstdio>

#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/run/master_job.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kCancelHelp = {
    "cq cancel [RUN] [options]",
    "Ends a run now: what runs is killed, what is done is kept, and its jobs leave the scheduler's "
    "queue. 'cq resume'\n"
    "goes on with it. Works from every machine that sees the run directory; of a run whose master "
    "is gone, it cancels\n"
    "the jobs that are left. A run that has ended is left alone. RUN is the run's directory; "
    "without "
    "it, the only *.cq\n"
    "here, or the newest.",
    "cq cancel params.cq --drain"};

po::options_description CancelDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("drain", "finish what runs, start nothing more")("help,h",
                                                                         "show this page");
  return options;
}

int CancelCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kCancel, values)) return 0;
  const std::string run = FindRun(Positional(values));
  if (MasterMayLive(run)) {
    const bool drain = values.count("drain") > 0;
    try {
      fmt::print("{}: {}\n", run, AskMaster(run, drain ? RequestKind::kDrain : RequestKind::kStop));
      return 0;
    } catch (const Error&) {
      // Of a job that nobody reaches its batch system is told; told to end, it ends its workers.
      const auto job = drain ? std::nullopt : CancelMasterJob(run);
      if (!job) throw;
      fmt::print("{}: cancelled its master, {}\n", run, *job);
      return 0;
    }
  }
  const auto say = [](const std::string& text) {
    fmt::print("{}\n", text);
    std::fflush(stdout);
  };
  // First: it is not to begin while its workers' jobs are cancelled.
  std::optional<std::string> master;
  try {
    master = CancelMasterJob(run);
  } catch (const Error& error) {
    say(fmt::format("whether its master is a job that waits is not known: {}", error.what()));
  }
  auto cancelled = CancelLeftJobs(run, say);
  if (master) cancelled.insert(cancelled.begin(), *master);
  if (cancelled.empty()) fmt::print("{}: nothing of it is left to cancel\n", run);
  for (const std::string& job : cancelled) fmt::print("{}: cancelled {}\n", run, job);
  return 0;
}

}  // namespace

const Subcommand kCancel = {"cancel", "end a run, from anywhere", kCancelHelp, CancelDescription,
                            CancelCommandLine};

}  // namespace cq
