#pragma once

namespace cq {

/// How many CPUs this process may use: its affinity, bounded by the CPU quota of its cgroup (v2 or
/// v1), at least 1.
unsigned UsableCpus();

}  // namespace cq
