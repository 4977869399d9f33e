#include "master/run/export.h"

#include <fmt/compile.h>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <future>
#include <map>
#include <set>
#include <system_error>
#include <vector>

#include "base/json.h"
#include "base/text.h"
#include "cq/error.h"
#include "master/input/csv_reader.h"
#include "master/input/input.h"
#include "master/journal/pushed_table.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/journal/value_text.h"
#include "master/run/output_file.h"
#include "protocol/limits.h"
#include "protocol/outcome_name.h"

namespace cq {
namespace {

constexpr uint64_t kRowsBetweenNotes = 100'000;

// The columns of the result that come from the journal.
struct Layout {
  std::vector<size_t> input_columns;
  std::map<std::string, size_t, std::less<>> returned;
  std::vector<std::string> returned_titles;
  uint64_t stdout_bytes = 0;
  /// Tasks have pushed rows, which stand behind those of the input.
  bool grown = false;
};

Layout MakeLayout(const RunDefinition& definition, Database& journal) {
  Layout layout;
  std::set<std::string> titles;
  for (size_t i = 0; i < definition.columns.size(); ++i) {
    if (definition.columns[i].starts_with("cq_")) continue;
    layout.input_columns.push_back(i);
    titles.insert(definition.columns[i]);
  }
  auto names = journal.Prepare("SELECT name FROM names ORDER BY task, place");
  while (names.Step()) {
    std::string name(names.Text(0));
    layout.returned.emplace(name, layout.returned.size());
    std::string title = name;
    while (titles.contains(title) || title.starts_with("cq_")) {
      title = title.starts_with("cq_") ? "out." + title : title + ".out";
    }
    titles.insert(title);
    layout.returned_titles.push_back(std::move(title));
  }
  layout.stdout_bytes = definition.stdout_column;
  layout.grown = HasPushed(journal);
  return layout;
}

std::string Header(const RunDefinition& definition, const Layout& layout) {
  std::string line;
  for (const size_t column : layout.input_columns)
    line += CsvField(definition.columns[column]) + ",";
  for (const std::string& title : layout.returned_titles) line += CsvField(title) + ",";
  line += "cq_task,cq_status,cq_exit,cq_error,cq_seconds,cq_max_rss_kb,cq_attempts,cq_worker";
  if (layout.grown) line += ",cq_parent";
  return line + (layout.stdout_bytes > 0 ? ",cq_stdout\n" : "\n");
}

// One line, whatever the message holds, cut at a character.
std::string ErrorText(std::string_view text) {
  if (text.empty()) return {};
  std::string line(CutText(text, kErrorBytesMax));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return line;
}

std::string StdoutText(std::string_view text, uint64_t limit) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return std::string(CutText(text, limit));
}

std::string ExitText(int64_t exit) {
  if (exit >= 0) return fmt::format_int(exit).str();
  const char* name = sigabbrev_np(static_cast<int>(-exit));
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("SIG{}", -exit);
}

// A result as far as its line shows it.
struct ResultRow {
  TaskId task = 0;
  int outcome = 0;
  int64_t exit = 0;
  int64_t wall_us = 0;
  int64_t max_rss_kb = 0;
  int64_t attempts = 0;
  int64_t worker = 0;
  std::string error;
  std::string returned;
  std::string out;
};

// The results in the order of task numbers, one scan per range. A thread reads ahead while lines
// are written: each is half of the work.
class ResultCursor {
 public:
  ResultCursor(Database& journal, uint64_t stdout_bytes)
      : stdout_bytes_(stdout_bytes),
        statement_(journal.Prepare(
            fmt::format("SELECT task, outcome, exit, wall_us, max_rss_kb, attempts, worker, error,"
                        " returned{} FROM results WHERE task BETWEEN ?1 AND ?2 ORDER BY task",
                        stdout_bytes > 0 ? ", stdout" : ""))) {}

