#include <fmt/chrono.h>
#include <fmt/format.h>

#include <optional>

#include "cli/commands.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/database.h"
#include "master/export.h"
#include "master/input.h"
#include "master/run_definition.h"
#include "protocol/command.h"

namespace cq {
namespace {

namespace po = boost::program_options;

const HelpPage kHelp = {
    "cq log [RUN] TASK",
    "Shows all that is known of one task: its command, its outcome, and what it printed (the first "
    "16 KiB and the\n"
    "last 48 KiB of each stream). TASK is its number, the column cq_task of the results.",
    "cq log params.cq 17"};

void PrintCommand(const RunDefinition& definition, Database& journal, const std::string& run,
                  TaskId task) {
  const auto command = CompileCommand(definition.command, definition.columns, definition.constants,
                                      definition.shell);
  RowSource rows(
      {run + "/params.csv", ReadRanges(journal), command.columns, {}, definition.seed, {}});
  const auto rendered = RenderCommand(command.arguments, rows.Get(task).values, task);
  fmt::print("command:");
  if (const auto* words = std::get_if<std::vector<std::string>>(&rendered)) {
    for (const std::string& word : *words) fmt::print(" {}", ShellQuote(word));
  } else {
    fmt::print(" ({})", std::get<std::string>(rendered));
  }
  fmt::print("\n");
}

void PrintStream(const char* name, std::string_view text) {
  if (text.empty()) return;
  fmt::print("--- {} ---\n{}{}", name, text, text.ends_with('\n') ? "" : "\n");
}

}  // namespace

int LogCommandLine(const CommandLine& line) {
  po::options_description options("options", 100, 60);
  options.add_options()("help,h", "show this page");
  po::variables_map values;
  if (!ParseOptions(line, options, kHelp, values)) return 0;
  auto words = Positional(values);
  if (words.empty()) throw UsageError("usage: cq log [RUN] TASK");
  const TaskId task = ParseCount(words.back(), "TASK", 1);
  words.pop_back();
  const std::string run = FindRun(words);
  Database journal(run + "/journal.db", Database::Mode::kRead);
  const RunDefinition definition = ReadDefinition(journal);
  if (task > definition.rows) {
    throw UsageError(fmt::format("task {}: this run has {} tasks", task, definition.rows));
  }
  auto row = journal.Prepare(
      "SELECT outcome, exit, error, started_us, wall_us, user_us, system_us, max_rss_kb, attempts,"
      " worker, returned, stdout, stderr,"
      " (SELECT host FROM workers WHERE workers.worker = results.worker)"
      " FROM results WHERE task = ?1");
  row.Bind(1, static_cast<int64_t>(task));
  fmt::print("task: {}\n", task);
  PrintCommand(definition, journal, run, task);
  if (!row.Step()) {
    fmt::print("status: pending\n");
    return 0;
  }
  fmt::print("status: {}\nexit: {}\n", OutcomeName(static_cast<int>(row.Int(0))), row.Int(1));
  if (!row.IsNull(2)) fmt::print("error: {}\n", row.Text(2));
  fmt::print("started: {:%Y-%m-%d %H:%M:%S} on worker {} ({}), attempt {}\n",
             fmt::localtime(static_cast<std::time_t>(row.Int(3) / 1'000'000)), row.Int(9),
             row.Text(13), row.Int(8));
  const auto seconds = [&row](int column) { return static_cast<double>(row.Int(column)) / 1e6; };
  fmt::print("seconds: {:.6f} (user {:.6f}, system {:.6f}); peak memory: {} KiB\n", seconds(4),
             seconds(5), seconds(6), row.Int(7));
  if (!row.IsNull(10)) fmt::print("returned: {}\n", row.Text(10));
  PrintStream("stdout", row.Text(11));
  PrintStream("stderr", row.Text(12));
  return 0;
}

}  // namespace cq
