#include "tests/simulation/truth.h"

#include <fmt/format.h>

#include "protocol/spans.h"

namespace cq::sim {

Fate FateOf(const World& world, TaskId task) {
  Random random(world.seed ^ (task * 0x9e3779b97f4a7c15ull));
  random.Below(2);
  const uint64_t draw = random.Below(1000);
  if (draw < world.failing) return Fate::kFails;
  if (draw < world.failing + world.flaky) return Fate::kFlaky;
  if (draw < world.failing + world.flaky + world.deadly) return Fate::kDeadly;
  return Fate::kOk;
}

Value ValueOf(TaskId task) { return static_cast<int64_t>(2 * task); }
std::string PackedValueOf(TaskId task) { return fmt::format("twice {}", task); }

void Journal::Apply(const JournalRecord& record) {
  if (const auto* span = std::get_if<SpanRecord>(&record)) {
    for (TaskResult& result : ResultsOf(span->results)) {
      Apply(ResultRecord{std::move(result), 1, span->worker});
    }
  } else if (const auto* result = std::get_if<ResultRecord>(&record)) {
    if (!results.emplace(result->result.task, *result).second) {
      throw Broken{fmt::format("task {} has a second outcome", result->result.task)};
    }
  } else if (const auto* failure = std::get_if<FailureRecord>(&record)) {
    failures[failure->attempt.attempt] = *failure;
  } else if (const auto* worker = std::get_if<WorkerRecord>(&record)) {
    workers[worker->worker] = *worker;
    ended_workers.erase(worker->worker);
  } else if (const auto* end = std::get_if<WorkerEndRecord>(&record)) {
    ended_workers.insert(end->worker);
  } else if (const auto* durable = std::get_if<MarkRecord>(&record)) {
    mark = durable->mark;
  } else if (const auto* call = std::get_if<CallRecord>(&record)) {
    calls[std::stoull(call->arguments)] = call->task;
  }
}

Recovered Journal::Recover(bool scheduled) const {
  Recovered recovered;
  for (const auto& [task, record] : results) {
    recovered.closed.Insert(task);
    ++recovered.closed_count;
    ++recovered.outcomes[static_cast<size_t>(record.result.outcome)];
  }
  std::map<TaskId, TriedTask> tried;
  for (const auto& [attempt, failure] : failures) {
    if (recovered.closed.Contains(failure.attempt.task)) continue;
    TriedTask& t = tried[failure.attempt.task];
    t.task = failure.attempt.task;
    ++t.attempts;
    t.given_up = std::max(t.given_up, attempt);
    const bool charged =
        failure.kind == FailureKind::kCharged || failure.kind == FailureKind::kProvisional;
    if (charged) t.charged.push_back(attempt);
    if (failure.kind == FailureKind::kRetried) t.over = std::max(t.over, attempt);
    t.failures = static_cast<uint16_t>(t.failures + (failure.kind == FailureKind::kRetried));
  }
  for (const auto& [task, t] : tried) recovered.tried.push_back(t);
  for (const auto& [number, record] : workers) {
    recovered.last_worker = std::max(recovered.last_worker, number);
    if (ended_workers.contains(number) || !scheduled) continue;
    recovered.workers.push_back({number, record.id, record.host, record.allocation, true});
  }
  recovered.mark = mark;
  return recovered;
}

void CheckEnd(const World& world, const Journal& journal) {
  if (journal.results.size() != world.tasks) {
    throw Broken{
        fmt::format("{} of {} tasks have an outcome", journal.results.size(), world.tasks)};
  }
  for (const auto& [call, task] : journal.calls) {
    if (!journal.results.contains(task))
      throw Broken{fmt::format("call {}, task {}, has no outcome", call, task)};
  }
  std::map<TaskId, uint32_t> charges;
  for (const auto& [attempt, failure] : journal.failures) {
    if (failure.kind == FailureKind::kCharged || failure.kind == FailureKind::kProvisional) {
      ++charges[failure.attempt.task];
    }
  }
  for (const auto& [task, record] : journal.results) {
    const TaskResult& r = record.result;
    const Fate fate = FateOf(world, task);
    const bool crashed = r.outcome == Outcome::kCrashed;
    if (crashed && charges[task] < world.crash_limit) {
      throw Broken{fmt::format("task {} is set aside after {} charges", task, charges[task])};
    }
    const bool ok = r.outcome == Outcome::kOk;
    if (world.cancel > 0 && r.outcome == Outcome::kCancelled) continue;
    // Nobody else was there to start it.
    if (world.black_hole && r.details->exit == 127) continue;
    const bool own = r.packed.empty() ? r.values.size() == 1 && r.values[0].second == ValueOf(task)
                                      : r.packed == PackedValueOf(task);
    if (ok && !own) {
      throw Broken{fmt::format("task {} has another task's result", task)};
    }
    if (fate == Fate::kOk && !ok && !crashed) {
      throw Broken{
          fmt::format("task {} ended as {} though it was good", task, static_cast<int>(r.outcome))};
    }
    if (fate == Fate::kFails && ok) throw Broken{fmt::format("task {} cannot be ok", task)};
    if (fate == Fate::kDeadly && !crashed)
      throw Broken{fmt::format("task {} cannot have survived", task)};
  }
}

}  // namespace cq::sim
