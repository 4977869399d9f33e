#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "cli/notifier.h"
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

  /// Called at the start of the run, before a word is said of it.
  void set_at_start(std::function<void()> at_start) { at_start_ = std::move(at_start); }
  bool started() const { return started_; }
  /// Is told of each progress.
  void set_notifier(Notifier& notifier) { notifier_ = &notifier; }

  void Resumed(const std::string& what) override { Say(what); }
  void Started(const std::string& pool, unsigned least, unsigned workers, unsigned slots) override;
  void Progress(const RunProgress& progress) override;
  void Note(const std::string& text) override;
  void Warning(const std::string& text) override;
  /// Text that another has made into lines.
  void Raw(const std::string& text);
  /// A line of the caller's.
  void Say(const std::string& text);

 private:
  void Line(const std::string& text);
  void Clear();

  const bool quiet_;
  std::string hint_;
  std::function<void()> at_start_;
  Notifier* notifier_ = nullptr;
  bool line_shown_ = false;
  bool started_ = false;
  RunProgress last_;
  bool any_ = false;
  std::chrono::steady_clock::time_point last_dated_{};
};

}  // namespace cq
