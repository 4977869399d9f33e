#pragma once

#include <cstdint>

#include "master/core/worker_table.h"
#include "protocol/messages.h"

namespace cq {

/// What a run's tasks and slots have spent so far, of which its ledger is made.
struct Spent {
  /// Of results: from giving their tasks out, and until they were durable.
  Time turnaround{};
  Time recording{};
  /// Of the idle slots, until when it is counted.
  Time vacant{};
  Time vacant_until{};
  uint64_t cpu_us = 0;
  uint64_t peak_kb = 0;
  /// Run times of attempts that were lost with their workers.
  Time lost{};
  /// The slots' of workers that are forgotten.
  SlotLedger earlier;
};

}  // namespace cq
