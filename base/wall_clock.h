#pragma once

#include <chrono>
#include <cstdint>

namespace cq {

/// Now, in microseconds since 1970 (UTC), as messages and the journal have times.
inline int64_t UnixMicroseconds() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count();
}

}  // namespace cq
