#include "cli/master_job.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "base/files.h"
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

// What its own command line says beside what the run's directory has: of a new run that is all but
// what is of this start alone.
std::vector<std::string> WordsOf(const CommandLine& line, bool is_new) {
  static const std::set<std::string> kOurs = {"run-dir", "fresh",      "detach",    "dry-run",
                                              "json",    "master-job", "set-master"};
  std::vector<std::string> words;
  for (const std::string& word : OptionsOf(line, RunOptionsDescription())) {
    const std::string name = word.substr(2, word.find('=') - 2);
    const RunOption* option = FindRunOption(name);
    if (option == nullptr || kOurs.contains(name)) continue;
    if (is_new && option->record != RunOption::Record::kOneStart) continue;
    words.push_back(word);
  }
  return words;
}

MasterJob JobOf(const CommandLine& line, const RunOptions& options, const std::string& directory) {
  std::vector<std::string> command = OwnCommand();
  command.insert(command.end(), {"resume", directory});
  const auto words = WordsOf(line, options.fresh || !IsRunDirectory(directory));
  command.insert(command.end(), words.begin(), words.end());
  return PlanMasterJob(options, directory, std::move(command));
}

}  // namespace

std::string MasterScript(const CommandLine& line, const RunOptions& options,
                         const std::string& directory) {
  return ScriptOf(JobOf(line, options, directory));
}

int GoAsJob(const CommandLine& line, const po::variables_map& values, RunOptions options,
            const std::string& directory, RunObserver& observer) {
  if (values.count("json") > 0 || options.output == "-") {
    throw UsageError("--master-job: nobody reads what --json and -o - would write");
  }
  const std::string run = ShellQuote(directory);
  const bool is_new = options.fresh || !IsRunDirectory(directory);
  if (!is_new && MasterMayLive(directory)) {
    throw UsageError(fmt::format("'{}' has a master already: cq attach {}", directory, run));
  }
  const MasterJob job = JobOf(line, options, directory);
  ScriptOf(job);
  if (job.scheduler == "slurm" && FindProgram("sbatch", OwnPath(), ".").empty()) {
    throw UsageError("--master-job: there is no sbatch here to submit it with");
  }
  if (const auto waits = is_new ? std::nullopt : MasterJobOf(directory)) {
    throw UsageError(fmt::format("the master of '{}' is a job already, {}: 'cq cancel {}' ends it",
                                 directory, *waits, run));
  }
  if (is_new) {
    options.prepare_only = true;
    options.record = RecordOf(line, options);
    Run(options, observer);
  } else {
    DryRun(options);
  }
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
    job_ = MasterJobOf(run_dir_);
  }
  return job_.has_value();
}

}  // namespace cq