  void Start(TaskId first, TaskId last) {
    Wait();
    statement_.Reset();
    statement_.Bind(1, static_cast<int64_t>(first)).Bind(2, static_cast<int64_t>(last));
    rows_.clear();
    at_ = 0;
    more_ = true;
    Advance();
  }
  // The journal is the caller's thread's alone again.
  void Wait() {
    if (ahead_.valid()) ahead_.get();
  }
  // The result of `task`, which is at or after the last one asked for; nullptr if it has none.
  const ResultRow* At(TaskId task) {
    for (;;) {
      while (at_ < rows_.size() && rows_[at_].task < task) ++at_;
      if (at_ < rows_.size()) return rows_[at_].task == task ? &rows_[at_] : nullptr;
      if (!ahead_.valid()) return nullptr;
      rows_ = ahead_.get();
      at_ = 0;
      if (more_) Advance();
    }
  }

 private:
  static constexpr size_t kRowsAhead = 4096;
  /// Whatever a row holds, it is read ahead no further than this.
  static constexpr size_t kBytesAhead = 1u << 22;

  void Advance() {
    try {
      ahead_ = std::async(std::launch::async, [this] { return Read(); });
    } catch (const std::system_error&) {
      // No room for a thread: read when it is asked for.
      ahead_ = std::async(std::launch::deferred, [this] { return Read(); });
    }
  }

  std::vector<ResultRow> Read() {
    std::vector<ResultRow> rows;
    rows.reserve(kRowsAhead);
    for (size_t bytes = 0; rows.size() < kRowsAhead && bytes < kBytesAhead;) {
      more_ = statement_.Step();
      if (!more_) break;
      rows.push_back(Row());
      bytes += rows.back().returned.size() + rows.back().out.size();
    }
    return rows;
  }

  ResultRow Row() const {
    ResultRow row;
    row.task = static_cast<TaskId>(statement_.Int(0));
    row.outcome = static_cast<int>(statement_.Int(1));
    row.exit = statement_.Int(2);
    row.wall_us = statement_.Int(3);
    row.max_rss_kb = statement_.Int(4);
    row.attempts = statement_.Int(5);
    row.worker = statement_.Int(6);
    row.error = ErrorText(statement_.Text(7));
    row.returned = statement_.Text(8);
    if (stdout_bytes_ > 0) row.out = StdoutText(statement_.Text(9), stdout_bytes_);
    return row;
  }

  const uint64_t stdout_bytes_;
  Statement statement_;
  std::vector<ResultRow> rows_;
  size_t at_ = 0;
  /// Of the reading thread: whether the scan is not at its end.
  bool more_ = false;
  /// Last, since its thread uses the others.
  std::future<std::vector<ResultRow>> ahead_;
};

// The rows that tasks pushed and that are wanted, by number, some at a time.
class PushedCursor {
 public:
  struct Row {
    TaskId task = 0;
    TaskId parent = 0;
    std::vector<std::string> fields;
  };
  explicit PushedCursor(Database& journal)
      : statement_(journal.Prepare("SELECT task, parent, fields FROM live_pushed ORDER BY task")) {}

  // None at the end.
  std::vector<Row> Next() {
    constexpr size_t kRows = 4096;
    std::vector<Row> rows;
    while (more_ && rows.size() < kRows) {
      more_ = statement_.Step();
      if (!more_) break;
      rows.push_back({static_cast<TaskId>(statement_.Int(0)),
                      static_cast<TaskId>(statement_.Int(1)),
                      ListOfJson(ParseJson(statement_.Text(2)))});
    }
    return rows;
  }

 private:
  Statement statement_;
  bool more_ = true;
};

// A line for each task; what they share is kept from one to the next.
class LineWriter {
 public:
  explicit LineWriter(const Layout& layout) : layout_(layout), cells_(layout.returned.size()) {}

