#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include "base/json.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/input/input.h"
#include "master/journal/database.h"
#include "master/journal/pushed_table.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/run/export.h"
#include "master/run/run_directory.h"
#include "protocol/command.h"
#include "protocol/outcome_name.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kLogHelp = {
    "cq log [RUN] TASK",
    "Shows all that is known of one task: its command, its outcome, and what it printed (the first "
    "16 KiB and the\n"
    "last 48 KiB of each stream); of one that runs for over 10 s, what it has printed so far. "
    "TASK is its number, the column cq_task of the results.",
    "cq log params.cq 17"};

// What tasks, programs and workers say is shown without what a terminal would obey.
template <class... T>
void Print(fmt::format_string<T...> format, T&&... values) {
  fmt::print("{}", PrintableText(fmt::format(format, std::forward<T>(values)...)));
}

// The fields of a task's row, of these columns.
std::vector<std::string> FieldsOf(const RunDefinition& definition, Database& journal,
                                  const std::string& run, TaskId task,
                                  const std::vector<size_t>& columns) {
  if (const auto pushed = PushedFields(journal, task)) {
    std::vector<std::string> fields;
    fields.reserve(columns.size());
    for (const size_t column : columns) fields.push_back(pushed->at(column));
    return fields;
  }
  RowSource rows({RowsOf(journal, run), ReadRanges(journal), columns, {}, definition.seed});
  return rows.Get(task).values;
}

