#pragma once

#include <functional>

#include "protocol/messages.h"
#include "worker/descendants.h"
#include "worker/run_context.h"

namespace cq {

/// What one slot needs to run commands besides the run itself.
struct CommandSlot {
  uint64_t slot = 0;
  /// Readable once the running task is to be killed; the reader empties it.
  int kill_fd = -1;
  AdoptedChildren* adopted = nullptr;
  /// Whether another slot runs this attempt now, and whether no other slot runs anything.
  std::function<bool(const AttemptRef&)> others_run;
  std::function<bool()> alone;
};

struct CommandEnd {
  TaskResult result;
  /// It was ended through kill_fd.
  bool killed = false;
};

/// Runs one task as one process of its own group (DESIGN: directory, environment, stdin, signals,
/// output) and returns when the first process has ended and whatever it left behind is gone.
/// Blocks; one thread a slot. Throws nothing for what a task does.
CommandEnd RunCommand(const RunContext& run, const Task& task, const CommandSlot& slot);

}  // namespace cq
