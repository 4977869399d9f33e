#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
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

constexpr HelpPage kExplainHelp = {
    "cq explain [RUN] TASK",
    "Says why a task has not run, or not ended: what it waits for, which workers do not take it "
    "and why, and what\n"
    "became of earlier attempts. TASK is its number, the column cq_task of the results.",
    "cq explain params.cq 17"};

po::options_description ExplainDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("json", "as one JSON array of lines")("help,h", "show this page");
  return options;
}

std::vector<std::string> Attempts(Database& journal, uint64_t task) {
  std::vector<std::string> lines;
  auto rows = journal.Prepare(
      "SELECT datetime(f.at_us / 1000000, 'unixepoch', 'localtime'), f.kind, f.worker,"
      " coalesce(w.host, '?'), f.reason FROM failures f LEFT JOIN workers w USING(worker)"
      " WHERE f.task = ?1 ORDER BY f.at_us");
  rows.Bind(1, static_cast<int64_t>(task));
  while (rows.Step()) {
    lines.push_back(fmt::format("{}: an attempt on worker {} on {}: {}: {}", rows.Text(0),
                                rows.Int(2), rows.Text(3),
                                FailureName(static_cast<int>(rows.Int(1))), rows.Text(4)));
  }
  return lines;
}

// Of a task that is not part of its run any more.
std::string WhyGone(Database& journal, const std::vector<RowRange>& ranges, uint64_t task) {
  if (ReadDefinition(journal).calls) return {};
  if (!PushedFields(journal, task)) {
    const bool there = std::any_of(ranges.begin(), ranges.end(), [&](const RowRange& range) {
      return task >= range.task && task < range.task + range.rows;
    });
    return there ? "" : "its row is not in the input any more";
  }
  const auto live = LivePushed(journal);
  if (std::binary_search(live.begin(), live.end(), task)) return {};
  return "no task that is ok pushes it any more: it counts again if one does";
}

std::vector<std::string> Explain(const std::string& run, uint64_t task) {
  const bool live = MasterMayLive(run);
  // Its master first: what has ended by then is in the journal, or on its way there.
  std::vector<std::string> now;
  if (live) {
    now = ListOfJson(
        ParseJson(AskMaster(run, RequestKind::kWhy, fmt::format(R"({{"task": {}}})", task))));
  }
  Database journal = OpenToRead(run);
  const auto ranges = ReadRanges(journal);
  if (!ReadDefinition(journal).calls && task > LastTask(journal, ranges)) {
    throw UsageError(fmt::format("'{}' has no task {}: its tasks are 1 to {}", run, task,
                                 LastTask(journal, ranges)));
  }
  std::vector<std::string> lines = Attempts(journal, task);
  const std::string gone = WhyGone(journal, ranges, task);
  if (!gone.empty()) lines.push_back(gone);
  auto result = journal.Prepare(
      "SELECT r.outcome, r.attempts, r.worker, coalesce(w.host, '?'), coalesce(r.error, '')"
      " FROM results r LEFT JOIN workers w USING(worker) WHERE r.task = ?1");
  result.Bind(1, static_cast<int64_t>(task));
  if (result.Step()) {
    const std::string error(result.Text(4));
    lines.push_back(fmt::format("it ended as {} at its attempt {}, on worker {} on {}{}{}",
                                OutcomeName(static_cast<int>(result.Int(0))), result.Int(1),
                                result.Int(2), result.Text(3), error.empty() ? "" : ": ", error));
    return lines;
  }
  if (!gone.empty()) return lines;
  lines.insert(lines.end(), now.begin(), now.end());
  if (!live) {
    lines.push_back(
        fmt::format("it has no result, and nobody runs it: cq resume {}", ShellQuote(run)));
  }
  return lines;
}

int ExplainCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kExplain, values)) return 0;
  auto words = Positional(values);
  if (words.empty()) throw UsageError("cq explain [RUN] TASK: which task?");
  const uint64_t task = ParseCount(words.back(), "TASK", 1);
  words.pop_back();
  const std::string run = FindRun(words);
  const auto lines = Explain(run, task);
  if (values.count("json") > 0) {
    fmt::print("{}\n", ShownJson(JsonOfList(lines)));
    return 0;
  }
  fmt::print("{}: task {}\n", run, task);
  for (const std::string& text : lines) fmt::print("  {}\n", PrintableText(text));
  return 0;
}

}  // namespace

const Subcommand kExplain = {"explain", "say why a task has not run, or not ended", kExplainHelp,
                             ExplainDescription, ExplainCommandLine};

}  // namespace cq
