#pragma once

#include <string>

#include "protocol/messages.h"

namespace cq {

/// Asks the live master of a run, as its connection file says where it is. Returns the whole
/// answer. Throws Error if nobody answers within 10 s, or with what the master says is wrong.
std::string AskMaster(const std::string& run_dir, RequestKind kind, const std::string& text);

}  // namespace cq
