#include "cli/master_job.h"

#include <fmt/format.h>

#include <cstdlib>
#include <set>
#include <thread>
#include <utility>

#include "base/files.h"
#include "cli/interrupts.h"
#include "cli/recorded.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/run/master_job.h"
#include "master/run/run_directory.h"
#include "protocol/command.h"
#include "protocol/own_program.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr std::chrono::seconds kAskEvery{5};
/// A master that died elsewhere is known to be dead before that.
constexpr std::chrono::minutes kFreeWithin{2};

// What of this start alone its command line says, too; all else the run's directory has. What
// changes the run itself is done when it is prepared: a job may start several times.
std::vector<std::string> WordsOf(const CommandLine& line) {
  static const std::set<std::string> kOfPreparing = {
      "run-dir", "fresh",      "detach",     "dry-run", "json",     "failed",
      "keep",    "master-job", "set-master", "rerun",   "take-over"};
  std::vector<std::string> words;
  for (const std::string& word : OptionsOf(line, RunOptionsDescription())) {
    const std::string name = word.substr(2, word.find('=') - 2);
    const RunOption* option = FindRunOption(name);
    if (option == nullptr || option->record != RunOption::Record::kOneStart) continue;
    if (!kOfPreparing.contains(name)) words.push_back(word);
  }
  return words;
}

MasterJob JobOf(const CommandLine& line, const RunOptions& options, const std::string& directory) {
  std::vector<std::string> command = OwnCommand();
  command.insert(command.end(), {"resume", directory});
  const auto words = WordsOf(line);
  command.insert(command.end(), words.begin(), words.end());
  return PlanMasterJob(options, directory, std::move(command));
}

}  // namespace

bool IsMasterJob() {
  static const bool is_job = [] {
    const bool so = getenv(kMasterJobVariable) != nullptr;
    unsetenv(kMasterJobVariable);
    return so;
  }();
  return is_job;
}

void RequireNoMasterJob(const std::string& directory) {
  if (!IsRunDirectory(directory)) return;
  if (IsMasterJob()) {
    // It was started again: where the one before was, nobody may have seen its end yet.
    const auto until = std::chrono::steady_clock::now() + kFreeWithin;
    while (MasterMayLive(directory) && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    return;
  }
  if (MasterMayLive(directory)) return;
  if (const auto waits = MasterJobOf(directory)) {
    throw UsageError(fmt::format("the master of '{}' is a job already, {}: 'cq cancel {}' ends it",
                                 directory, *waits, ShellQuote(directory)));
  }
}

std::string MasterScript(const CommandLine& line, const RunOptions& options,
                         const std::string& directory) {
  return ScriptOf(JobOf(line, options, directory));
}

int GoAsJob(const CommandLine& line, const po::variables_map& values, RunOptions options,
            const std::string& directory, RunObserver& observer) {
  if (values.count("json") > 0 || options.keep_order || options.tail || options.output == "-") {
    throw UsageError("--master-job: nobody reads what --json, -k, --tail and -o - would write");
  }
  const Fd interrupt = InterruptFd();
  const std::string run = ShellQuote(directory);
  const MasterJob job = JobOf(line, options, directory);
  ScriptOf(job);
  if (job.scheduler == "slurm" && FindProgram("sbatch", OwnPath(), ".").empty()) {
    throw UsageError("--master-job: there is no sbatch here to submit it with");
  }
  if (IsRunDirectory(directory) && MasterMayLive(directory)) {
    throw UsageError(fmt::format("'{}' has a master already: cq attach {}", directory, run));
  }
  options.prepare_only = true;
  options.signal_fd = interrupt.get();
  options.record = RecordOf(line, options);
  Run(options, observer);
  try {
    fmt::print("{}: its master is the job {}\nto follow it: cq attach {}\n", directory,
               SubmitMasterJob(job), run);
    fmt::print("to wait for its end: cq wait {}\n", run);
  } catch (const Error& error) {
    throw Error(fmt::format("{}; the run is there: cq resume {} --master-job", error.what(), run));
  }
  return 0;
}

bool MasterWatch::Lives() {
  if (MasterMayLive(run_dir_)) {
    job_.reset();
    return true;
  }
  // One that was there a moment ago may be in the queue again.
  const auto now = std::chrono::steady_clock::now();
  if (!job_ || now - asked_ >= kAskEvery) {
    asked_ = now;
    try {
      job_ = MasterJobOf(run_dir_);
    } catch (const Error&) {
      // Its scheduler does not answer now: as it was, if it was anything.
      if (!job_) throw;
    }
  }
  return job_.has_value();
}

}  // namespace cq
