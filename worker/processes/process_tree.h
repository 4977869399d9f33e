#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace cq {

/// The live processes of the tree below `root`, itself first, read from lists of children: what it
/// costs goes with the size of the tree and not with that of /proc.
std::vector<pid_t> ProcessTree(pid_t root);

/// Whether they have more memory than that together. What several of them share (pages of a parent
/// that was forked, mapped files) counts once, which is looked at only where it decides: it takes
/// milliseconds a gigabyte.
bool HaveMoreThan(uint64_t bytes, const std::vector<pid_t>& processes);

/// Makes the kernel choose these first when memory runs out.
void BeFirstVictims(const std::vector<pid_t>& processes);

}  // namespace cq
