#include "cli/run_options.h"

#include <fmt/format.h>

#include <cstdlib>

#include "cq/error.h"
#include "master/run/output_file.h"
#include "master/run/run_directory.h"
#include "protocol/command.h"
#include "protocol/limits.h"

namespace cq {
namespace {

namespace po = boost::program_options;
using Words = std::vector<std::string>;

}  // namespace

po::options_description RunOptionsDescription() {
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
      "program", text()->value_name("'COMMAND'"),
      "instead of a command: a program that is started once in each slot and answers many rows, as "
      "in "
      "'Rscript model.R' (split into words as a shell would)")(
      "function", text()->value_name("LIB:NAME"),
      "instead of a command: a C++ function in a shared library (CQ_FUNCTION)")(
      "types", list()->value_name("COLUMN=TYPE"),
      "string, integer, number or boolean, for programs and functions [found out] (repeatable)")(
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
      "separator", text()->value_name("CHAR"),
      "what stands between the fields of the input: one character, or tab [, or a tab in .tsv]")(
      "order", text()->value_name("fifo|lpt"),
      "start rows as they stand, or those of the highest --cost first [fifo]")(
      "cost", text()->value_name("COLUMN"), "how long rows take, in any unit, for --order lpt")(
      "group", text()->value_name("COLUMN"),
      "the data set that a row needs: slots stay on one as long as they can (CQ_GROUP)")(
      "chunk", text()->value_name("N"),
      "give each slot N tasks at a time; 1: nothing waits at a slot [as their durations say]")(
      "retries", text()->value_name("N"),
      "try a task that ended as error or timeout again so often, after 1, 2, 4, ... s [0]")(
      "crash-limit", text()->value_name("N"),
      "set a task aside as crashed once it took its worker with it so often [3]")(
      "max-failures", text()->value_name("N"),
      "start nothing more once so many tasks did not end ok [no limit]")(
      "task-timeout", text()->value_name("DURATION|{COLUMN}"),
      "end a task that runs longer (TERM, 5 s, KILL), or as long as its row says [no limit]")(
      "task-memory", text()->value_name("SIZE"),
      "end a task whose processes take more memory in sum, as outcome memory [no limit]")(
      "worker-check", text()->value_name("TEXT"),
      "shell text that must succeed on a worker before its first task")(
      "lease", text()->value_name("DURATION"), "a worker silent for so long is lost [30s]")(
      "fence",
      "for tasks with side effects: never two attempts at one task at a time, even if a worker is "
      "cut off")("on-master-loss", text()->value_name("DURATION"),
                 "how long a scheduler's idle worker waits for a master that is gone [30m]")(
      "on-hangup", text()->value_name("stay|stop"),
      "what a scheduler's workers do when the terminal closes (SIGHUP): finish what they have and "
      "wait for 'cq resume', or stop; local workers stop [stay]")(
      "depends", list()->value_name("FILE"),
      "a file that results depend on, besides the program and arguments that name files "
      "(repeatable)")("failed", "of a run that exists: run again every row that did not end ok")(
      "keep", "of a run whose program or input files changed: keep the older results")(
      "rerun", "of a run that exists: run all rows again")(
      "trust-owner", text()->value_name("USER"),
      "of a run that exists in a directory of this other user: run what it says")(
      "take-over", "of a run that exists: though a master on another host seems to hold it")(
      "quiet", "no progress; errors still")("json",
                                            "one JSON object on standard output at the end")(
      "dry-run", "show the first 3 commands, the counts, the filled template; start nothing")(
      "help,h", "show this page");
  return options;
}

