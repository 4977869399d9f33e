#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/files.h"
#include "base/quantities.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/interrupts.h"
#include "cli/progress.h"
#include "cli/recorded.h"
#include "cli/run_lookup.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/input/columns.h"
#include "master/input/csv_reader.h"
#include "master/input/input.h"
#include "master/journal/pushed_table.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/run/export.h"
#include "master/run/private_directory.h"
#include "master/run/run_directory.h"
#include "protocol/column_types.h"

namespace cq {
namespace {

namespace po = boost::program_options;
using Words = std::vector<std::string>;

constexpr HelpPage kTestHelp = {
    "cq test [RUN] TASK | cq test [RUN] --one-per COLUMNS",
    "Runs one task of a run here and now, one time, and shows all of it, as 'cq log' does: with "
    "its "
    "row, seed,\n"
    "environment, directory and limits, in a process of a worker. The run itself, which may be "
    "going on, does not\n"
    "hear of it. Exit status: 0 ok; 1 it was not; 2 bad usage.",
    "cq test params.cq 17"};

po::options_description TestDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()(
      "one-per", po::value<std::string>()->value_name("COLUMNS"),
      "the first row of each combination of values of these columns (comma-separated), one after "
      "the other")("help,h", "show this page");
  return options;
}

// Which rows are to be tried.
class Choice {
 public:
  explicit Choice(TaskId task) : task_(task) {}
  Choice(const Words& names, const Words& columns)
      : columns_(ColumnIndices(names, "--one-per", columns)) {}

  bool Has(TaskId task, const Words& fields) {
    if (columns_.empty()) return task == task_;
    Words values;
    for (const size_t column : columns_) values.push_back(fields[column]);
    return seen_.insert(std::move(values)).second;
  }

 private:
  TaskId task_ = 0;
  std::vector<size_t> columns_;
  std::set<Words> seen_;
};

struct Chosen {
  std::vector<TaskId> tasks;
  /// Those of them that tasks pushed.
  std::set<TaskId> pushed;
  /// Their rows, as a CSV.
  std::string csv;
};

Chosen Choose(Database& journal, const std::string& run, Choice& choice) {
  Chosen chosen;
  const std::vector<RowRange> ranges = ReadRanges(journal);
  auto range = ranges.begin();
  uint64_t position = 0;
  InputOptions input;
  input.path = RowsOf(journal, run);
  input.look = [&](const Words& columns) {
    AppendCsvLineAsItIs(chosen.csv, columns);
    return [&](const Words& fields) {
      ++position;
      while (range != ranges.end() && position >= range->position + range->rows) ++range;
      if (range == ranges.end() || position < range->position) return;
      const TaskId task = range->task + (position - range->position);
      if (!choice.Has(task, fields)) return;
      chosen.tasks.push_back(task);
      AppendCsvLineAsItIs(chosen.csv, fields);
    };
  };
  ReadInput(input);
  for (const TaskId task : LivePushed(journal)) {
    const auto fields = PushedFields(journal, task);
    if (!fields || !choice.Has(task, *fields)) continue;
    chosen.tasks.push_back(task);
    chosen.pushed.insert(task);
    AppendCsvLineAsItIs(chosen.csv, *fields);
  }
  return chosen;
}

// As the run has them; where it goes, and what it asks a scheduler for, is no matter here.
RunOptions OptionsAsOf(const std::string& run, const RunDefinition& definition) {
  const CommandLine merged = WithRecorded(run, {}, RunOptionsDescription());
  po::variables_map all;
  ParseOptions(merged, kRun, all);
  RunOptions options = TranslateRunOptions(merged, all);
  options.seed = definition.seed;
  for (size_t i = 0; i < definition.types.size(); ++i) {
    options.types[definition.columns[i]] = NameOf(definition.types[i]);
  }
  options.wide = definition.wide;
  options.output.clear();
  options.separator.clear();
  options.depends.clear();
  options.scheduler = "local";
  options.template_file.clear();
  options.template_values.clear();
  options.pools.clear();
  options.priority = 0;
  options.workers = 1;
  options.workers_least.reset();
  options.slots = 1;
  options.task_pool.clear();
  options.task_time.clear();
  options.task_needs.clear();
  options.task_memory.clear();
  options.kind.clear();
  options.limit = options.max_tasks = 0;
  options.cost_column.clear();
  options.costs_run.clear();
  options.retries = 0;
  options.crash_limit = 1;
  options.max_failures.reset();
  options.halt.reset();
  options.shuffle = false;
  options.delay = {};
  options.reduce.clear();
  options.escalate_memory = options.escalate_time = 1;
  return options;
}

int TestCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kTest, values)) return 0;
  Words words = Positional(values);
  const bool several = values.count("one-per") > 0;
  if (!several && words.empty()) throw UsageError("usage: cq test [RUN] TASK");
  const TaskId task = several ? 0 : ParseCount(words.back(), "TASK", 1);
  if (!several) words.pop_back();
  const auto per =
      several ? SplitCommas(values["one-per"].as<std::string>()) : std::vector<std::string>();
  if (several && per.empty()) throw UsageError("--one-per: it names no column");
  const std::string run = FindRun(words, true);

  RunDefinition definition;
  Chosen chosen;
  {
    Database journal = OpenToRead(run);
    definition = ReadDefinition(journal);
    if (definition.calls) {
      throw UsageError(fmt::format("the tasks of '{}' are calls of a program", run));
    }
    Choice choice = several ? Choice(per, definition.columns) : Choice(task);
    chosen = Choose(journal, run, choice);
  }
  if (chosen.tasks.empty()) {
    throw UsageError(several ? fmt::format("'{}' has no rows", run)
                             : fmt::format("'{}' has no task {}", run, task));
  }

  const PrivateDirectory directory(false);
  RunOptions options = OptionsAsOf(run, definition);
  options.input = directory.path() + "/rows.csv";
  ReplaceFile(options.input, chosen.csv, 0600);
  options.numbers = chosen.tasks;
  options.pushed = chosen.pushed;
  options.ask.clear();
  options.ask_ahead.reset();
  options.run_dir = directory.path() + "/run";
  const Fd interrupt = InterruptFd();
  options.signal_fd = interrupt.get();
  ProgressPrinter printer(true);
  const RunSummary summary = Run(options, printer);
  if (!summary.reason.empty()) printer.Warning(summary.reason);
  for (const TaskId one : chosen.tasks) {
    if (one != chosen.tasks.front()) fmt::print("\n");
    kLog.run({{}, {options.run_dir, std::to_string(one)}, {}, false});
  }
  return summary.status;
}

}  // namespace

const Subcommand kTest = {"test", "run one task of a run here", kTestHelp, TestDescription,
                          TestCommandLine};

}  // namespace cq
