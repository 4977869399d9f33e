#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "master/core/records.h"
#include "master/journal/database.h"
#include "master/journal/endings_table.h"
#include "master/journal/pushed_table.h"
#include "master/journal/result_rows.h"

namespace cq {

/// The tables of a journal, and how records become rows of them. One thread at a time.
class JournalTables {
 public:
  /// The database must outlive this.
  explicit JournalTables(Database& database);

  /// Writes `records` in one durable transaction and says what that makes durable. Throws Error.
  Committed Commit(const std::vector<JournalRecord>& records);

 private:
  void Put(const ResultRecord& record);
  void Put(const FailureRecord& record);
  void Put(const WorkerRecord& record);
  void Put(const WorkerEndRecord& record);
  void Put(const WorkerWaitsRecord& record);
  void Put(const AllocationIntent& record);
  void Put(const AllocationSubmitted& record);
  void Put(const AllocationEnded& record);
  void Put(const MarkRecord& record);
  void Put(const OutputRecord& record);
  void Put(const AvoidRecord& record);
  void Put(const LedgerRecord& record);
  void Put(const RaisedRecord& record);
  void Put(const CallRecord& record);
  void Put(const HaltedRecord& record);
  // Once all results are written (Commit).
  void Put(const AddRecord&) {}
  // Says that what stands before it is durable.
  void Put(const SpoolTaken&) {}

  Database& database_;
  ResultRows results_;
  PushedTable pushed_;
  EndingsTable endings_;
  Statement blob_;
  Statement failure_;
  Statement worker_;
  Statement worker_end_;
  Statement worker_waits_;
  Statement intent_;
  Statement submitted_;
  Statement allocation_end_;
  Statement meta_;
  Statement output_;
  Statement output_end_;
  Statement avoid_;
  Statement ledger_;
  Statement raised_;
  Statement call_;
  /// Of tasks that run for long: their attempt, and how many parts of its output have come.
  std::map<TaskId, std::pair<AttemptId, int64_t>> parts_;
};

}  // namespace cq
