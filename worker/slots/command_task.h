#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "protocol/messages.h"
#include "worker/processes/descendants.h"
#include "worker/processes/memory_cgroup.h"
#include "worker/slots/live_output.h"
#include "worker/slots/run_context.h"

namespace cq {

/// From then on a task's output is sent while it runs.
inline constexpr std::chrono::milliseconds kLongRunning{10'000};

struct CommandEnd {
  TaskResult result;
  /// Of its time, what it took to start its process.
  std::chrono::microseconds spawn{};
  /// It was ended through the kill descriptor.
  bool killed = false;
  /// It did not begin, since this machine had no room for its process: why. It has not counted.
  std::string no_room;
  /// A process may have got away that this task started.
  bool left_behind = false;
};

/// Runs commands in one slot, one at a time. What tasks have in common (pipes, how they
/// are started) is made once: it costs as much as a tenth of a trivial task.
class CommandRunner {
 public:
  struct Slot {
    uint64_t number = 0;
    /// Readable once the running task is to be killed; the runner empties it.
    int kill_fd = -1;
    AdoptedChildren* adopted = nullptr;
    OomCounter* oom = nullptr;
    LiveOutput* live = nullptr;
    /// Whether another slot runs this attempt now, and whether no other slot runs anything.
    std::function<bool(AttemptId)> others_run;
    std::function<bool()> alone;
    /// Tells the user what this slot waits for; nothing any more.
    std::function<void(const std::string&)> tell;
  };
  explicit CommandRunner(Slot slot);
  ~CommandRunner();

  /// Runs one task as one process of its own group (DESIGN: directory, environment, stdin, signals,
  /// output) and returns when the first process has ended and whatever it left behind is gone.
  /// Blocks. Throws nothing for what a task does.
  CommandEnd Run(const RunContext& run, const Task& task);

 private:
  class Starter;
  class Running;

  Slot slot_;
  std::unique_ptr<Starter> starter_;
  std::unique_ptr<MemoryCgroup> cgroup_;
  uint64_t cgroup_bytes_ = 0;
};

}  // namespace cq
