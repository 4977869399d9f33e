#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/mutex.h"
#include "master/core/records.h"
#include "master/core/row_range.h"
#include "master/journal/database.h"
#include "master/journal/journal_tables.h"
#include "master/journal/record_writer.h"

namespace cq {

inline constexpr int kJournalFormat = 4;

/// How a journal's connection writes.
void SetUpJournal(Database& database);

/// Makes the journal of a new run with what is known before its start, the first epoch included:
/// one durable file, without a log beside it. `meta` holds JSON texts by name.
void CreateJournal(const std::string& path, const std::map<std::string, std::string>& meta,
                   const std::vector<RowRange>& ranges);

/// The same in an empty database that is open.
void FillNewJournal(Database& database, const std::map<std::string, std::string>& meta,
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
  void Work();
  void CopySlice();

  Callbacks callbacks_;
  Database database_;
  const bool exclusive_;
  JournalTables tables_;
  Mutex mutex_;
  Condition wake_;
  Condition idle_;
  std::vector<JournalRecord> queue_ CQ_GUARDED_BY(mutex_);
  bool busy_ CQ_GUARDED_BY(mutex_) = false;
  bool failed_ CQ_GUARDED_BY(mutex_) = false;
  bool closing_ CQ_GUARDED_BY(mutex_) = false;
  /// To be made; the first is being made once there is `copy_`.
  std::deque<std::string> copies_ CQ_GUARDED_BY(mutex_);
  /// The thread's own.
  std::unique_ptr<DatabaseCopy> copy_;
  std::thread thread_;
};

}  // namespace cq
