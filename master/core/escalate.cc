// Tasks that ended for want of memory or time: they are tried again where there is more.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "master/core/run_core.h"

namespace cq {
namespace {

/// A task's time limit is raised to so many times what it was at most: one that never ends would
/// run for ever where nobody's end is known.
constexpr uint64_t kMostPermille = 32'000;
/// Each is of one class; only so many have room in what counts them.
constexpr size_t kClassesInAll = 60'000;

// The most that any of these has that may take such tasks; none: one of them has as much as anybody
// knows.
template <class Of>
std::optional<uint64_t> Largest(const std::vector<PoolKind>& pools, const TaskRequest& request,
                                const Of& of) {
  uint64_t largest = 0;
  for (const PoolKind& pool : pools) {
    if (!request.pool.empty() && request.pool != pool.name) continue;
    const std::optional<uint64_t> has = of(pool);
    if (!has) return std::nullopt;
    largest = std::max(largest, *has);
  }
  return largest;
}

uint64_t Times(uint64_t amount, double factor) {
  return static_cast<uint64_t>(static_cast<double>(amount) * factor);
}

}  // namespace

// Classes may come while the run goes on.
bool RunCore::MayGrow() const {
  const Escalation& by = options_.escalation;
  const bool longer = std::any_of(options_.pools.begin(), options_.pools.end(),
                                  [](const PoolKind& pool) { return pool.time_ms > 0; });
  return by.memory > 1 || by.time > 1 || (options_.pools.size() > 1 && longer);
}

// The class of such tasks, made if it is new; none: no pool has what they ask for.
std::optional<ClassId> RunCore::FindClass(const TaskRequest& request, uint64_t time_permille) {
  // Since it was last asked, others may have come.
  for (size_t of = class_of_.size(); of < classes_.size(); ++of) {
    class_of_.emplace(std::pair(classes_[of].request, classes_[of].time_permille), of);
  }
  const auto known = class_of_.find(std::pair(request, time_permille));
  if (known != class_of_.end()) return known->second;
  TaskClass one;
  one.request = request;
  one.time_permille = time_permille;
  one.homes = HomesOf(request, options_.pools, closed_pools_);
  if (one.homes.empty()) return std::nullopt;
  if (classes_.size() >= kClassesInAll) {
    if (!std::exchange(told_full_, true)) {
      out_.Add(Note{Note::Kind::kWarning,
                    fmt::format("rows ask for {} different things, and no more can be told apart: "
                                "others that end for want of something are not tried with more",
                                kClassesInAll)});
    }
    return std::nullopt;
  }
  classes_.push_back(std::move(one));
  tasks_.AddClass();
  return static_cast<ClassId>(classes_.size() - 1);
}

// `had`: how much it had, as far as that is known.
std::optional<ClassId> RunCore::WithMoreMemory(ClassId of, uint64_t had) {
  TaskRequest request = classes_[of].request;
  had = std::max(had, request.memory_bytes);
  if (options_.escalation.memory <= 1 || had == 0) return std::nullopt;
  const auto largest = Largest(options_.pools, request,
                               [](const PoolKind& pool) { return pool.capacity.memory_bytes; });
  request.memory_bytes = Times(had, options_.escalation.memory);
  if (largest) request.memory_bytes = std::min(request.memory_bytes, *largest);
  if (request.memory_bytes <= had) return std::nullopt;
  return FindClass(request, classes_[of].time_permille);
}

// Its own limit was too short.
std::optional<ClassId> RunCore::WithMoreTime(ClassId of) {
  TaskRequest request = classes_[of].request;
  const uint64_t had = classes_[of].time_permille;
  const uint64_t limit = std::min(Times(had, options_.escalation.time), kMostPermille);
  if (limit <= had) return std::nullopt;
  const auto largest = Largest(options_.pools, request, [](const PoolKind& pool) {
    return pool.time_ms > 0 ? std::optional(pool.time_ms) : std::nullopt;
  });
  request.time_ms = Times(request.time_ms, options_.escalation.time);
  if (largest) request.time_ms = std::min(request.time_ms, *largest);
  return FindClass(request, limit);
}

// Its workers' lives were too short: those of another pool may be longer.
std::optional<ClassId> RunCore::WithLongerLife(ClassId of) {
  if (!tasks_.several()) return std::nullopt;
  TaskRequest request = classes_[of].request;
  uint64_t lives = 0;
  for (const size_t home : classes_[of].homes) {
    if (options_.pools[home].time_ms == 0) return std::nullopt;
    lives = std::max(lives, options_.pools[home].time_ms);
  }
  // So much that none of these will do (Suits).
  request.time_ms = lives / 9 * 10 + 10;
  if (lives == 0 || HomesOf(request, options_.pools, closed_pools_).empty()) return std::nullopt;
  return FindClass(request, classes_[of].time_permille);
}

void RunCore::MoveTo(ClassId of, TaskId task) {
  tasks_.SetClass(task, of);
  const TaskClass& one = classes_[of];
  Record(RaisedRecord{task, one.request.memory_bytes, one.request.time_ms, one.time_permille});
}

// It ended for want of something; false: nobody has more of it.
bool RunCore::TryWithMore(const Worker* worker, const TaskResult& result, Work& open,
                          uint64_t had_memory) {
  // It may be to have more already, as its scheduler said late of an earlier attempt.
  const ClassId now = tasks_.ClassOf(result.task);
  const bool current = open.out() && open.IsOut({result.task, result.attempt});
  const ClassId of = current ? open.out()->of : now;
  const bool memory = result.outcome == Outcome::kMemory;
  const auto more = of != now ? now : memory ? WithMoreMemory(of, had_memory) : WithMoreTime(of);
  if (!more) return false;
  const TaskClass& one = classes_[*more];
  const std::string with = memory ? Describe(one.request)
                                  : fmt::format("{:g} times its time limit",
                                                static_cast<double>(one.time_permille) / 1000);
  const uint64_t number = worker != nullptr ? worker->number
                          : open.out()      ? workers_[open.out()->worker].number
                                            : 0;
  open.past.Edit().over = std::max(open.past->over, result.attempt);
  AwaitCommit({result.task, result.attempt}, std::nullopt);
  Record(FailureRecord{{result.task, result.attempt},
                       number,
                       FailureKind::kRaised,
                       fmt::format("{}: {}; tried again with {}", memory ? "memory" : "timeout",
                                   result.details->error, with)});
  // What its scheduler said late is of an attempt that was given up: another may be under way.
  const bool newest =
      open.out() ? open.IsOut({result.task, result.attempt}) : result.attempt > open.past->given_up;
  if (newest) TryAgain({}, result.attempt, open);
  MoveTo(*more, result.task);
  return true;
}

// What an earlier master found out; more counts that is asked for now.
void RunCore::Recover(const RaisedRecord& raised) {
  if (!tasks_.several() || tasks_.Done(raised.task) || !tasks_.Exists(raised.task)) return;
  TaskRequest request = classes_[tasks_.ClassOf(raised.task)].request;
  request.memory_bytes = std::max(request.memory_bytes, raised.memory_bytes);
  request.time_ms = std::max(request.time_ms, raised.time_ms);
  if (const auto of = FindClass(request, raised.time_permille)) tasks_.SetClass(raised.task, *of);
}

}  // namespace cq
