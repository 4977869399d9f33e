#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "base/mutex.h"
#include "cq/engine.h"
#include "cq/run_observer.h"

namespace cq {

/// A message for users of `cq run` in the words of a program that embeds a master: its options are
/// fields of MasterOptions.
std::string InWordsOfTheApi(std::string text);

/// Passes warnings on, and keeps how far the master is. Thread-safe.
class EmbeddingObserver final : public RunObserver {
 public:
  /// `warn`: none for standard error.
  explicit EmbeddingObserver(std::function<void(const std::string&)> warn)
      : warn_(std::move(warn)) {}
  void Warning(const std::string& text) override;
  /// What was left of an earlier master.
  void Resumed(const std::string& text) override { Warning(text); }
  /// Says once for each reason why workers have been waiting for their scheduler.
  void Progress(const RunProgress& progress) override;
  /// As the loop told last: without the calls, which the engine counts.
  MasterStatus status();

 private:
  using Clock = std::chrono::steady_clock;

  std::function<void(const std::string&)> warn_;
  // The loop's thread alone.
  std::optional<Clock::time_point> pending_since_;
  std::set<std::string> reasons_told_;

  Mutex mutex_;
  MasterStatus status_ CQ_GUARDED_BY(mutex_);
};

}  // namespace cq
