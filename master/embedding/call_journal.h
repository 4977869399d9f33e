#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "master/journal/database.h"
#include "master/journal/journal.h"
#include "master/journal/record_writer.h"

// What becomes of the results of calls.
namespace cq {

/// Takes the results that are kept: of a MemoryWriter in the thread that pushes, of a DurableWriter
/// in the journal's.
using DeliverResults = std::function<void(std::vector<TaskResult>)>;

/// Keeps nothing: a result counts once it is in the master's memory, and is delivered at once.
class MemoryWriter final : public RecordWriter {
 public:
  MemoryWriter(Callbacks callbacks, DeliverResults deliver)
      : callbacks_(std::move(callbacks)), deliver_(std::move(deliver)) {}

  void Push(std::vector<JournalRecord> records) override;
  bool Flush() override { return true; }
  void Copy(std::string path) override;
  bool exclusive() const override { return false; }

 private:
  Callbacks callbacks_;
  DeliverResults deliver_;
};

/// Writes the journal, and delivers results once they are durable.
class DurableWriter final : public RecordWriter {
 public:
  DurableWriter(Database journal, Callbacks callbacks, DeliverResults deliver);

  void Push(std::vector<JournalRecord> records) override;
  bool Flush() override { return journal_->Flush(); }
  void Copy(std::string path) override { journal_->Copy(std::move(path)); }
  bool exclusive() const override { return journal_->exclusive(); }

 private:
  void OnCommitted(const Committed& committed);

  DeliverResults deliver_;
  Mutex mutex_;
  std::unordered_map<AttemptId, TaskResult> waiting_ CQ_GUARDED_BY(mutex_);
  std::unique_ptr<JournalWriter> journal_;
};

/// The calls that earlier masters of a run were given, by what they are. A call that is submitted
/// again takes the number, and so the result, of the first of its like that nobody has taken yet.
class KnownCalls {
 public:
  /// Reads; others may write meanwhile.
  explicit KnownCalls(Database journal);

  /// 0: there is none.
  TaskId Claim(const std::string& function, const std::string& arguments);
  /// The result of a call, if there is one by now.
  std::optional<TaskResult> Result(TaskId task);
  std::vector<TaskId> tasks() const;
  /// Those without a result.
  const std::vector<TaskId>& open() const { return open_; }
  /// The highest number of any.
  TaskId last() const { return last_; }

 private:
  struct Known {
    uint64_t hash = 0;
    TaskId task = 0;
    bool operator<(const Known& other) const {
      return hash != other.hash ? hash < other.hash : task < other.task;
    }
  };
  Database journal_;
  std::vector<Known> known_;  // sorted
  std::vector<bool> claimed_;
  /// For each hash, before which place all are claimed.
  std::unordered_map<uint64_t, size_t> first_;
  std::vector<TaskId> open_;
  TaskId last_ = 0;
};

}  // namespace cq
