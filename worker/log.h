#pragma once

#include <string_view>

namespace cq {

/// A worker's log: dated lines on standard error.
void OpenLog();
void LogInfo(std::string_view text);
void LogWarning(std::string_view text);
void LogError(std::string_view text);

}  // namespace cq
