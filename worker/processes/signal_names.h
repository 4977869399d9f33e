#pragma once

#include <fmt/format.h>

#include <cstring>
#include <string>

namespace cq {

/// "SIGKILL" and the like.
inline std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

}  // namespace cq
