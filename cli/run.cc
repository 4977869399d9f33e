#include "cq/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/files.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/detach.h"
#include "cli/efficiency.h"
#include "cli/inline_rows.h"
#include "cli/interrupts.h"
#include "cli/master_job.h"
#include "cli/progress.h"
#include "cli/recorded.h"
#include "cli/run_lookup.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/run/master_job.h"
#include "master/run/run_directory.h"
#include "protocol/command.h"
#include "protocol/outcome_name.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kRunHelp = {
    "cq run PARAMS.csv [options] -- COMMAND [ARG ...]\n"
    "       cq run [options] -- COMMAND [ARG ...] ::: VALUE ... [::: VALUE ...]",
    "Runs COMMAND once for each row of PARAMS.csv ('-': standard input), on persistent workers. In "
    "COMMAND,\n"
    "{column} is replaced by the row's value, {#} by the task's number, {NAME} by --const "
    "NAME=VALUE; {{NAME}}\n"
    "gives a literal {NAME}, and all other braces are left alone. Values are passed as arguments, "
    "byte for byte,\n"
    "without a shell. Without a CSV the rows are all combinations of the values behind ::: (:::+ "
    "pairs them; :::: FILE\n"
    "takes the lines of a file), or the lines of --each-line FILE: {1}, {2}, … are their parts, "
    "and "
    "{} is all of a row.\n"
    "Called again on a run that exists, it goes on with it, as 'cq resume' does. "
    "Results are kept in the run directory as they come, and are written as CSV, "
    "joined to the\n"
    "rows in input order, at the end.\n"
    "Exit status: 0 all tasks ok; 1 some not; 2 bad usage or input, nothing started; 3 the run "
    "could not go on;\n"
    "130 interrupted. The first Ctrl-C finishes what runs, the second stops at once.",
    "cq run params.csv -w 4 -o results.csv -- ./simulate --alpha {alpha} --n {n}"};

constexpr HelpPage kResumeHelp = {
    "cq resume [RUN] [options]",
    "Goes on with a run: rows that have a result are not run again; rows that are new or changed "
    "in "
    "its CSV are;\n"
    "rows that are gone leave the output. RUN is the run's directory; without it, the only *.cq "
    "here, "
    "or the newest.\n"
    "Every option is as last recorded (but --limit) unless it is given; the command, the "
    "constants, "
    "the header and\n"
    "the seed stay. Workers of a batch scheduler that are still alive come back with what they "
    "kept. "
    "On a finished\n"
    "run it runs nothing and exits as that run did. Exit status: as 'cq run'.",
    "cq resume params.cq --failed -w 8"};

/// Less of slots' time, in seconds, is not worth thinking about.
constexpr double kWorthALine = 60;

void PrintJson(const RunSummary& summary) {
  OrderedJson json = {{"status", summary.status}, {"tasks", summary.tasks}};
  for (size_t i = 0; i < summary.outcomes.size(); ++i) {
    json[OutcomeName(static_cast<int>(i))] = summary.outcomes[i];
  }
  json["seconds"] = summary.seconds;
  json["first_result_seconds"] = summary.first_result_seconds;
  json["seed"] = summary.seed;
  json["run_dir"] = JsonOfBytes(summary.run_dir);
  json["output"] = JsonOfBytes(summary.output);
  if (!summary.reduced.empty()) json["reduced"] = JsonOfBytes(summary.reduced);
  if (!summary.reason.empty()) json["reason"] = summary.reason;
  fmt::print("{}\n", ShownJson(json));
}

void SayEnd(ProgressPrinter& printer, const RunSummary& summary) {
  const uint64_t ok = summary.outcomes[0];
  uint64_t done = 0;
  for (const uint64_t count : summary.outcomes) done += count;
  std::string text = fmt::format("{} of {} tasks ok", ok, summary.tasks);
  for (size_t i = 1; i < summary.outcomes.size(); ++i) {
    const uint64_t count = summary.outcomes[i];
    if (count > 0) text += fmt::format(", {} {}", count, OutcomeName(static_cast<int>(i)));
  }
  if (done < summary.tasks) text += fmt::format(", {} pending", summary.tasks - done);
  text += fmt::format("; {:.2f} s; results in {}", summary.seconds,
                      summary.output == "-" ? "standard output" : summary.output);
  printer.Say(text);
  const SlotTime& time = summary.slot_time;
  if (time.run + time.overhead + time.idle + time.lost >= kWorthALine) {
    printer.Say(EfficiencyLine(time));
  }
  const std::string run = ShellQuote(summary.run_dir);
  if (summary.tasks == 0) printer.Warning("nothing was run: there are no rows");
  if (!summary.reason.empty()) printer.Warning(summary.reason);
  if (done < summary.tasks) {
    printer.Warning(fmt::format("what is done is kept; to go on: cq resume {}{}", run,
                                summary.halted ? " --halt never" : ""));
  } else if (ok < summary.tasks) {
    printer.Say(fmt::format("to run again what did not end ok: cq resume {} --failed", run));
  }
}

