#pragma once

#include <chrono>
#include <string>

#include "cq/run.h"

namespace cq {

/// Shows a run on standard error: on a terminal one line that is written over, elsewhere dated
/// lines at the start, at each change of the workers, every 5 min and at the end. `quiet`: warnings
/// only.
class ProgressPrinter : public RunObserver {
 public:
  /// `hint` follows the line that says where the run starts, if it is not empty.
  explicit ProgressPrinter(bool quiet, std::string hint = {});
  ~ProgressPrinter() override;

  void Resumed(const std::string& what) override { Say(what); }
  void Started(const std::string& pool, unsigned least, unsigned workers, unsigned slots) override;
  void Progress(const RunProgress& progress) override;
  void Note(const std::string& text) override;
  void Warning(const std::string& text) override;
  /// A line of the caller's.
  void Say(const std::string& text);

 private:
  void Line(const std::string& text);
  void Clear();

  const bool quiet_;
  std::string hint_;
  const bool terminal_;
  bool line_shown_ = false;
  RunProgress last_;
  bool any_ = false;
  std::chrono::steady_clock::time_point last_dated_{};
};

}  // namespace cq
