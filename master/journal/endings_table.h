#pragma once

#include <optional>
#include <string>
#include <vector>

#include "master/core/records.h"
#include "master/core/row_range.h"
#include "master/journal/database.h"

namespace cq {

/// What a run's proposer has been told, and which of it it had answered when that became durable:
/// so that it can be told again, in the same order, after its master's end. One thread at a time.
class EndingsTable {
 public:
  /// The database must outlive this.
  explicit EndingsTable(Database& database) : database_(database) {}

  // In a transaction that has what they are about.
  /// So many tasks from `first` on have ended.
  void Add(TaskId first, uint64_t tasks);
  /// Those of them that had ended before are told now, if they were told then.
  void OnBack(const std::vector<AddedRow>& added);
  void OnAnswer(const AddRecord::Proposed& answer);
  /// Somebody else has added rows: it may have more to say at the next start.
  void OnOthersAdd();

 private:
  struct Statements {
    explicit Statements(Database& database);
    Statement insert;
    Statement again;
    Statement answered;
    Statement done;
    int64_t last = 0;
  };
  Statements& statements();

  Database& database_;
  std::optional<Statements> statements_;
};

/// All that the proposer of a run is to hear again, as it was told before; who was never told of
/// comes last, by number.
class EndingsCursor {
 public:
  struct Ending {
    TaskId task = 0;
    Outcome outcome = Outcome::kOk;
    /// As the journal keeps it; empty: nothing.
    std::string returned;
    /// Of a row that is not in the input.
    std::optional<std::vector<std::string>> fields;
    /// What it answered to that is kept.
    bool answered = false;
  };

  /// `all`: not of the `ok` ones alone. What it reads must not be written meanwhile.
  EndingsCursor(Database& journal, bool all);
  bool Next(Ending& ending);

 private:
  const int64_t answered_;
  Statement rows_;
};

/// Gives a place in the order to all that ended without being told, and is part of the run now;
/// `ranges` and `limit` as for Recover.
void OrderEndings(Database& journal, const std::vector<RowRange>& ranges, uint64_t limit);
/// Whether it has answered to every `ok` that it was told.
bool HasAnsweredAll(Database& journal);
/// Whether the proposer has said that it is done, since which nobody has added rows.
bool ProposerIsDone(Database& journal);

}  // namespace cq
