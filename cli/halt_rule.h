#pragma once

#include <string>

#include "cq/halt.h"

namespace cq {

/// "now,success=1", "soon,fail=3", "soon,done=10%". `option` is what messages name: "--halt".
/// Throws UsageError.
Halt ParseHalt(const std::string& text, const std::string& option);

}  // namespace cq
