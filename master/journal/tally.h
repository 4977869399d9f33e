#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "cq/halt.h"
#include "master/journal/database.h"
#include "master/journal/run_definition.h"
#include "protocol/messages.h"

namespace cq {

/// How far a run is.
struct Tally {
  /// The rows that are wanted, those among them that tasks pushed.
  uint64_t tasks = 0;
  std::array<uint64_t, kOutcomes> outcomes{};
  /// It has come as far as it was to come, though not all have ended (RunOptions::halt).
  std::optional<Halt::Of> halted = {};
  /// What went wrong after its rows had ended: nothing was made of them.
  std::string problem = {};

  uint64_t done() const {
    uint64_t sum = 0;
    for (const uint64_t count : outcomes) sum += count;
    return sum;
  }
  /// Nothing of it is left to run.
  bool ended() const { return halted || done() == tasks; }
  /// And what was to be ok is.
  bool ok() const {
    const bool enough = halted == Halt::Of::kOk || (halted && outcomes[0] == done());
    return problem.empty() && (enough || outcomes[0] == tasks);
  }
};
/// The names in `meta` of what `Tally::halted` and `problem` say.
inline constexpr const char* kHalted = "halted";
inline constexpr const char* kProblem = "problem";
void SetProblem(Database& journal, const std::string& problem);
Tally TallyOf(Database& journal, const RunDefinition& definition);

}  // namespace cq
