#pragma once

#include <cstdint>
#include <vector>

#include "protocol/ids.h"

namespace cq {

/// The order in which tasks are given out first.
struct StartOrder {
  /// All of them; empty: by their numbers.
  std::vector<TaskId> tasks;
  /// Tasks of one group and one class, which stand together in `tasks`.
  struct Section {
    uint64_t begin = 0;
    ClassId of = 0;
  };
  /// None: there are no groups, and one class.
  std::vector<Section> sections;
  /// Sections are groups: a slot stays on one as long as it can. Else the one goes first whose next
  /// task stands first in the user's order.
  bool grouped = false;
  /// The places of `tasks` in the user's order; empty: their numbers.
  std::vector<uint64_t> ranks;
};

}  // namespace cq
