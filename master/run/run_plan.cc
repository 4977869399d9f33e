#include "master/run/run_plan.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include "base/files.h"
#include "base/quantities.h"
#include "base/text.h"
#include "cq/error.h"
#include "master/input/columns.h"
#include "master/run/earlier_costs.h"
#include "master/run/output_file.h"
#include "master/run/pool_plan.h"
#include "master/run/run_directory.h"
#include "master/run/run_session.h"
#include "protocol/column_types.h"
#include "protocol/command.h"

namespace cq {

std::string RunDirectoryPath(const RunOptions& options) {
  return AbsolutePath(options.run_dir.empty() ? DefaultRunDirectory(options.input)
                                              : options.run_dir);
}

bool IsServed(const RunOptions& options) {
  return !options.program.empty() || !options.function.empty();
}

void CheckOptions(const RunOptions& options) {
  if (IsServed(options)) {
    if (!options.command.empty() || (!options.program.empty() && !options.function.empty())) {
      throw UsageError("a command after '--', --program and --function: choose one");
    }
    if (options.parse_json || options.shell) {
      throw UsageError("--parse and --shell are for a command after '--'");
    }
    if (!options.function.empty() && options.function.find(':') == std::string::npos) {
      throw UsageError(fmt::format("--function '{}': LIBRARY:NAME, as in libmodel.so:simulate",
                                   options.function));
    }
  } else if (options.command.empty()) {
    throw UsageError("no command: cq run PARAMS.csv [options] -- COMMAND [ARG ...]");
  } else if (options.command[0].empty()) {
    throw UsageError("the command is empty");
  }
  if (options.propose && !options.ask.empty()) {
    throw UsageError("--propose and --ask: a run has one proposer: choose one");
  }
  if (options.propose && !IsServed(options)) {
    throw UsageError(
        "--propose is for --program and --function; for a command after '--': --ask 'PROGRAM'");
  }
  if (options.ask_ahead && options.ask.empty()) throw UsageError("--ask-ahead is for --ask");
  if ((options.propose || !options.ask.empty()) && options.halt && options.halt->percent) {
    throw UsageError(fmt::format(
        "{}: how many rows there will be is not known, since a proposer names them: give a number",
        options.halt->text));
  }
  if (options.delay.count() > 0 && options.chunk > 1) {
    throw UsageError("--delay starts one task at a time, and --chunk gives a slot several");
  }
  if (options.shuffle && (!options.cost_column.empty() || !options.costs_run.empty())) {
    throw UsageError("a random order, and one by costs: choose one");
  }
  for (const auto& [column, type] : options.types) ParseColumnType(type, "--types " + column);
  if (!options.types.empty() && !IsServed(options)) {
    throw UsageError("--types is for --program and --function");
  }
  if (options.shell && options.command.size() != 1) {
    throw UsageError(
        fmt::format("--shell takes one argument, the text for /bin/sh; there are {}: "
                    "put it in quotes",
                    options.command.size()));
  }
  RequireWorkers(options);
}

void RequireWorkers(const RunOptions& options) {
  const SchedulerTraits traits = TraitsOf(options.scheduler);
  if (traits.lends) {
    if (options.slots) throw UsageError("--slots: what a warm pool lends are single slots");
    if (options.workers_least) {
      throw UsageError(
          "--workers MIN:MAX: this run is on a warm pool, which lends as the work asks, and "
          "--workers "
          "N is the most that it lends; to run elsewhere: -s local, or -s slurm");
    }
  } else if (options.priority != 0) {
    throw UsageError("--priority is among runs on a warm pool: --on NAME");
  }
  if (traits.same_host || traits.lends || options.workers || !options.pools.empty()) return;
  throw UsageError(
      fmt::format("--scheduler {} needs --workers N: how many jobs to start", options.scheduler));
}

void CheckOutputOf(const RunOptions& options) {
  if (options.output.empty()) return;
  // Its own run directory may not be there yet.
  const std::filesystem::path path = AbsolutePath(options.output);
  if (options.output != "-" && path.filename() != "results.csv" &&
      path.parent_path() == RunDirectoryPath(options)) {
    throw UsageError(fmt::format(
        "'{}' is in the run directory, whose files are cq's own: choose another --output",
        options.output));
  }
  CheckOutput(options.output, options.input, options.depends);
}

std::string TasksDirectory(const RunOptions& options) {
  const std::string cwd = AbsolutePath(options.cwd.empty() ? "." : options.cwd);
  struct stat status {};
  // On a cluster the directory may exist on the workers' machines only; they say so themselves.
  if (TraitsOf(options.scheduler).same_host &&
      (stat(cwd.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))) {
    throw UsageError(fmt::format("--cwd: there is no directory '{}'", cwd));
  }
  return cwd;
}

std::vector<RowCheck> ChecksOf(const RunOptions& options) {
  std::vector<RowCheck> checks;
  if (!options.task_timeout_column.empty()) {
    checks.push_back({options.task_timeout_column, "--task-timeout", true,
                      [](const std::string& value) { ParseDuration(value, "--task-timeout"); }});
  }
  if (!options.cost_column.empty()) {
    checks.push_back({options.cost_column, "--cost", false, [](const std::string& value) {
                        if (!ParseCost(value)) {
                          throw UsageError(fmt::format("--cost: '{}' is no number", value));
                        }
                      }});
  }
  for (const auto& [column, name] : options.types) {
    const ColumnType type = ParseColumnType(name, "--types " + column);
    checks.push_back({column, "--types", true, [type](const std::string& value) {
                        if (IsOfType(value, type)) return;
                        throw UsageError(
                            fmt::format("--types: '{}' is no {}", value, NameOf(type)));
                      }});
  }
  return checks;
}

decltype(InputOptions::look) LookOf(const RequestTexts& texts, std::vector<PoolKind> pools,
                                    const std::function<void(const TaskRequest&)>& tell) {
  if (!texts.vary()) return {};
  return [=, pools = std::move(pools)](const std::vector<std::string>& columns) {
    return
        [tell, requests = RowRequests(texts, columns),
         classes = std::make_shared<ClassFinder>(pools)](const std::vector<std::string>& fields) {
          const TaskRequest request = requests.Of(fields);
          classes->Add(1, request);
          if (tell) tell(request);
        };
  };
}

std::vector<ColumnType> ColumnTypes(const RunOptions& options, const InputSummary& input) {
  auto types = input.types;
  for (const auto& [column, type] : options.types) {
    const size_t at = ColumnIndex(column, "--types", input.columns);
    types[at] = ParseColumnType(type, "--types " + column);
  }
  return types;
}

namespace {

bool IsRange(const PoolOptions& plan) { return plan.least && *plan.least < plan.workers; }

std::string DescribePlan(const PoolOptions& plan) {
  const bool range = IsRange(plan);
  const std::string has = plan.capacity == Capacity() ? "" : ", " + Describe(plan.capacity);
  return fmt::format(
      "{}{} worker{} × {} slot{} = {}{} task{} at a time{}\n", plan.named ? plan.name + ": " : "",
      range ? fmt::format("{} to {}", *plan.least, plan.workers) : std::to_string(plan.workers),
      plan.workers == 1 ? "" : "s", plan.slots, plan.slots == 1 ? "" : "s", range ? "at most " : "",
      plan.workers * plan.slots, plan.workers * plan.slots == 1 ? "" : "s", plan.named ? has : "");
}

// For which pools a task is work.
std::string NamesOfHomes(const TaskRequest& request, const std::vector<PoolKind>& kinds) {
  std::vector<std::string> names;
  for (const size_t home : HomesOf(request, kinds)) names.push_back(kinds[home].name);
  return Joined(names, " or ");
}

std::string DescribeRows(const std::map<std::string, uint64_t>& rows) {
  std::vector<std::string> parts;
  parts.reserve(rows.size());
  for (const auto& [names, count] : rows) parts.push_back(fmt::format("{} {}", names, count));
  return fmt::format("rows by pool: {}\n", Joined(parts, ", "));
}

}  // namespace

std::string DryRun(const RunOptions& options) {
  CheckOptions(options);
  const std::vector<PoolOptions> plans = PlanPools(options);
  std::vector<std::unique_ptr<Pool>> pools;
  pools.reserve(plans.size());
  for (const PoolOptions& plan : plans) pools.push_back(std::make_unique<Pool>(plan));
  const RequestTexts requests = RequestsOf(options, plans);
  const bool served = IsServed(options);
  const std::vector<PoolKind> kinds = KindsOf(plans);
  std::map<std::string, uint64_t> rows;
  uint64_t counted = 0;
  const auto count = [&](const TaskRequest& request) {
    if (options.limit == 0 || counted++ < options.limit) ++rows[NamesOfHomes(request, kinds)];
  };
  const auto summary = ReadInput({.path = options.input,
                                  .separator = options.separator,
                                  .checks = ChecksOf(options),
                                  .look = LookOf(requests, kinds, count),
                                  .find_types = served});
  const CompiledCommand command =
      CompileCommand(options.command, summary.columns, options.constants, options.shell);
  ColumnIndices(options.seed_by, "--seed-by", summary.columns);
  if (!options.costs_run.empty()) EarlierCosts(options.costs_run, summary.columns);
  const std::string cwd = TasksDirectory(options);
  CheckOutputOf(options);

  const uint64_t tasks = options.limit == 0 ? summary.rows : std::min(options.limit, summary.rows);
  std::string text = fmt::format("input: {} rows, columns {}\ntasks: {}\n", summary.rows,
                                 Joined(summary.columns, ", "), tasks);
  for (const PoolOptions& plan : plans) text += DescribePlan(plan);
  if (plans[0].named) {
    if (!requests.vary()) {
      rows[NamesOfHomes(ConstantRequest(requests, plans), kinds)] = tasks;
    }
    text += DescribeRows(rows);
  }
  text += fmt::format(
      "directory of tasks: {}\nrun directory: {}\nworkers that could connect at once: {}\n", cwd,
      plans[0].run_dir,
      (DescriptorLimit() - std::min(DescriptorLimit(), kOwnDescriptors)) / kDescriptorsOfWorker);
  if (served) {
    text += "types:";
    const auto types = ColumnTypes(options, summary);
    for (size_t i = 0; i < types.size(); ++i) {
      text += fmt::format("{} {} {}", i == 0 ? "" : ",", summary.columns[i], NameOf(types[i]));
    }
    text += fmt::format("\nprogram: {}{}\n", Joined(options.program, " "), options.function);
  }
  if (!options.ask.empty()) text += fmt::format("asked for rows: {}\n", Joined(options.ask, " "));
  if (!options.reduce.empty()) text += fmt::format("reduced by: {}\n", Joined(options.reduce, " "));
  if (options.propose) text += "rows are proposed by a process of the program beside the master\n";
  for (size_t i = 0; !served && i < summary.first.size() && i < tasks; ++i) {
    std::vector<std::string> values;
    for (const size_t column : command.columns) values.push_back(summary.first[i].fields[column]);
    const auto rendered = RenderCommand(command.arguments, values, i + 1);
    text += fmt::format("task {}:", i + 1);
    if (const auto* problem = std::get_if<std::string>(&rendered)) {
      text += fmt::format(" error: {}\n", *problem);
      continue;
    }
    for (const std::string& argument : std::get<std::vector<std::string>>(rendered)) {
      text += " " + ShellQuote(argument);
    }
    text += "\n";
  }
  for (size_t i = 0; i < plans.size(); ++i) {
    // As many as the first submission would have.
    const PoolOptions& plan = plans[i];
    const uint64_t could_fill = (tasks + plan.slots - 1) / plan.slots;
    const auto first =
        IsRange(plan) ? std::clamp<uint64_t>(could_fill, 1, plan.workers) : plan.workers;
    const std::string script = pools[i]->Script(static_cast<unsigned>(first));
    if (script.empty()) continue;
    text += fmt::format("submission script{}:\n{}", plan.named ? " of " + plan.name : "", script);
  }
  return text;
}

}  // namespace cq
