#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "master/core/records.h"
#include "master/journal/database.h"

namespace cq {

/// Writes the table `results`, a row for each task, and the names of what they returned.
class ResultRows {
 public:
  explicit ResultRows(Database& database);

  /// The record must live until Write.
  void Add(const ResultRecord& record) { waiting_.push_back(&record); }
  /// Inserts what was added since the last call.
  void Write();

 private:
  /// So many rows go into one statement: nearly half of what a row costs is setting its statement
  /// out and back.
  static constexpr size_t kGroup = 32;

  struct Row {
    TaskId task = 0;
    AttemptId attempt = 0;
    uint64_t attempts = 1;
    uint64_t worker = 0;
    uint64_t started_us = 0;
    uint64_t wall_us = 0;
    std::string json;
    /// None: it returned, and has nothing else to tell.
    const TaskResult* details = nullptr;
  };

  void Put(const ResultRecord& record);
  void PutAnswers(const ResultRecord& record);
  /// The next one of the group, with its values empty; and what is done once it is filled.
  Row& Next();
  void Filled();
  static void Bind(Statement& statement, int& at, const Row& row, bool plain);
  void NoteName(std::string_view name, TaskId task, size_t place);

  Statement result_;
  Statement results_;
  Statement plain_;
  Statement name_;
  /// What was returned so far: by which task, and its place there.
  std::map<std::string, std::pair<TaskId, size_t>, std::less<>> names_;
  std::vector<const ResultRecord*> waiting_;
  std::array<Row, kGroup> group_;
  size_t filled_ = 0;
  std::vector<std::string> returned_;
};

}  // namespace cq
