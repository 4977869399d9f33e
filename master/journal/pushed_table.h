#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "master/core/records.h"
#include "master/journal/database.h"

namespace cq {

/// The rows that tasks push, in their journal: each once, by its key, with all who pushed it. Reads
/// what is there at the first push. One thread at a time.
class PushedTable {
 public:
  /// The database must outlive this.
  explicit PushedTable(Database& database) : database_(database) {}

  /// In a transaction that has the result of `parent`, which is ok: who is new, or wanted again, is
  /// appended to `added`.
  void Add(TaskId parent, const std::vector<PushedRow>& rows, std::vector<AddedRow>& added);
  /// The same of rows that somebody adds who is no task, or that the run's proposer names.
  void Add(const AddRecord& record, std::vector<AddedRow>& added);

 private:
  struct HashOfKey {
    size_t operator()(const RowHash& key) const { return key.low; }
  };
  struct Statements {
    explicit Statements(Database& database);
    Statement insert;
    Statement claim;
    Statement adopt;
    Statement row;
    Statement claimed;
  };

  void Read();
  void AddOne(int64_t claimant, TaskId parent, const PushedRow& row, std::vector<AddedRow>& added);
  void BringBack(TaskId parent, TaskId first, std::vector<AddedRow>& added);

  Database& database_;
  std::optional<Statements> statements_;
  std::unordered_map<RowHash, TaskId, HashOfKey> tasks_;
  /// Those that nobody wants now.
  std::unordered_set<TaskId> dormant_;
  TaskId last_ = 0;
};

/// Whether tasks of this run ever pushed rows.
bool HasPushed(Database& journal);
/// Those that are wanted, by number.
struct LiveRows {
  std::vector<TaskId> tasks;
  /// Those of them that have no outcome.
  std::vector<AddedRow> to_run;
};
LiveRows ReadLiveRows(Database& journal);
/// The numbers alone.
std::vector<TaskId> LivePushed(Database& journal);
/// The fields of a row that was pushed; none: it was not.
std::optional<std::vector<std::string>> PushedFields(Database& journal, TaskId task);

}  // namespace cq
