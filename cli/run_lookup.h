#pragma once

#include <optional>
#include <string>

namespace cq {

/// The run directory that RUN names; without one the only `*.cq` here, or the newest, named on
/// standard error. Throws UsageError if there is none, or if two of them are live.
std::string FindRun(const std::optional<std::string>& name);

}  // namespace cq
