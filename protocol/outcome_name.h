#pragma once

namespace cq {

/// The name of an outcome as `cq_status` shows it, by its number.
const char* OutcomeName(int outcome);

}  // namespace cq
