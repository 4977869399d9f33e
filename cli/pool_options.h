#pragma once

#include <string>
#include <vector>

#include "cq/run.h"

// Pools of workers as users write them. Both throw UsageError.
namespace cq {

/// "NAME:key=value,key=value" (--pool).
RunPool ParsePool(const std::string& text);
/// The tables [pool.NAME] of a TOML file (--pools), with the same keys.
std::vector<RunPool> ReadPools(const std::string& path);

}  // namespace cq
