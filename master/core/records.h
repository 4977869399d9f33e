#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "protocol/messages.h"

namespace cq {

// ---- what is written during a run (JOURNAL.md has the tables) ----

struct ResultRecord {
  TaskResult result;
  uint64_t attempts = 1;
  uint64_t worker = 0;
};
struct FailureRecord {
  AttemptRef attempt;
  uint64_t worker = 0;
  int charge = 0;
  std::string reason;
};
struct WorkerRecord {
  uint64_t worker = 0;
  WorkerId id{};
  std::string host;
  uint64_t pid = 0;
  uint64_t slots = 0;
  std::string allocation;
};
struct WorkerEndRecord {
  uint64_t worker = 0;
  std::string reason;
};
struct AllocationIntent {
  std::string token;
  std::string scheduler;
  uint64_t workers = 0;
};
struct AllocationSubmitted {
  std::string token;
  std::string job;
};
struct AllocationEnded {
  std::string token;
};
using JournalRecord = std::variant<ResultRecord, FailureRecord, WorkerRecord, WorkerEndRecord,
                                   AllocationIntent, AllocationSubmitted, AllocationEnded>;

/// What has become durable, in the order in which it was written.
struct Committed {
  std::vector<AttemptRef> results;
  std::vector<uint64_t> workers;
};

}  // namespace cq
