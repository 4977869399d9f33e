#pragma once

#include <string>

#include "cq/run.h"
#include "master/journal/database.h"

namespace cq {

/// `cq status --overhead`: what a task costs beside its own time. Both throw UsageError while no
/// task has ended that could be accounted for, and return the exit status.
int ShowOverhead(Database& journal, const std::string& run, bool json);
/// `cq status --efficiency`: what became of the slots' time and of the memory that was asked for,
/// and what to ask for next time.
int ShowEfficiency(Database& journal, const std::string& run, bool json);

/// The same in a line, for the end of a run.
std::string EfficiencyLine(const SlotTime& time);

}  // namespace cq
