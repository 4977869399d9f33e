#include "master/run/cancel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/json.h"
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
    "cq cancel [RUN] [TASK…] [options]",
    "Ends a run now: what runs is killed, what is done is kept, and its jobs leave the scheduler's "
    "queue. 'cq resume'\n"
    "goes on with it. Works from every machine that sees the run directory; of a run whose master "
    "is gone, it cancels\n"
    "the jobs that are left. A run that has ended is left alone. RUN is the run's directory; "
    "without "
    "it, the only *.cq\n"
    "here, or the newest.\n"
    "With numbers of tasks (cq_task), these alone end, as 'cancelled', and the run goes on without "
    "them; a resume runs\n"
    "them.",
    "cq cancel params.cq 17 18"};

po::options_description CancelDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("drain", "finish what runs, start nothing more")("help,h",
                                                                         "show this page");
  return options;
}

// Numbers are tasks.
std::vector<uint64_t> TakeTasks(std::vector<std::string>& words) {
  std::vector<uint64_t> tasks;
  const auto is_number = [](const std::string& word) {
    return word.find_first_not_of("0123456789") == std::string::npos;
  };
  const auto first = std::find_if(words.begin(), words.end(), is_number);
  for (auto word = first; word != words.end(); ++word) {
    tasks.push_back(ParseCount(*word, "TASK", 1));
  }
  words.erase(first, words.end());
  return tasks;
}

int CancelTasks(const std::string& run, const std::vector<uint64_t>& tasks) {
  if (!MasterMayLive(run)) {
    throw UsageError(fmt::format("'{}' is not running: nothing of it can be cancelled", run));
  }
  const OrderedJson question = {{"tasks", tasks}};
  const std::string ended = AskMaster(run, RequestKind::kCancelTasks, JsonText(question));
  fmt::print("{}: {} of {} tasks are cancelled{}\n", run, ended, tasks.size(),
             ended == std::to_string(tasks.size()) ? "" : "; the others had ended");
  return 0;
}

int CancelCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kCancel, values)) return 0;
  auto words = Positional(values);
  const std::vector<uint64_t> tasks = TakeTasks(words);
  const std::string run = FindRun(words);
  if (!tasks.empty() && values.count("drain") > 0) {
    throw UsageError("--drain is for a whole run, and not for tasks");
  }
  if (!tasks.empty()) return CancelTasks(run, tasks);
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