std::string TextOf(const po::variables_map& values, const std::string& option,
                   const std::string& otherwise = {}) {
  return values.count(option) > 0 ? values[option].as<std::string>() : otherwise;
}

// In a process of its own, whose exit status `cq wait` tells.
int GoDetached(const std::string& subcommand, const CommandLine& line,
               const po::variables_map& values, const std::string& directory) {
  const auto given = [&](const char* option) { return values.count(option) > 0; };
  if (given("json") || given("keep-order") || given("tail") || TextOf(values, "output") == "-") {
    throw UsageError("--detach: nobody reads what --json, -k, --tail and -o - would write");
  }
  if (const auto ended = StartDetached(subcommand, line)) return *ended;
  const std::string run = ShellQuote(directory);
  fmt::print("{}: started\nto follow it: cq attach {}\nto wait for its end: cq wait {}\n",
             directory, run, run);
  return 0;
}

// A run that exists takes every option as last recorded unless it is given again.
RunSummary Go(const CommandLine& line, const po::variables_map& values, RunOptions options) {
  const Fd interrupt = InterruptFd();
  options.signal_fd = interrupt.get();
  options.record = RecordOf(line, options);
  const bool here = values.count("scheduler") == 0 && options.pools.empty() && options.workers != 0;
  const bool hint = here && !FindProgram("sbatch", OwnPath(), ".").empty();
  const bool borrows = values.count("on") > 0;
  const std::string directory =
      AbsolutePath(options.run_dir.empty() ? DefaultRunDirectory(options.input) : options.run_dir);
  Notifier notifier(TextOf(values, "on-finish"), directory,
                    ParseDuration(TextOf(values, "stall-after", "1h"), "--stall-after"));
  // A line of progress would stand between them.
  const bool shown = (options.keep_order || options.tail) && isatty(STDOUT_FILENO) == 1;
  ProgressPrinter printer(values.count("quiet") > 0 || shown,
                          borrows ? fmt::format("on the pool '{}', as others leave its slots",
                                                values["on"].as<std::string>())
                          : hint  ? "running on this machine; to run on the cluster: -s slurm -w N"
                                  : "");
  printer.set_notifier(notifier);
  if (IsToDetach()) printer.set_at_start([&] { Detach(directory + "/master.log"); });
  options.asked_from_elsewhere = IsMasterJob();
  RunSummary summary;
  try {
    summary = Run(options, printer);
  } catch (const std::exception&) {
    // Of one that never started whoever started it is told.
    summary.status = 3;
    if (printer.started()) notifier.OnEnd(summary);
    throw;
  }
  // Whoever asks where its master is need not ask the batch system.
  if (options.asked_from_elsewhere && summary.status < 2) ForgetMasterJob(directory);
  SayEnd(printer, summary);
  notifier.OnEnd(summary);
  if (values.count("json") > 0) PrintJson(summary);
  return summary;
}

// Of what the user gives now; what is recorded may be of another start.
void RequireRange(const po::variables_map& given, const RunOptions& options) {
  const bool range =
      options.workers_least ||
      std::any_of(options.pools.begin(), options.pools.end(),
                  [](const RunPool& pool) { return pool.workers_least.has_value(); });
  if (given.count("stall-after") > 0 && given.count("on-finish") == 0) {
    throw UsageError("--stall-after is for --on-finish");
  }
  if (given.count("idle-timeout") > 0 && !range) {
    throw UsageError("--idle-timeout is for --workers MIN:MAX, as in -w 0:50: others stay");
  }
}

// What a run that exists has so far, and what of it would stay as long as its row is the same.
std::string ResultsSoFar(const std::string& directory, const RunOptions& options) {
  Database journal = OpenToRead(directory);
  uint64_t all = 0;
  uint64_t kept = 0;
  auto rows = journal.Prepare("SELECT outcome = 0, count(*) FROM results GROUP BY 1");
  while (rows.Step()) {
    const auto count = static_cast<uint64_t>(rows.Int(1));
    all += count;
    if (!options.rerun && (rows.Int(0) != 0 || !options.failed)) kept += count;
  }
  return fmt::format("results so far: {}, of which {} are kept: all other rows would run\n", all,
                     kept);
}