  /// The line of a task, until the next call. `result`: null if it has none. `parent`: who pushed
  /// it, or 0.
  std::string_view Line(const std::vector<std::string>& fields, TaskId task,
                        const ResultRow* result, TaskId parent = 0) {
    line_.clear();
    for (const size_t column : layout_.input_columns) Append(fields.at(column));
    ReadCells(result != nullptr ? result->returned : std::string_view());
    for (const std::string& cell : cells_) Append(cell);
    const auto out = std::back_inserter(line_);
    if (result == nullptr) {
      fmt::format_to(out, FMT_COMPILE("{},pending,,,,,,"), task);
    } else {
      fmt::format_to(out, FMT_COMPILE("{},{},{},"), task, OutcomeName(result->outcome),
                     ExitText(result->exit));
      Append(result->error);
      fmt::format_to(out, FMT_COMPILE("{}.{:06},"), result->wall_us / 1'000'000,
                     result->wall_us % 1'000'000);
      // What was not measured is missing.
      if (result->max_rss_kb > 0) fmt::format_to(out, FMT_COMPILE("{}"), result->max_rss_kb);
      fmt::format_to(out, FMT_COMPILE(",{},{}"), result->attempts, result->worker);
    }
    if (layout_.grown) line_ += ',';
    if (parent != 0) fmt::format_to(out, FMT_COMPILE("{}"), parent);
    if (layout_.stdout_bytes > 0) {
      line_ += ',';
      if (result != nullptr) AppendCsvField(line_, result->out);
    }
    line_ += '\n';
    return line_;
  }

 private:
  void Append(std::string_view field) {
    AppendCsvField(line_, field);
    line_ += ',';
  }

  void ReadCells(std::string_view json) {
    for (std::string& cell : cells_) cell.clear();
    if (json.empty()) return;
    JsonToCells(json, returned_);
    for (auto& [name, text] : returned_) {
      const auto found = layout_.returned.find(name);
      if (found != layout_.returned.end()) cells_[found->second] = std::move(text);
    }
  }

  const Layout& layout_;
  std::vector<std::string> cells_;
  Cells returned_;
  std::string line_;
};

}  // namespace

const char* FailureName(int kind) {
  constexpr const char* kNames[] = {
      "lost, and not counted", "lost", "lost", "failed", "took its program with it",
      "did not have enough"};
  const auto index = static_cast<size_t>(kind);
  return index < std::size(kNames) ? kNames[index] : "ended in a way that this cq does not know";
}

void ExportResults(Database journal, const std::string& run_dir, const std::string& output,
                   const std::function<void(uint64_t)>& progress) {
  // One view of the journal, though its master may go on writing.
  journal.Execute("BEGIN");
  const RunDefinition definition = ReadDefinition(journal);
  if (definition.calls) {
    throw UsageError(fmt::format(
        "the tasks of '{}' are calls of a program, which gets their results itself; 'cq log {} "
        "TASK' shows one, 'cq query' all",
        run_dir, run_dir));
  }
  const Layout layout = MakeLayout(definition, journal);
  const std::string copy = RowsOf(journal, run_dir);
  CsvReader reader(OpenRows(copy), copy);
  CsvRow row;
  if (!reader.Next(row)) throw Error(fmt::format("'{}' has lost its header", copy));
  reader.set_single_column(row.fields.size() == 1);

  OutputFile file(output);
  file.Append(Header(definition, layout));
  ResultCursor results(journal, layout.stdout_bytes);
  LineWriter lines(layout);
  uint64_t done = 0;
  for (const RowRange& range : ReadRanges(journal)) {
    results.Start(range.task, range.task + range.rows - 1);
    for (uint64_t i = 0; i < range.rows; ++i) {
      if (!reader.Next(row)) throw Error(fmt::format("'{}' ends too early: was it edited?", copy));
      const TaskId task = range.task + i;
      file.Append(lines.Line(row.fields, task, results.At(task)));
      if (++done % kRowsBetweenNotes == 0) progress(done);
    }
  }
  results.Wait();
  if (layout.grown) {
    PushedCursor pushed(journal);
    for (auto rows = pushed.Next(); !rows.empty(); rows = pushed.Next()) {
      results.Start(rows.front().task, rows.back().task);
      for (const auto& [task, parent, fields] : rows) {
        file.Append(lines.Line(fields, task, results.At(task), parent));
        if (++done % kRowsBetweenNotes == 0) progress(done);
      }
      results.Wait();
    }
  }
  file.Close();
}

}  // namespace cq
