#include "worker/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace cq {

void OpenLog() { spdlog::set_default_logger(spdlog::stderr_logger_mt("worker")); }
void LogInfo(std::string_view text) { spdlog::info(text); }
void LogWarning(std::string_view text) { spdlog::warn(text); }
void LogError(std::string_view text) { spdlog::error(text); }

}  // namespace cq
