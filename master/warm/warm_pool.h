#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "cq/run.h"

namespace cq {

/// What `cq pool start` takes; `cq pool start --help` describes each.
struct WarmPoolOptions {
  std::string name;
  /// Its workers, and what a master has in common with all others.
  RunOptions master;
  /// Zero: it waits for runs for ever.
  std::chrono::milliseconds idle_timeout{};
  /// Called once runs can be served, before anything else is waited for.
  std::function<void()> ready;
};

struct WarmPoolEnd {
  /// 0 told to end, or idle; 3 could not go on.
  int status = 0;
  std::string reason;
};

/// Keeps the pool until it ends. Throws UsageError for what cannot be used, or a pool of this name
/// that lives; Error where it cannot be set up.
WarmPoolEnd KeepWarmPool(const WarmPoolOptions& options, RunObserver& observer);

}  // namespace cq
