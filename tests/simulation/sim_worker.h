#pragma once

#include <deque>
#include <functional>
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

struct SimWorker;

/// Where workers that a pool lends live, and die together.
struct SimMachine {
  std::string name;
  /// Who runs a task there that a worker may have died of.
  const SimWorker* trial = nullptr;
  /// A worker has ended: well, or not.
  std::function<void(const SimWorker&, bool)> ended;
  /// It dies, and all on it.
  std::function<void()> die;
};

/// A worker of the simulated world: the real core, and slots that only wait.
struct SimWorker {
  uint64_t number = 0;
  std::string allocation;
  std::unique_ptr<WorkerCore> core;
  bool alive = true;
  bool bad_host = false;
  bool large = true;
  Time ends = Time::max();
  Capacity has;
  /// Of one that is lent.
  SimMachine* machine = nullptr;
  ConnectionId connection = 0;
  Time stopped_until{};
  /// It never does anything again, though its job lives.
  bool hangs() const { return stopped_until == Time::max(); }
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
