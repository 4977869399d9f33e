#pragma once

#include <cstdint>
#include <vector>

#include "protocol/ids.h"

namespace cq {

/// The order in which tasks are given out first.
struct StartOrder {
  /// All of them; empty: by their numbers.
  std::vector<TaskId> tasks;
  /// Where in `tasks` each group begins, those of a group standing together; empty: there are no
  /// groups.
  std::vector<uint64_t> groups;
};

}  // namespace cq