namespace {

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

unsigned Count32(const std::string& text, const char* option, uint64_t least = 1) {
  const uint64_t count = ParseCount(text, option, least);
  if (count > 1'000'000) {
    throw UsageError(fmt::format("{} {}: at most 1000000", option, count));
  }
  return static_cast<unsigned>(count);
}

// What bounds tasks, retries and workers.
void TranslateLimits(const po::variables_map& values, RunOptions& options) {
  const auto count = [&](const char* name, const char* option, uint64_t least, auto& target) {
    if (values.count(name) > 0) target = Count32(Get(values, name), option, least);
  };
  count("retries", "--retries", 0, options.retries);
  count("crash-limit", "--crash-limit", 1, options.crash_limit);
  if (values.count("max-failures") > 0) {
    options.max_failures = ParseCount(Get(values, "max-failures"), "--max-failures", 1);
  }
  const std::string timeout = Get(values, "task-timeout");
  if (timeout.size() > 2 && timeout.front() == '{' && timeout.back() == '}') {
    options.task_timeout_column = timeout.substr(1, timeout.size() - 2);
  } else if (!timeout.empty()) {
    options.task_timeout = ParseDuration(timeout, "--task-timeout");
  }
  if (const std::string size = Get(values, "task-memory"); !size.empty()) {
    options.task_memory_bytes = ParseSize(size, "--task-memory");
  }
  options.worker_check = Get(values, "worker-check");
  if (const std::string lease = Get(values, "lease"); !lease.empty()) {
    options.lease = ParseDuration(lease, "--lease");
    if (options.lease < std::chrono::seconds(1)) throw UsageError("--lease: at least 1s");
  }
  options.fence = values.count("fence") > 0;
  if (const std::string chunk = Get(values, "chunk"); !chunk.empty()) {
    options.chunk = ParseCount(chunk, "--chunk", 1);
    if (options.chunk > kHeldMax) throw UsageError(fmt::format("--chunk: at most {}", kHeldMax));
  }
  options.cost_column = Get(values, "cost");
  options.group_column = Get(values, "group");
  const std::string order = Get(values, "order");
  if (!order.empty() && order != "fifo" && order != "lpt") {
    throw UsageError(fmt::format("--order '{}': there are fifo and lpt", order));
  }
  if ((order == "lpt") != !options.cost_column.empty()) {
    throw UsageError("--order lpt and --cost COLUMN go together");
  }
  if (const std::string loss = Get(values, "on-master-loss"); !loss.empty()) {
    options.on_master_loss = ParseDuration(loss, "--on-master-loss");
  }
  const std::string hangup = Get(values, "on-hangup");
  if (!hangup.empty() && hangup != "stay" && hangup != "stop") {
    throw UsageError(fmt::format("--on-hangup '{}': it is stay or stop", hangup));
  }
  options.stop_on_hangup = hangup == "stop";
}

}  // namespace

RunOptions TranslateRunOptions(const CommandLine& line, const po::variables_map& values) {
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
  const bool served = values.count("program") + values.count("function") > 0;
  if (!served && (!line.has_command || line.command.empty())) {
    throw UsageError("no command: cq run PARAMS.csv [options] -- COMMAND [ARG ...]");
  }
  options.input = positional[0];
  options.command = line.command;
  options.shell = values.count("shell") > 0;
  if (values.count("program") > 0) {
    try {
      options.program = SplitWords(Get(values, "program"));
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("--program: {}", error.what()));
    }
    if (options.program.empty()) throw UsageError("--program: no word in it");
  }
  options.function = Get(values, "function");
  for (const auto& text : GetList(values, "types")) {
    options.types.insert_or_assign(SplitPair(text, "--types").first,
                                   SplitPair(text, "--types").second);
  }
  options.separator = Get(values, "separator");
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
  TranslateLimits(values, options);
  options.failed = values.count("failed") > 0;
  options.keep = values.count("keep") > 0;
  options.rerun = values.count("rerun") > 0;
  options.trust_owner = Get(values, "trust-owner");
  options.take_over = values.count("take-over") > 0;
  for (const auto& path : GetList(values, "depends")) {
    options.depends.push_back(AbsolutePath(path));
  }
  if (options.keep && options.rerun) throw UsageError("--keep and --rerun: choose one");
  if (options.output == "-" && values.count("json") > 0) {
    throw UsageError("--output - and --json both write to standard output: choose one");
  }
  if (values.count("json") > 0) CheckStandardOutput("--json");
  return options;
}

}  // namespace cq
