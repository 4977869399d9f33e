#pragma once

#include <cstdint>

namespace cq {

/// How a task ended. The numbers are those of the wire and of the journal.
enum class Outcome : uint8_t {
  kOk = 0,
  kError = 1,
  kCrashed = 2,
  kTimeout = 3,
  kMemory = 4,
  kCancelled = 5,
  kSkipped = 6,
};

}  // namespace cq
