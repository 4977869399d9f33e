#include "cq/run.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cq/error.h"
#include "master/export.h"
#include "protocol/files.h"

namespace cq {
namespace {

namespace po = boost::program_options;
using Words = std::vector<std::string>;

const HelpPage kHelp = {
    "cq run PARAMS.csv [options] -- COMMAND [ARG ...]",
    "Runs COMMAND once for each row of PARAMS.csv ('-': standard input), on persistent workers. In "
    "COMMAND,\n"
    "{column} is replaced by the row's value, {#} by the task's number, {NAME} by --const "
    "NAME=VALUE; {{NAME}}\n"
    "gives a literal {NAME}, and all other braces are left alone. Values are passed as arguments, "
    "byte for byte,\n"
    "without a shell. Results are kept in the run directory as they come, and are written as CSV, "
    "joined to the\n"
    "rows in input order, at the end.\n"
    "Exit status: 0 all tasks ok; 1 some not; 2 bad usage or input, nothing started; 3 the run "
    "could not go on;\n"
    "130 interrupted. The first Ctrl-C finishes what runs, the second stops at once.",
    "cq run params.csv -w 4 -o results.csv -- ./simulate --alpha {alpha} --n {n}"};

po::options_description Options() {
  po::options_description options("options", 100, 60);
  const auto text = [] { return po::value<std::string>(); };
  const auto list = [] { return po::value<Words>()->composing(); };
  options.add_options()("output,o", text()->value_name("FILE"),
                        "where the results go ('-': standard output) [RUN-DIR/results.csv]")(
      "run-dir", text()->value_name("DIR"), "the run's directory [NAME.cq here for NAME.csv]")(
      "fresh", "move an existing run directory aside and start anew")(
      "workers,w", text()->value_name("N"), "how many workers [1; a scheduler needs it]")(
      "slots", text()->value_name("N"),
      "tasks at a time on each worker [1 with --workers or a scheduler, else one for each CPU]")(
      "scheduler,s", text()->value_name("NAME"), "where workers run: local or slurm [local]")(
      "template", text()->value_name("FILE"), "your own submission template")(
      "set", list()->value_name("KEY=VALUE"),
      "fill a key of the template, as in --set partition=long (repeatable)")(
      "worker-init", text()->value_name("TEXT"),
      "shell text that runs before each worker, as in 'module load R'")(
      "const", list()->value_name("NAME=VALUE"), "a constant for {NAME} (repeatable)")(
      "env", list()->value_name("NAME[=VALUE]"),
      "set a variable for the tasks; without =VALUE, pass ours on (repeatable)")(
      "cwd", text()->value_name("DIR"), "the tasks' directory [the current one]")(
      "shell",
      "COMMAND is one text for /bin/sh -c; values go in single-quoted, so put no quotes around "
      "{column}")(
      "parse", text()->value_name("json"),
      "the last line of a task's standard output is a JSON object: its names become columns")(
      "stdout-column", text()->value_name("SIZE|none"),
      "how much of standard output the results show in cq_stdout [4K]")(
      "seed", text()->value_name("N"), "base of the tasks' CQ_SEED [drawn and recorded]")(
      "seed-by", text()->value_name("COLUMNS"),
      "rows with equal values in these columns (comma-separated) get the same seed")(
      "limit", text()->value_name("N"), "only the first N rows")(
      "quiet", "no progress; errors still")("json",
                                            "one JSON object on standard output at the end")(
      "dry-run", "show the first 3 commands, the counts, the filled template; start nothing")(
      "help,h", "show this page");
  return options;
}

std::string Get(const po::variables_map& values, const char* name) {
  return values.count(name) > 0 ? values[name].as<std::string>() : std::string();
}

Words GetList(const po::variables_map& values, const char* name) {
  return values.count(name) > 0 ? values[name].as<Words>() : Words();
}

Words SplitCommas(const std::string& text) {
  Words words;
  size_t begin = 0;
  while (!text.empty() && begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::pair<std::string, std::string> EnvironmentPair(const std::string& text) {
  if (text.find('=') != std::string::npos) return SplitPair(text, "--env");
  const char* value = getenv(text.c_str());
  if (value == nullptr) {
    throw UsageError(
        fmt::format("--env {}: it is not set here; give it a value: --env {}=VALUE", text, text));
  }
  return {text, value};
}

unsigned Count32(const std::string& text, const char* option) {
  const uint64_t count = ParseCount(text, option, 1);
  if (count > 1'000'000) {
    throw UsageError(fmt::format("{} {}: at most 1000000", option, count));
  }
  return static_cast<unsigned>(count);
}

RunOptions Translate(const CommandLine& line, const po::variables_map& values) {
  RunOptions options;
  const Words positional = Positional(values);
  if (positional.empty()) {
    throw UsageError("no input: cq run PARAMS.csv [options] -- COMMAND [ARG ...]");
  }
  if (positional.size() > 1) {
    throw UsageError(
        fmt::format("unexpected '{}': options come before '--', the command after it: "
                    "cq run {} [options] -- COMMAND [ARG ...]",
                    positional[1], positional[0]));
  }
  if (!line.has_command || line.command.empty()) {
    throw UsageError("no command: cq run PARAMS.csv [options] -- COMMAND [ARG ...]");
  }
  options.input = positional[0];
  options.command = line.command;
  options.shell = values.count("shell") > 0;
  options.output = Get(values, "output");
  options.run_dir = Get(values, "run-dir");
  options.fresh = values.count("fresh") > 0;
  if (values.count("scheduler") > 0) options.scheduler = Get(values, "scheduler");
  if (values.count("workers") > 0) options.workers = Count32(Get(values, "workers"), "--workers");
  if (values.count("slots") > 0) options.slots = Count32(Get(values, "slots"), "--slots");
  options.template_file = Get(values, "template");
  options.worker_init = Get(values, "worker-init");
  options.cwd = Get(values, "cwd");
  for (const auto& text : GetList(values, "set")) {
    options.template_values.insert_or_assign(SplitPair(text, "--set").first,
                                             SplitPair(text, "--set").second);
  }
  for (const auto& text : GetList(values, "const")) {
    options.constants.insert_or_assign(SplitPair(text, "--const").first,
                                       SplitPair(text, "--const").second);
  }
  for (const auto& text : GetList(values, "env")) options.env.push_back(EnvironmentPair(text));
  if (const std::string parse = Get(values, "parse"); parse == "json") {
    options.parse_json = true;
  } else if (values.count("parse") > 0) {
    throw UsageError(fmt::format("--parse '{}': only json is known", parse));
  }
  if (const std::string size = Get(values, "stdout-column"); size == "none") {
    options.stdout_column = 0;
  } else if (!size.empty()) {
    options.stdout_column = ParseSize(size, "--stdout-column");
  }
  if (values.count("seed") > 0) options.seed = ParseCount(Get(values, "seed"), "--seed", 0);
  options.seed_by = SplitCommas(Get(values, "seed-by"));
  if (values.count("limit") > 0) options.limit = ParseCount(Get(values, "limit"), "--limit", 1);
  if (options.output == "-" && values.count("json") > 0) {
    throw UsageError("--output - and --json both write to standard output: choose one");
  }
  return options;
}

// The signals that interrupt a run, as a descriptor. One that was inherited as ignored stays so
// (nohup).
Fd InterruptFd() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGXCPU}) {
    struct sigaction old {};
    sigaction(number, nullptr, &old);
    if (old.sa_handler != SIG_IGN) sigaddset(&set, number);
  }
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return Fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

bool InPath(const std::string& program) {
  const char* path = getenv("PATH");
  std::istringstream directories(path == nullptr ? "" : path);
  for (std::string directory; std::getline(directories, directory, ':');) {
    if (access((directory + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

void PrintJson(const RunSummary& summary) {
  nlohmann::ordered_json json = {{"status", summary.status}, {"tasks", summary.tasks}};
  for (int i = 0; i < 7; ++i) json[OutcomeName(i)] = summary.outcomes[static_cast<size_t>(i)];
  json["seconds"] = summary.seconds;
  json["first_result_seconds"] = summary.first_result_seconds;
  json["seed"] = summary.seed;
  json["run_dir"] = summary.run_dir;
  json["output"] = summary.output;
  if (!summary.reason.empty()) json["reason"] = summary.reason;
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void SayEnd(ProgressPrinter& printer, const RunSummary& summary) {
  const uint64_t ok = summary.outcomes[0];
  uint64_t done = 0;
  for (const uint64_t count : summary.outcomes) done += count;
  std::string text = fmt::format("{} of {} tasks ok", ok, summary.tasks);
  for (int i = 1; i < 7; ++i) {
    const uint64_t count = summary.outcomes[static_cast<size_t>(i)];
    if (count > 0) text += fmt::format(", {} {}", count, OutcomeName(i));
  }
  if (done < summary.tasks) text += fmt::format(", {} pending", summary.tasks - done);
  text += fmt::format("; {:.2f} s; results in {}", summary.seconds,
                      summary.output == "-" ? "standard output" : summary.output);
  printer.Say(text);
  if (summary.status == 3 || summary.status == 130) {
    printer.Warning(summary.reason);
    printer.Warning(
        fmt::format("what is done is kept in '{}'; to run all rows again: the same command "
                    "with --fresh",
                    summary.run_dir));
  }
}

}  // namespace

int RunCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, Options(), kHelp, values)) return 0;
  RunOptions options = Translate(line, values);
  if (values.count("dry-run") > 0) {
    fmt::print("{}", DryRun(options));
    return 0;
  }
  const Fd interrupt = InterruptFd();
  options.signal_fd = interrupt.get();
  const bool hint = values.count("scheduler") == 0 && InPath("sbatch");
  ProgressPrinter printer(
      values.count("quiet") > 0,
      hint ? "running on this machine; to run on the cluster: -s slurm -w N" : "");
  const RunSummary summary = Run(options, printer);
  SayEnd(printer, summary);
  if (values.count("json") > 0) PrintJson(summary);
  return summary.status;
}

}  // namespace cq
