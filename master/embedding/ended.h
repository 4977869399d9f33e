#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cq/engine.h"
#include "protocol/messages.h"

namespace cq {

/// What a caller gets of a task's result.
detail::Ended EndedOf(TaskResult result);
/// Of a bundle of so many calls, as far as it was worked on; none where a fault ended it.
std::vector<detail::Ended> EndedOfBundle(const TaskResult& result, uint32_t count);
/// What a caller gets of a task that will not run.
detail::Ended NeverRun(const std::string& why);

}  // namespace cq
