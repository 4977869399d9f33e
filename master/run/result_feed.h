#pragma once

#include <functional>
#include <optional>
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
#include "master/input/input.h"
#include "master/journal/database.h"

namespace cq {

/// Who reads results while their run goes on.
class ResultTaker {
 public:
  struct Result {
    TaskId task = 0;
    Outcome outcome = Outcome::kOk;
    /// What it printed, and what it returned as the journal keeps it.
    std::string out;
    std::string returned;
    /// Those of its row, if its feed gives them.
    std::vector<std::string> fields;
  };
  virtual ~ResultTaker() = default;
  /// Both return false when it wants no more. They may wait for whoever reads in turn, but not once
  /// `stop_fd` is readable.
  virtual bool Take(const Result& result, int stop_fd) = 0;
  /// Nothing else is there for now.
  virtual bool Pause(int stop_fd) = 0;
};

/// How long a run that has ended waits for those who read its results.
struct ReadersPatience {
  /// It was ended before its time: they are given a second.
  bool hurry = false;
  /// Readable: no longer.
  int hurry_fd = -1;
  /// Called about every 10 s meanwhile.
  std::function<void()> keep_alive = {};

  /// Waits until `fd` is readable. False if that takes too long.
  bool AwaitReadable(int fd) const;
};

/// Gives the results of a run, once they are durable, to whoever reads them while it goes on: from
/// the journal, so that a slow reader holds nothing up, and takes little memory. Has a thread of
/// its own.
class ResultFeed {
 public:
  enum class Order {
    /// All of the run, as they stand in the output.
    kInput,
    /// All of the run, as they end; those that are there at its start come first.
    kAnyOrder,
    /// As they end, and not those that are there at its start.
    kFresh,
  };
  struct Options {
    std::string run_dir;
    Order order = Order::kInput;
    /// Only so many rows of the input are run; 0: all.
    uint64_t limit = 0;
    /// The taker is told the fields of rows.
    bool fields = false;
    /// While the run goes on; else all comes at the end, as it stands in the output.
    bool live = true;
  };
  /// `journal`, which has what earlier masters left and nothing else, is looked at, and not kept.
  /// `taker` must outlive the feed.
  ResultFeed(Options options, Database& journal, ResultTaker& taker);
  /// What has not been given is not given any more.
  ~ResultFeed();

  /// Something is durable. From one thread.
  void OnCommitted(const Committed& committed);
  /// The run has come to its end: returns when all is taken, or patience is at its end. Returns why
  /// it could not be read; empty: it could, or nobody wanted more.
  std::string Finish(const ReadersPatience& patience);

 private:
  /// Where in the order of the output it is.
  struct Place {
    size_t range = 0;
    uint64_t row = 0;
    /// Of the input; then the last of those that tasks have pushed.
    uint64_t position = 0;
    TaskId pushed = 0;
  };
  struct Row : ResultTaker::Result {
    bool ended = false;
  };

  void Start();
  void Stop();
  void Work();
  void Read();
  bool GiveInOrder(bool all);
  bool GiveRange(const RowRange& range, bool all);
  bool GivePushed(bool all);
  bool GiveFresh(std::vector<AttemptSpan> spans);
  bool Give(Row& row);
  std::vector<Row> ReadSome(Statement& rows) const;
  std::vector<std::string> FieldsOf(TaskId task);

  const Options options_;
  ResultTaker& taker_;
  /// Of the thread, as long as it works: where it cannot be shared, nobody else has it meanwhile.
  std::optional<Database> journal_;
  std::optional<RowSource> rows_;
  std::vector<RowRange> ranges_;
  /// Rows that nobody pushes now: they are the run's again once somebody does.
  std::set<TaskId> dormant_;
  Place place_;
  /// Those that are not to be given again, if not in the order of the input.
  TaskSet given_;
  /// Readable: whoever waits is to wait no more; and: the thread is done.
  Fd stop_, done_;
  std::string problem_;
  Mutex mutex_;
  Condition changed_;
  bool news_ CQ_GUARDED_BY(mutex_) = false;
  bool finishing_ CQ_GUARDED_BY(mutex_) = false;
  /// What has ended, in that order; so much of it that the order of the output will do.
  std::vector<AttemptSpan> fresh_ CQ_GUARDED_BY(mutex_);
  bool overrun_ CQ_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

/// Of what a task printed a part was not kept.
bool IsCut(std::string_view out);

/// Writes `text` to a pipe, a terminal or a file, and waits for whoever reads it until `stop_fd` is
/// readable. False with errno if that is not done: EPIPE if nobody will read it, or it was stopped.
bool WriteWhileWanted(int fd, std::string_view text, int stop_fd);

}  // namespace cq
