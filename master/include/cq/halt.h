#pragma once

#include <cstdint>
#include <string>

namespace cq {

/// When a run stops before all of its tasks have ended.
struct Halt {
  /// Tasks that did not end ok since its master started; or of the whole run: those that are ok, or
  /// have ended.
  enum class Of : uint8_t { kFailed = 0, kOk = 1, kDone = 2 };
  Of of = Of::kFailed;
  /// So many; or so many percent of all tasks that there are.
  double count = 0;
  bool percent = false;
  /// What runs is ended, and has no outcome; else it is finished.
  bool now = false;
  /// How the user said it.
  std::string text;
};

}  // namespace cq
