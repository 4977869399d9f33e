#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "master/core/records.h"
#include "master/core/recovered.h"
#include "master/core/row_range.h"
#include "master/journal/database.h"
#include "master/journal/journal_tables.h"
#include "master/journal/recovery.h"
#include "tests/simulation/world.h"

namespace cq::sim {

/// The run's journal as its masters write and read it: the real tables, in memory. Beside it stands
/// what must hold of them.
class SimJournal {
 public:
  /// Of a new run with rows that are tasks 1 to `tasks`.
  explicit SimJournal(uint64_t tasks);

  /// A master starts on the run: what it finds. `limit`, `max_tasks`: as Recover.
  Recovered Open(const Restart& restart, uint64_t limit, uint64_t max_tasks);
  /// Throws Broken for an outcome that must not be.
  Committed Commit(const std::vector<JournalRecord>& records);
  /// A program numbers its calls by itself.
  void SetMark(TaskId mark);

  Epoch epoch() const { return epoch_; }
  /// No task above it may be given out.
  TaskId mark() const { return mark_; }
  const std::vector<RowRange>& ranges() const { return ranges_; }
  /// The rows that tasks pushed and that are wanted: reached from the input through tasks that are
  /// ok.
  std::set<TaskId> Live() const;
  bool IsPushed(TaskId task) const { return pushed_.contains(task); }
  /// What the row of a task is.
  std::string RowOf(TaskId task) const;
  /// Whoever is ok has pushed what it pushes, and nobody else has. Throws Broken.
  void CheckClaims(const World& world) const;
  /// The highest number that a task ever had.
  TaskId last() const { return last_; }
  /// The task has an outcome.
  bool Has(TaskId task) const { return outcomes_.contains(task); }
  /// The attempt counts no more: its task was set to run again, or its row is gone.
  bool Void(TaskId task, AttemptId attempt) const;
  const std::map<TaskId, Outcome>& outcomes() const { return outcomes_; }
  /// The numbers of the calls of a program.
  const std::map<uint64_t, TaskId>& calls() const { return calls_; }

  /// For a proposer: what run.cc asks of the journal, and what it is told first.
  Database& database() { return database_; }
  /// Of one that is told: it has named just the rows that follow from the endings in their order.
  /// Throws Broken.
  void CheckProposed(const World& world);

  struct Row {
    Outcome outcome = Outcome::kOk;
    int64_t exit = 0;
    std::string returned;
    uint64_t charges = 0;
  };
  /// All that has an outcome.
  std::map<TaskId, Row> Results();

 private:
  void Check(const TaskResult& result);
  void Forget(const Restart& restart);
  void Note(const std::vector<JournalRecord>& records, const Committed& committed);

  Database database_;
  std::unique_ptr<JournalTables> tables_;
  std::vector<RowRange> ranges_;
  Epoch epoch_ = 0;
  TaskId mark_ = 0;
  TaskId last_ = 0;
  std::map<TaskId, Outcome> outcomes_;
  std::map<uint64_t, TaskId> calls_;
  /// Tasks that were set to run again, and since when; those whose rows are gone.
  std::map<TaskId, Epoch> reset_;
  std::set<TaskId> removed_;
  /// The same of all up to a number.
  std::pair<TaskId, Epoch> all_reset_{};
  /// What was pushed: the row of each task, the task of each row, and what those who are ok pushed.
  std::map<TaskId, std::string> pushed_;
  std::map<std::string, TaskId> task_of_;
  std::map<TaskId, std::vector<std::string>> claims_;
  /// And the proposer.
  std::set<std::string> proposed_;
};

}  // namespace cq::sim
