#pragma once

#include <string>

namespace cq {

/// Whether this process was started as a run's proposer, and not by a slot.
bool IsProposer();

/// Answers a run as its proposer (PROPOSER_PROTOCOL.md), with the function that a library has for
/// that beside the one of this name (LIBRARY:NAME, CQ_PROPOSE), until the run says no more. Returns
/// the exit status of the process.
int ServeProposer(const std::string& function);

}  // namespace cq
