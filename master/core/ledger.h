#pragma once

#include <chrono>
#include <cstdint>

namespace cq {

/// Where the time of a master's tasks went, summed up over them.
struct Ledger {
  /// Tasks that workers have run, and what their slots have to say of them (SlotLedger).
  uint64_t tasks = 0;
  uint64_t idle_us = 0;
  uint64_t queue_us = 0;
  uint64_t spawn_us = 0;
  uint64_t run_us = 0;
  /// From the decision to give a task out to its result, less what its worker knows of.
  uint64_t wire_us = 0;
  /// From a result to its durability.
  uint64_t record_us = 0;
  /// Of slots for which there was no task, as their master knows.
  uint64_t vacant_us = 0;
  /// CPU time of what ran to its end; what attempts had run that were lost with their workers; and
  /// the most memory that one had.
  uint64_t cpu_us = 0;
  uint64_t lost_us = 0;
  uint64_t peak_kb = 0;
};

}  // namespace cq
