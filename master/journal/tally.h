#pragma once

#include <array>
#include <cstdint>

#include "master/journal/database.h"
#include "master/journal/run_definition.h"
#include "protocol/messages.h"

namespace cq {

/// How far a run is.
struct Tally {
  /// The rows that are wanted, those among them that tasks pushed.
  uint64_t tasks = 0;
  std::array<uint64_t, kOutcomes> outcomes{};

  uint64_t done() const {
    uint64_t sum = 0;
    for (const uint64_t count : outcomes) sum += count;
    return sum;
  }
};
Tally TallyOf(Database& journal, const RunDefinition& definition);

}  // namespace cq
