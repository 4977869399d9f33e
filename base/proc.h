#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/files.h"

namespace cq {

/// Names this boot of this machine.
std::string BootId();

/// When a process started, in ticks since boot: with the pid it names a process for good. None for
/// one that has ended.
std::optional<uint64_t> StartTimeOf(pid_t pid);

/// A descriptor that becomes readable when this process ends, whoever's child it is. None if it has
/// ended.
Fd WatchProcess(pid_t pid, uint64_t start);

}  // namespace cq
