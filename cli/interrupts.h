#pragma once

#include "base/files.h"

namespace cq {

/// The signals that interrupt a master, as a descriptor. One that was inherited as ignored stays so
/// (nohup). Once, before any thread.
Fd InterruptFd();

}  // namespace cq
