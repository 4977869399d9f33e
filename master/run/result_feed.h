#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/mutex.h"
#include "master/core/records.h"
#include "master/core/row_range.h"
#include "master/core/task_table.h"
#include "master/journal/database.h"

namespace cq {

/// Who reads results while their run goes on.
class ResultTaker {
 public:
  struct Result {
    TaskId task = 0;
    Outcome outcome = Outcome::kOk;
    /// What it printed, and what it returned as the journal keeps it; for the time of the call.
    std::string_view out;
    std::string_view returned;
  };
  virtual ~ResultTaker() = default;
  /// Both return false when it wants no more. They may wait for whoever reads in turn, but not once
  /// `stop_fd` is readable.
  virtual bool Take(const Result& result, int stop_fd) = 0;
  /// Nothing else is there for now.
  virtual bool Pause(int stop_fd) = 0;
};

/// Gives the results of a run, once they are durable, to whoever reads them while it goes on: from
/// the journal, so that a slow reader holds nothing up and takes no memory. Has a thread of its
/// own.
class ResultFeed {
 public:
  enum class Order {
    /// All, as they stand in the output.
    kInput,
    /// Those that end from now on; or before them all that are there.
    kFresh,
    kAnyOrder
  };
  struct Options {
    std::string run_dir;
    Order order = Order::kInput;
    /// Only so many rows of the input are run; 0: all.
    uint64_t limit = 0;
    /// The journal can be read while it is written. Else all comes at the end, as it stands in the
    /// output.
    bool live = true;
  };
  /// Starts when the journal has what earlier masters left, and its own has added nothing. `taker`
  /// must outlive it.
  ResultFeed(Options options, ResultTaker& taker);
  ~ResultFeed();

  /// Something is durable. From one thread.
  void OnCommitted(const Committed& committed);
  /// The run has come to its end: returns when all is taken, or `hurry_fd` is readable. Returns why
  /// it could not be read; empty: it could, or nobody wanted more.
  std::string Finish(int hurry_fd);

 private:
  /// Where in the order of the output it is.
  struct Place {
    size_t range = 0;
    uint64_t row = 0;
    /// Of the input; then the last of those that tasks have pushed.
    uint64_t position = 0;
    TaskId pushed = 0;
  };

  /// One that was read.
  struct Row {
    TaskId task = 0;
    bool ended = false;
    Outcome outcome = Outcome::kOk;
    std::string out;
    std::string returned;
  };

  void Start();
  void Work();
  void Read();
  bool GiveInOrder(bool all);
  bool GiveRange(const RowRange& range, bool all);
  bool GivePushed(bool all);
  bool GiveFresh(std::vector<AttemptSpan> spans);
  bool Give(const Row& row);
  std::vector<Row> ReadSome(Statement& rows) const;

  const Options options_;
  ResultTaker& taker_;
  Database journal_;
  std::vector<RowRange> ranges_;
  /// Rows that nobody pushes now: they are the run's again once somebody does.
  std::set<TaskId> dormant_;
  /// Of kAnyOrder.
  TaskSet given_;
  Place place_;
  /// Readable: whoever waits is to wait no more; and: the thread is done.
  Fd stop_, done_;
  std::string problem_;
  Mutex mutex_;
  Condition changed_;
  bool news_ CQ_GUARDED_BY(mutex_) = false;
  bool finishing_ CQ_GUARDED_BY(mutex_) = false;
  std::vector<AttemptSpan> fresh_ CQ_GUARDED_BY(mutex_);
  std::thread thread_;
};

/// Writes `text` to a pipe, a terminal or a file, and waits for whoever reads it until `stop_fd` is
/// readable. False if that is not done, or nobody will read it.
bool WriteWhileWanted(int fd, std::string_view text, int stop_fd);

}  // namespace cq
