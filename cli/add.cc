#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/json_text.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/input/input.h"
#include "master/journal/run_definition.h"
#include "master/run/run_directory.h"
#include "protocol/column_types.h"
#include "protocol/command.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kAddHelp = {
    "cq add [RUN] MORE.csv [options]",
    "Adds rows to a run while it goes on: tasks as those of its input, behind them in the output. "
    "MORE.csv has the same\n"
    "columns ('-': standard input). A row that was added before, or that a task pushed, is the "
    "same row, and\n"
    "runs once; one that equals a row of the input is another.\n"
    "Works from every machine that sees the run directory. RUN is the run's directory; without it, "
    "the only *.cq here,\n"
    "or the newest.",
    "cq add params.cq more.csv"};

/// So many bytes of rows are sent at a time, and so many rows.
constexpr size_t kBytes = 1u << 20;
constexpr size_t kRows = 10'000;

po::options_description AddDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("separator", po::value<std::string>(),
                        "what stands between fields: one character, or tab")("help,h",
                                                                             "show this page");
  return options;
}

// The rows of a CSV as lists of objects, some in each.
class Batches {
 public:
  void Add(const std::vector<std::string>& columns, const std::vector<std::string>& fields) {
    if (texts_.empty() || texts_.back().size() >= kBytes || rows_ % kRows == 0) {
      texts_.emplace_back("[");
    }
    std::string& text = texts_.back();
    if (text.size() > 1) text += ',';
    for (size_t i = 0; i < columns.size(); ++i) {
      text += i == 0 ? '{' : ',';
      AppendJsonText(text, columns[i]);
      text += ':';
      AppendJsonText(text, fields[i]);
    }
    text += '}';
    ++rows_;
  }
  uint64_t rows() const { return rows_; }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::vector<std::string> texts_;
  uint64_t rows_ = 0;
};

void RequireColumns(const std::vector<std::string>& columns, const RunDefinition& definition) {
  const std::set<std::string> given(columns.begin(), columns.end());
  const std::set<std::string> wanted(definition.columns.begin(), definition.columns.end());
  if (given == wanted) return;
  throw UsageError(fmt::format("its columns are {}; those of the run are {}", Joined(columns, ", "),
                               Joined(definition.columns, ", ")));
}

// Of a run of programs, whose columns have types.
void RequireType(const std::string& column, const std::string& field,
                 const RunDefinition& definition) {
  const auto found = std::find(definition.columns.begin(), definition.columns.end(), column);
  const auto place = static_cast<size_t>(found - definition.columns.begin());
  if (place >= definition.types.size() || IsOfType(field, definition.types[place])) return;
  throw UsageError(fmt::format("'{}' in column '{}', which is {} in this run", field, column,
                               NameOf(definition.types[place])));
}

// All of it is read before anything is sent.
Batches ReadRows(InputOptions input, const RunDefinition& definition) {
  Batches batches;
  input.look = [&](const std::vector<std::string>& columns) -> InputOptions::LookAtRow {
    RequireColumns(columns, definition);
    return [&, columns](const std::vector<std::string>& fields) {
      for (size_t i = 0; i < columns.size(); ++i) RequireType(columns[i], fields[i], definition);
      batches.Add(columns, fields);
    };
  };
  const InputSummary summary = ReadInput(input);
  if (summary.odd_line != 0) {
    throw UsageError(fmt::format("{}:{}: bytes that are no UTF-8 cannot be added", input.path,
                                 summary.odd_line));
  }
  return batches;
}

int AddCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kAdd, values)) return 0;
  auto words = Positional(values);
  if (words.empty()) throw UsageError("cq add [RUN] MORE.csv: which rows?");
  InputOptions input;
  input.path = words.back();
  words.pop_back();
  if (values.count("separator") > 0) input.separator = values["separator"].as<std::string>();
  const std::string run = FindRun(words);
  if (!MasterMayLive(run)) {
    throw UsageError(
        fmt::format("'{}' is not running: add the rows to its input, and go on: cq resume {}", run,
                    ShellQuote(run)));
  }
  const RunDefinition definition = [&] {
    Database journal = OpenToRead(run);
    return ReadDefinition(journal);
  }();
  const Batches batches = ReadRows(input, definition);
  uint64_t added = 0;
  for (const std::string& text : batches.texts()) {
    added += std::stoull(AskMaster(run, RequestKind::kAddRows, text + "]"));
  }
  fmt::print("{}: {} rows are added{}\n", run, added,
             added == batches.rows()
                 ? ""
                 : fmt::format(", {} were there already", batches.rows() - added));
  return 0;
}

}  // namespace

const Subcommand kAdd = {"add", "add rows to a live run", kAddHelp, AddDescription, AddCommandLine};

}  // namespace cq
