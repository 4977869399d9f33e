#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/files.h"
#include "master/run/program_beside.h"
#include "master/run/result_feed.h"
#include "protocol/pushed_rows.h"

namespace cq {

/// A program that makes one thing of all results: it reads a line of JSON for each that is ok, and
/// what it prints is in the run directory (`reduced`) once the run has ended and it has ended well.
/// It ends with its master.
class Reducer final : public ResultTaker {
 public:
  struct Options {
    ProgramBeside program;
    RowForm form;
    /// The tasks are commands that return nothing: what they have printed is told.
    bool prints = false;
  };

  /// Throws UsageError where there is no such program, and Error where it cannot be started.
  explicit Reducer(Options options);
  ~Reducer() override;

  bool Take(const Result& result, int stop_fd) override;
  bool Pause(int stop_fd) override;
  /// All has been written to it: waits for its end. Returns what went wrong; empty: its output is
  /// there.
  std::string Finish(const ReadersPatience& patience);
  /// It has ended, and not well.
  bool HasFailed() const;
  /// Ends it, and all that it has started; whoever writes to it waits no longer.
  void Kill();

 private:
  void Start();

  const Options options_;
  NewFile output_;
  Fd input_, life_, pidfd_;
  pid_t pid_ = -1;
  int status_ = 0;
  std::string unwritten_;
};

}  // namespace cq