// For a program or a function: the row that it got.
void PrintRow(const RunDefinition& definition, Database& journal, const std::string& run,
              TaskId task) {
  std::vector<size_t> all(definition.columns.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  Print("program: {}{}\nrow:", Joined(definition.program, " "), definition.function);
  const auto values = FieldsOf(definition, journal, run, task, all);
  for (size_t i = 0; i < all.size(); ++i) Print(" {}={}", definition.columns[i], values[i]);
  Print("\n");
}

void PrintCommand(const RunDefinition& definition, Database& journal, const std::string& run,
                  TaskId task) {
  const auto command = CompileCommand(definition.command, definition.columns, definition.constants,
                                      definition.shell);
  const auto values = FieldsOf(definition, journal, run, task, command.columns);
  const auto rendered = RenderCommand(command.arguments, values, task);
  Print("command:");
  if (const auto* words = std::get_if<std::vector<std::string>>(&rendered)) {
    for (const std::string& word : *words) Print(" {}", ShellQuote(word));
  } else {
    Print(" ({})", std::get<std::string>(rendered));
  }
  Print("\n");
}

void PrintStream(const char* name, std::string_view text) {
  if (text.empty()) return;
  Print("--- {} ---\n{}{}", name, text, text.ends_with('\n') ? "" : "\n");
}

// MessagePack as JSON, for people; bytes that are not UTF-8 are replaced.
std::string Shown(std::string_view packed) {
  return ShownJson(OrderedJson::from_msgpack(packed, true, false));
}

// Of a program that embeds its master.
void PrintCall(Database& journal, TaskId task) {
  auto row = journal.Prepare("SELECT function, arguments FROM calls WHERE task = ?1");
  row.Bind(1, static_cast<int64_t>(task));
  if (!row.Step()) throw UsageError(fmt::format("task {}: this run has no such task", task));
  const std::string arguments = Shown(row.Text(1));
  Print("call: {}({})\n", row.Text(0), arguments.substr(1, arguments.size() - 2));
}

void PrintReturned(Database& journal, TaskId task) {
  auto row = journal.Prepare("SELECT bytes FROM blobs WHERE task = ?1");
  row.Bind(1, static_cast<int64_t>(task));
  if (row.Step()) Print("returned: {}\n", Shown(row.Text(0)));
}

void CheckTask(Database& journal, TaskId task) {
  for (const RowRange& range : ReadRanges(journal)) {
    if (task >= range.task && task < range.task + range.rows) return;
  }
  if (PushedFields(journal, task)) return;
  throw UsageError(fmt::format("task {}: this run has no such task", task));
}

// Who pushed it, and whom it has pushed.
void PrintFamily(Database& journal, TaskId task) {
  if (!HasPushed(journal)) return;
  auto parent = journal.Prepare("SELECT parent FROM pushed WHERE task = ?1");
  parent.Bind(1, static_cast<int64_t>(task));
  if (parent.Step()) {
    Print("pushed by: {}\n", parent.Int(0) == 0 ? "cq add" : fmt::format("task {}", parent.Int(0)));
  }
  constexpr size_t kShown = 20;
  auto children = journal.Prepare("SELECT task FROM claims WHERE parent = ?1");
  children.Bind(1, static_cast<int64_t>(task));
  std::string pushed;
  for (size_t shown = 0; children.Step(); ++shown) {
    if (shown < kShown) pushed += fmt::format("{}{}", shown == 0 ? "" : ", ", children.Int(0));
    if (shown == kShown) pushed += ", …";
  }
  if (!pushed.empty()) Print("pushed: {}\n", pushed);
}

// The attempts before the last one.
void PrintFailures(Database& journal, TaskId task) {
  auto rows = journal.Prepare(
      "SELECT kind, at_us, worker, reason FROM failures WHERE task = ?1 ORDER BY attempt");
  rows.Bind(1, static_cast<int64_t>(task));
  while (rows.Step()) {
    Print("earlier attempt: {} at {:%Y-%m-%d %H:%M:%S} on worker {}: {}\n",
          FailureName(static_cast<int>(rows.Int(0))),
          fmt::localtime(static_cast<std::time_t>(rows.Int(1) / 1'000'000)), rows.Int(2),
          rows.Text(3));
  }
}

// What a task without outcome has printed, as far as it was sent: parts from `next` on. Returns the
// number of the next part.
int64_t PrintParts(Database& journal, TaskId task, int64_t next, std::string& shown) {
  auto rows = journal.Prepare(
      "SELECT part, stdout, stderr FROM output WHERE task = ?1 AND part >= ?2 ORDER BY part");
  rows.Bind(1, static_cast<int64_t>(task)).Bind(2, next);
  while (rows.Step()) {
    next = rows.Int(0) + 1;
    Print("{}", rows.Text(1));
    std::fflush(stdout);
    Say(stderr, PrintableText(rows.Text(2)));
    shown += rows.Text(1);
  }
  return next;
}

// What is no value of a column.
void PrintBlob(Database& journal, TaskId task) {
  auto row = journal.Prepare("SELECT format, length(bytes) FROM blobs WHERE task = ?1");
  row.Bind(1, static_cast<int64_t>(task));
  if (!row.Step()) return;
  Print("object: {} bytes, as {} writes it; 'cq export --blob {} -o FILE' writes them\n",
        row.Int(1), row.Text(0), task);
}

bool PrintResult(Database& journal, TaskId task, std::string_view shown) {
  auto row = journal.Prepare(
      "SELECT outcome, exit, error, started_us, wall_us, user_us, system_us, max_rss_kb, attempts,"
      " worker, returned, stdout, stderr,"
      " (SELECT host FROM workers WHERE workers.worker = results.worker)"
      " FROM results WHERE task = ?1");
  row.Bind(1, static_cast<int64_t>(task));
  if (!row.Step()) return false;
  // Followed so far: the rest of what it printed comes first.
  std::string_view out = row.Text(11);
  if (!shown.empty() && out.starts_with(shown)) {
    Print("{}", out.substr(shown.size()));
    out = {};
  }
  Print("status: {}\nexit: {}\n", OutcomeName(static_cast<int>(row.Int(0))), row.Int(1));
  if (!row.IsNull(2)) Print("error: {}\n", row.Text(2));
  // One that was cancelled may never have started.
  if (row.Int(3) == 0) return true;
  Print("started: {:%Y-%m-%d %H:%M:%S} on worker {} ({}), attempt {}\n",
        fmt::localtime(static_cast<std::time_t>(row.Int(3) / 1'000'000)), row.Int(9), row.Text(13),
        row.Int(8));
  const auto seconds = [&row](int column) { return static_cast<double>(row.Int(column)) / 1e6; };
  Print("seconds: {:.6f}", seconds(4));
  // What was not measured is not shown.
  if (!row.IsNull(5)) Print(" (user {:.6f}, system {:.6f})", seconds(5), seconds(6));
  if (!row.IsNull(7)) Print("; peak memory: {} KiB", row.Int(7));
  Print("\n");
  if (!row.IsNull(10)) Print("returned: {}\n", row.Text(10));
  PrintBlob(journal, task);
  PrintStream("stdout", out);
  PrintStream("stderr", row.Text(12));
  return true;
}

po::options_description LogDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("follow,f",
                        "go on showing what the task prints until it ends (from its "
                        "tenth second on, every 5 s)")("help,h", "show this page");
  return options;
}

int LogCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kLog, values)) return 0;
  auto words = Positional(values);
  if (words.empty()) throw UsageError("usage: cq log [RUN] TASK");
  const TaskId task = ParseCount(words.back(), "TASK", 1);
  words.pop_back();
  const std::string run = FindRun(words);
  Database journal = OpenToRead(run);
  const RunDefinition definition = ReadDefinition(journal);
  if (!definition.calls) CheckTask(journal, task);
  Print("task: {}\n", task);
  if (definition.calls) {
    PrintCall(journal, task);
    PrintReturned(journal, task);
  } else {
    definition.served() ? PrintRow(definition, journal, run, task)
                        : PrintCommand(definition, journal, run, task);
  }
  PrintFamily(journal, task);
  PrintFailures(journal, task);
  if (PrintResult(journal, task, {})) return 0;
  Print("status: pending\n");
  std::string shown;
  int64_t next = PrintParts(journal, task, 0, shown);
  while (values.count("follow") > 0) {
    // A master that ends in between has written everything by the time its lock is gone.
    const bool live = HeldByMaster(run);
    next = PrintParts(journal, task, next, shown);
    if (PrintResult(journal, task, shown) || !live) return 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  return 0;
}

}  // namespace

const Subcommand kLog = {"log", "show all that is known of one task", kLogHelp, LogDescription,
                         LogCommandLine};

}  // namespace cq
