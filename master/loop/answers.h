#pragma once

#include <string>

#include "master/core/core.h"
#include "master/pools/workforce.h"
#include "protocol/messages.h"

namespace cq {

/// What a live master answers to those who ask how it goes (`cq status`, `cq explain`, `cq scale`),
/// as JSON in `text`, one line (PROTOCOL.md). `request` is of one of these kinds.
Reply AnswerTo(const Request& request, Time now, Core& core, Workforce& workforce);

}  // namespace cq
