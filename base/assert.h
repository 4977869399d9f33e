#pragma once

#include <fmt/format.h>

#include <string>

namespace cq {

/// Ends the process, and says where its own books contradict each other.
[[noreturn]] void AssertionFailed(const char* file, int line, const char* condition,
                                  const std::string& what);

}  // namespace cq

/// What must hold whatever anybody sends: CQ_ASSERT(out_ > 0, "task {} goes, and none is out",
/// task). It stays in Release builds: a wrong book would become a wrong result in silence, while a
/// master that ends can be resumed and the tasks of a worker that ends go to others. Never for what
/// comes from outside.
#define CQ_ASSERT(condition, ...)                                                        \
  do {                                                                                   \
    if (!(condition)) [[unlikely]]                                                       \
      ::cq::AssertionFailed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)
