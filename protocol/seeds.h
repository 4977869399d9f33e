#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "protocol/ids.h"
#include "protocol/row_hash.h"

namespace cq {

/// CQ_SEED of a task: from the run's base seed and its number, 1 to 2³¹ − 1.
uint64_t SeedOfTask(uint64_t base, TaskId task);
/// The same of a row that a task pushed: its number says nothing.
uint64_t SeedOfKey(uint64_t base, const RowHash& key);
/// CQ_SEED of a row with --seed-by: from the base and the values of those columns.
uint64_t SeedOfValues(uint64_t base, const std::vector<std::string_view>& values);

}  // namespace cq
