#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "master/core/worker_table.h"
#include "tests/simulation/world.h"
#include "worker/core/worker_core.h"

namespace cq::sim {

inline bool Has(const AttemptSpan& span, TaskId task) {
  return task >= span.task && task - span.task < span.count;
}

/// What a slot runs.
struct Running {
  Task work;
  Time started{};
  /// Attempts of it that are to be killed.
  std::set<AttemptId> killed;
  uint64_t serial = 0;
};

/// A worker of the simulated world: the real core, and slots that only wait.
struct SimWorker {
  uint64_t number = 0;
  std::string allocation;
  std::unique_ptr<WorkerCore> core;
  bool alive = true;
  bool bad_host = false;
  ConnectionId connection = 0;
  Time stopped_until{};
  Time cut_until{};
  Time start_until = Time::max();
  bool prepared = false;
  std::deque<std::pair<Envelope, ToWorker>> inbox;
  std::deque<Task> queue;
  std::vector<std::optional<Running>> slots;
  std::vector<std::pair<TaskResult, bool>> ended;
  /// Results that ended `ok` here, and when.
  std::map<AttemptId, Time> unacknowledged;
  Time wake_at = Time::max();
};

}  // namespace cq::sim
