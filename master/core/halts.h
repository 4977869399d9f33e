#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cq/halt.h"
#include "master/core/core_options.h"

namespace cq {

/// The rule that is met, if any; one that ends what runs before others. `failed`: since this master
/// started.
std::optional<Halt> FindHalt(const std::vector<Halt>& rules, const Counts& counts, uint64_t failed);
/// For people.
std::string TextOf(const Halt& halt, const Counts& counts, uint64_t failed);

}  // namespace cq
