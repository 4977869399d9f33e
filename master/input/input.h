#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/stable_table.h"
#include "master/core/requests.h"
#include "master/core/row_range.h"
#include "master/core/start_order.h"
#include "master/input/csv_reader.h"
#include "master/input/row_requests.h"
#include "master/input/task_source.h"

namespace cq {

/// What one pass over the input found out.
struct InputSummary {
  std::vector<std::string> columns;
  uint64_t rows = 0;
  /// The first rows, for --dry-run.
  std::vector<CsvRow> first;
  /// What the columns hold, if that was asked for.
  std::vector<ColumnType> types;
  /// The names of columns of integers with one beyond 2^53 (TypeFinder::wide).
  std::vector<std::string> wide;
  /// The line of the first row with bytes that are no UTF-8; 0 if there is none.
  uint64_t odd_line = 0;
};

/// What the values of one column must be; throws UsageError for one that is not.
struct RowCheck {
  std::string column;
  /// The option that says so.
  std::string option;
  /// Empty values are not asked about.
  bool may_be_empty = true;
  std::function<void(const std::string&)> check;
};

/// How an input is read.
struct InputOptions {
  /// "-": standard input. Compressed if its name says so.
  std::string path;
  /// Where its rows are copied to, as a CSV of commas; empty: nowhere.
  std::string copy = {};
  /// As RunOptions.
  std::string separator = {};
  /// Called now and then with the rows and bytes so far.
  std::function<void(uint64_t, uint64_t)> progress = {};
  int interrupt_fd = -1;
  std::vector<RowCheck> checks = {};
  /// Called with the names of the columns, and what that returns with each row; what they throw as
  /// UsageError is told with the line.
  using LookAtRow = std::function<void(const std::vector<std::string>& fields)>;
  std::function<LookAtRow(const std::vector<std::string>& columns)> look = {};
  bool find_types = false;
};

/// Reads the input once from end to end, checks it, and copies it, in bounded memory. Throws
/// UsageError with the line for what is no valid CSV: a ragged row, a duplicate or empty column
/// name, an open quote, no header, a value that a check refuses.
InputSummary ReadInput(const InputOptions& options);

/// The rows of a run. Throws Error where they cannot be read.
Fd OpenRows(const std::string& path);

/// What stands in a column of costs: a number, in whatever unit, or a duration, then in seconds.
std::optional<double> ParseCost(const std::string& text);

/// The rows of the run directory's copy, by task number, as they are asked for: in order while
/// tasks are fresh, from memory while they are out one by one, and read again where they went out
/// in a span.
class RowSource final : public TaskSource {
 public:
  /// Only the fields in `columns` are kept, in this order; `seed_columns` make the seed, if there
  /// are any.
  struct Options {
    std::string path;
    std::vector<RowRange> ranges;
    std::vector<size_t> columns;
    std::vector<size_t> seed_columns;
    uint64_t seed = 0;
    /// The columns that hold each task's time limit, and its group.
    std::optional<size_t> timeout_column = {};
    std::optional<size_t> group_column = {};
    /// Where each row starts, if they are asked for in any order; else they are found by reading
    /// on.
    std::vector<uint64_t> offsets = {};
    /// Whether rows are to be had as spans; and what `columns` hold, if typed: else they are texts.
    bool spans = false;
    std::vector<ColumnType> types = {};
    /// What a row asks for, from all of its fields, where rows ask for different things. Throws
    /// UsageError.
    std::function<TaskRequest(const std::vector<std::string>& fields)> request = {};
    /// Tasks of the copy whose seeds are those of rows that were pushed.
    std::set<TaskId> keyed = {};
  };
  explicit RowSource(Options options);

  /// Kept in memory until it is forgotten.
  const TaskRow& Get(TaskId task) override;
  /// Not kept. None if the row is large, or time limits or groups are those of rows.
  std::optional<Task> TakeRows(AttemptSpan& span) override;
  /// In memory until it is forgotten.
  void Add(AddedRow& row) override;
  std::vector<std::string> Fields(TaskId task) override;
  /// Whether it is one of the input.
  bool Has(TaskId task) const { return PositionOf(task) != 0; }
  void Forget(const AttemptSpan& tasks) override;

 private:
  struct Checkpoint {
    uint64_t offset = 0;
    uint64_t line = 0;
  };
  /// 0: it has none.
  uint64_t PositionOf(TaskId task) const;
  void SeekTo(uint64_t position);
  /// Leaves it in `row_`.
  void Read(TaskId task);
  uint64_t SeedOf(TaskId task) const;
  const TaskRow& Keep(TaskId task);

  Options options_;
  std::vector<RowRange> by_task_;
  CsvReader reader_;
  uint64_t next_position_ = 1;
  /// How many the rows have.
  size_t columns_ = 0;
  /// The one read last.
  CsvRow row_;
  /// Where every so many rows one starts, as far as they were read: the way back to a row that was
  /// not kept.
  std::vector<Checkpoint> checkpoints_;
  StableTable<TaskId, TaskRow> kept_;
  /// Rows that tasks pushed, and why one cannot run.
  struct Pushed {
    PushedRow row;
    std::string problem;
  };
  std::unordered_map<TaskId, Pushed> pushed_;
};

/// The order in which tasks are to be started, and what finding their rows in it takes: 16 bytes a
/// row.
struct TaskOrder {
  StartOrder start;
  RequestClasses requests;
  std::vector<uint64_t> offsets;
};

/// What decides in which order rows go out.
struct OrderOptions {
  std::optional<size_t> cost_column = {};
  /// How long a row takes, if another knows that.
  std::function<double(const std::vector<std::string>& fields)> cost_of = {};
  std::optional<size_t> group_column = {};
  /// What rows ask for, if they ask for different things, and whom.
  RequestTexts requests = {};
  std::vector<PoolKind> pools = {};
};

/// The tasks of the copy at `path` of the input called `name`: those of one group (equal values in
/// `group_column`) together, the groups as they appear; by the numbers in `cost_column`, or what
/// `cost_of` says, the largest first, and then the groups by their sums; equal ones as they stand.
/// Throws UsageError for a cost that is no number, and a request that nobody can meet.
TaskOrder OrderTasks(const std::string& path, const std::string& name,
                     const std::vector<RowRange>& ranges, const OrderOptions& options);

}  // namespace cq
