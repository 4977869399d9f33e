#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "master/core/records.h"
#include "master/database.h"
#include "master/record_writer.h"

namespace cq {

/// A run of rows with consecutive task numbers (table `ranges`).
struct RowRange {
  uint64_t position = 1;
  TaskId task = 1;
  uint64_t rows = 0;
  bool operator==(const RowRange&) const = default;
};

inline constexpr int kJournalFormat = 2;

/// How a journal's connection writes.
void SetUpJournal(Database& database);

/// Makes the journal of a new run with what is known before its start, the first epoch included:
/// one durable file, without a log beside it. `meta` holds JSON texts by name.
void CreateJournal(const std::string& path, const std::map<std::string, std::string>& meta,
                   const std::vector<RowRange>& ranges);

/// Writes the journal on a thread of its own, in group commits. Thread-safe; the callbacks come
/// from the journal's thread.
class JournalWriter final : public RecordWriter {
 public:
  JournalWriter(Database database, Callbacks callbacks);
  /// Commits what was pushed, then ends the thread.
  ~JournalWriter() override;

  void Push(std::vector<JournalRecord> records) override;
  bool Flush() override;
  /// A slice at a time between commits.
  void Copy(std::string path) override;
  bool exclusive() const override { return exclusive_; }

 private:
  class Tables;

  void Work();
  void CommitBatch(std::vector<JournalRecord>& batch);
  void CopySlice();

  Callbacks callbacks_;
  Database database_;
  const bool exclusive_;
  std::unique_ptr<Tables> tables_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::vector<JournalRecord> queue_;
  bool busy_ = false;
  bool failed_ = false;
  bool closing_ = false;
  /// To be made; the first is being made once there is `copy_`.
  std::deque<std::string> copies_;
  std::unique_ptr<DatabaseCopy> copy_;
  std::thread thread_;
};

}  // namespace cq
