#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "master/core/records.h"

namespace cq {

/// Keeps what a run has written: in the journal, or in memory alone. Thread-safe; the callbacks may
/// come from any thread.
class RecordWriter {
 public:
  struct Callbacks {
    std::function<void(Committed)> committed;
    /// Nothing can be written any more; no further callback comes.
    std::function<void(std::string)> failed;
    /// A copy is complete: its path, and what was wrong, if anything.
    std::function<void(std::string, std::string)> copied;
  };

  virtual ~RecordWriter() = default;
  virtual void Push(std::vector<JournalRecord> records) = 0;
  /// Blocks until everything pushed is kept. False when that has failed.
  virtual bool Flush() = 0;
  /// Copies what is kept to `path`, as a journal.
  virtual void Copy(std::string path) = 0;
  /// Nobody else can read it while it is written.
  virtual bool exclusive() const = 0;
};

using MakeRecordWriter = std::function<std::unique_ptr<RecordWriter>(RecordWriter::Callbacks)>;

}  // namespace cq
