#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "master/core/worker_table.h"
#include "tests/simulation/world.h"
#include "worker/core/worker_core.h"

namespace cq::sim {

/// What a slot runs at a time.
using Work = std::variant<Task, TaskSpan>;
inline AttemptSpan AttemptsOf(const Work& work) {
  if (const auto* span = std::get_if<TaskSpan>(&work)) return span->span;
  return {std::get<Task>(work).task, std::get<Task>(work).attempt};
}
inline bool Has(const AttemptSpan& span, TaskId task) {
  return task >= span.task && task - span.task < span.count;
}

/// What a slot runs.
struct Running {
  Work work;
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
  std::deque<Work> queue;
  std::vector<std::optional<Running>> slots;
  std::vector<std::pair<TaskResult, bool>> ended;
  std::vector<ResultSpan> answered;
  /// Results that ended `ok` here, and when.
  std::map<AttemptId, Time> unacknowledged;
  Time wake_at = Time::max();
};

}  // namespace cq::sim