void ShowWhatWouldRun(const std::string& directory, RunOptions options) {
  if (options.input.empty() || options.input == "-" || !std::filesystem::exists(options.input)) {
    options.input = directory + "/params.csv";
  }
  fmt::print("{}{}", DryRun(options), ResultsSoFar(directory, options));
}

bool IsToBeJob(const po::variables_map& values) {
  const bool so = values.count("master-job") > 0;
  if (!so && values.count("set-master") > 0) throw UsageError("--set-master is for --master-job");
  if (!so) return false;
  if (values.count("detach") > 0) throw UsageError("--detach and --master-job: choose one");
  if (values.count("on") > 0) {
    throw UsageError(
        "--on and --master-job: a warm pool is reached from where it is: --detach leaves this "
        "terminal");
  }
  return true;
}

int Start(const CommandLine& line, const po::variables_map& values, RunOptions options,
          const std::string& directory) {
  RequireNoMasterJob(directory);
  if (!IsToBeJob(values)) return Go(line, values, std::move(options)).status;
  ProgressPrinter printer(values.count("quiet") > 0);
  return GoAsJob(line, values, std::move(options), directory, printer);
}

int ShowMasterJob(const CommandLine& line, const po::variables_map& values,
                  const RunOptions& options, const std::string& directory) {
  if (IsToBeJob(values)) {
    fmt::print("the master's job:\n{}", MasterScript(line, options, directory));
  }
  return 0;
}

int RunCommandLine(const CommandLine& given) {
  po::variables_map values;
  if (!ParseOptions(given, kRun, values)) return 0;
  const InlineRows rows(given, values);
  const CommandLine& line = rows.line();
  if (rows.any()) {
    values.clear();
    ParseOptions(line, kRun, values);
  }
  RunOptions options = TranslateRunOptions(line, values);
  options.input_name = rows.name();
  const bool dry = values.count("dry-run") > 0;
  const std::string directory =
      AbsolutePath(options.run_dir.empty() ? DefaultRunDirectory(options.input) : options.run_dir);
  const bool detach = values.count("detach") > 0 && !dry && !IsToDetach();
  if (detach) return GoDetached("run", given, values, directory);
  const bool exists = !options.fresh && IsRunDirectory(directory);
  if (!exists || HeldByMaster(directory)) {
    RequireRange(values, options);
    if (!dry) return Start(line, values, std::move(options), directory);
    fmt::print("{}", DryRun(options));
    return ShowMasterJob(line, values, options, directory);
  }
  const CommandLine merged = WithRecorded(directory, line, RunOptionsDescription());
  po::variables_map all;
  ParseOptions(merged, kRun, all);
  options = TranslateRunOptions(merged, all);
  options.input_name = rows.name();
  RequireRange(values, options);
  options.run_dir = directory;
  options.resume = true;
  if (!dry) return Start(merged, all, std::move(options), directory);
  ShowWhatWouldRun(directory, options);
  return ShowMasterJob(merged, all, options, directory);
}

int ResumeCommandLine(const CommandLine& line) {
  po::options_description shown = RunOptionsDescription();
  po::variables_map own;
  if (!ParseOptions(line, kResume, own)) return 0;
  if (line.has_command) {
    throw UsageError("cq resume takes no command: that of the run stands in its directory");
  }
  if (own.count("fresh") + own.count("run-dir") > 0) {
    throw UsageError("--fresh and --run-dir are for 'cq run'");
  }
  const std::string directory = FindRun(Positional(own), true);
  const bool detach = own.count("detach") > 0 && own.count("dry-run") == 0 && !IsToDetach();
  if (detach) return GoDetached("resume", line, own, directory);
  CommandLine given = line;
  given.words = OptionsOf(line, shown);
  const CommandLine merged = WithRecorded(directory, given, shown);
  po::variables_map all;
  ParseOptions(merged, kResume, all);
  RunOptions options = TranslateRunOptions(merged, all);
  RequireRange(own, options);
  if (options.input == "-") options.input.clear();
  options.run_dir = directory;
  options.resume = true;
  if (own.count("dry-run") == 0) return Start(merged, all, std::move(options), directory);
  ShowWhatWouldRun(directory, options);
  return ShowMasterJob(merged, all, options, directory);
}

}  // namespace

const Subcommand kRun = {"run", "run a command for each row of a CSV", kRunHelp,
                         RunOptionsDescription, RunCommandLine};
const Subcommand kResume = {"resume",
                            "go on with a run that was interrupted, or run again what failed",
                            kResumeHelp, RunOptionsDescription, ResumeCommandLine};

}  // namespace cq
