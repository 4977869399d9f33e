#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "master/core/row_range.h"
#include "protocol/row_hash.h"

namespace cq {

/// How the rows of an edited input go with the tasks of a run.
struct RowMatch {
  /// Of the edited input, by position.
  std::vector<RowRange> ranges;
  uint64_t kept = 0;
  uint64_t added = 0;
  std::vector<TaskId> removed;
};

/// Whether two files have the same bytes. False if either cannot be read.
bool SameBytes(const std::string& a, const std::string& b);

/// Compares the rows of `copy` (whose tasks are `ranges`) with those of `edited`: rows match by
/// position first, then, where they differ, by content and occurrence. Matched rows keep their
/// number; new ones are numbered on from `last`, the highest number ever used. Both files are valid
/// CSV with the same header. Memory: 24 bytes for each row that differs from the one in its place.
RowMatch MatchRows(const std::string& copy, const std::vector<RowRange>& ranges, TaskId last,
                   const std::string& edited);

}  // namespace cq
