#pragma once

#include <cstdint>

namespace cq {

/// How many CPUs this process may use: its affinity, bounded by the CPU quota of its cgroup (v2 or
/// v1), at least 1.
unsigned UsableCpus();

/// How much memory this process and its children may use, in bytes: the machine's, bounded by the
/// limits of its cgroup and those above it.
uint64_t UsableMemory();

}  // namespace cq
