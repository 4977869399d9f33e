#pragma once

#include <cstdint>
#include <string>

#include "base/rarely.h"
#include "cq/outcome.h"
#include "protocol/ids.h"
#include "protocol/value.h"

// What becomes of tasks, as messages, spool files and the journal have it.
namespace cq {

/// What a function that returned has nothing of: of a failure, of what was printed, of a process.
struct ResultDetails {
  /// 0 to 255, or the negative number of the signal that ended the task.
  int64_t exit = 0;
  std::string error;
  uint64_t user_us = 0;
  uint64_t system_us = 0;
  uint64_t max_rss_kb = 0;
  std::string out;
  std::string err;
  Extras extras;
  bool operator==(const ResultDetails&) const = default;
};

/// Any other object that was returned: its bytes, and in which format they are; empty: none.
struct Blob {
  std::string format;
  std::string bytes;
  bool operator==(const Blob&) const = default;
};

/// The end of an attempt; or, with `answers`, of a span of them that returned values and have
/// nothing else to tell.
struct TaskResult : AttemptSpan {
  uint64_t slot = 0;
  Outcome outcome = Outcome::kOk;
  /// It could not be started on this machine (no such program, …): an `error` that counts only if
  /// it could not be started elsewhere either.
  bool unstartable = false;
  /// Of the first one; each other one started when the one before it had ended.
  uint64_t started_us = 0;
  /// Of all of them.
  uint64_t wall_us = 0;
  NamedValues values;
  /// In their place: of each one its time and its value as it was packed (protocol/spans.h).
  std::string answers;
  Rarely<Blob> blob;
  Rarely<ResultDetails> details;
  bool operator==(const TaskResult&) const = default;
};

}  // namespace cq
