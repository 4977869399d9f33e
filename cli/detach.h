#pragma once

#include <optional>
#include <string>

#include "cli/options.h"

namespace cq {

/// Starts `cq SUBCOMMAND` with these words in a process of its own, which has nothing to do with
/// this terminal. Returns once it is ready, or its exit status if it has ended before, having said
/// why.
std::optional<int> StartDetached(const std::string& subcommand, const CommandLine& line);
/// Whether this process was started so. First asked before it starts others, which were not.
bool IsToDetach();
/// In such a process: what it says from now on goes to this file, and who started it goes on.
/// Throws Error if that one has gone.
void Detach(const std::string& log);

}  // namespace cq
