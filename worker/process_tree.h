#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace cq {

/// The live processes of the tree below `root`, itself first, read from lists of children: what it
/// costs goes with the size of the tree and not with that of /proc.
std::vector<pid_t> ProcessTree(pid_t root);

/// Their resident memory in sum, in bytes.
uint64_t ResidentBytes(const std::vector<pid_t>& processes);

/// Makes the kernel choose these first when memory runs out.
void BeFirstVictims(const std::vector<pid_t>& processes);

}  // namespace cq
