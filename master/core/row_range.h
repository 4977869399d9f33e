#pragma once

#include <cstdint>

#include "protocol/ids.h"

namespace cq {

/// A run of rows with consecutive task numbers (table `ranges`).
struct RowRange {
  uint64_t position = 1;
  TaskId task = 1;
  uint64_t rows = 0;
  bool operator==(const RowRange&) const = default;
};

}  // namespace cq
