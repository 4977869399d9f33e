#include "master/core/class_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace cq {
namespace {

/// A task's time limit is raised to so many times what it was at most: one that never ends would
/// run for ever where nobody's end is known.
constexpr uint64_t kMostPermille = 32'000;

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

void Pace::Learn(std::chrono::microseconds wall, uint64_t count, bool ok) {
  const auto each = wall / static_cast<int64_t>(count);
  tasks = std::min<uint64_t>(tasks + count, 1000);
  const double weight =
      static_cast<double>(std::min<uint64_t>(count, 1000)) / static_cast<double>(tasks);
  const auto off = std::max<std::chrono::nanoseconds>(each, std::chrono::microseconds(1)) - mean;
  mean += std::chrono::duration_cast<std::chrono::nanoseconds>(off * weight);
  last[ended++ % last.size()] = each;
  if (ok) last_well[ended_well++ % last_well.size()] = each;
}

std::chrono::nanoseconds Pace::Most() const {
  const auto count = static_cast<ptrdiff_t>(std::min<uint64_t>(ended, last.size()));
  if (count < 5 || std::exchange(most_of, ended) == ended) return most;
  std::vector<std::chrono::nanoseconds> all(last.begin(), last.begin() + count);
  all.insert(all.end(), running.begin(), running.end());
  const auto at = all.begin() + static_cast<ptrdiff_t>(all.size() * 95 - 1) / 100;
  std::nth_element(all.begin(), at, all.end());
  return most = *at;
}

std::chrono::nanoseconds Pace::Median() const {
  const auto count = static_cast<ptrdiff_t>(std::min<uint64_t>(ended_well, last_well.size()));
  if (count < 5) return {};
  auto all = last_well;
  const auto at = all.begin() + (count - 1) / 2;
  std::nth_element(all.begin(), at, all.begin() + count);
  return *at;
}

void Pace::SetRunning(std::vector<std::chrono::nanoseconds> longer) {
  running = std::move(longer);
  most_of = 0;
}

double Pace::Error() const {
  const auto count = std::min<uint64_t>(ended, last.size());
  if (count < 2) return 0;
  const auto n = static_cast<double>(count);
  double sum = 0;
  double squares = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const double seconds = std::chrono::duration<double>(last[i]).count();
    sum += seconds;
    squares += seconds * seconds;
  }
  return std::sqrt(std::max(squares - sum * sum / n, 0.0) / (n - 1) / n);
}

void ClassTable::Open(std::vector<TaskRequest> requests) {
  for (TaskRequest& request : requests) classes_.push_back({std::move(request), {}, {}, {}, 0});
  closed_.resize(pools_.size());
  FindHomes();
}

void ClassTable::FindHomes() {
  for (TaskClass& one : classes_) {
    one.homes = HomesOf(one.request, pools_, closed_);
    // Whoever is still there, or may still come, is all that there is.
    if (one.homes.empty()) one.homes = HomesOf(one.request, pools_);
  }
}

void ClassTable::SetClosed(size_t pool, bool closed) {
  closed_[pool] = closed;
  FindHomes();
}

double ClassTable::SlotsOf(const TaskClass& one, std::optional<size_t> pool) const {
  if (!pool) return 1;
  const PoolKind& kind = pools_[*pool];
  const uint64_t places = kind.capacity.Places(one.request, kind.slots);
  return static_cast<double>(kind.slots) / static_cast<double>(std::max<uint64_t>(places, 1));
}

// Classes may come while the run goes on.
bool ClassTable::MayGrow() const {
  const bool longer = std::any_of(pools_.begin(), pools_.end(),
                                  [](const PoolKind& pool) { return pool.time_ms > 0; });
  return by_.memory > 1 || by_.time > 1 || (pools_.size() > 1 && longer);
}

// The class of such tasks, made if it is new; none: no pool has what they ask for.
std::optional<ClassId> ClassTable::Find(const TaskRequest& request, uint64_t time_permille) {
  // Since it was last asked, others may have come.
  for (size_t of = class_of_.size(); of < classes_.size(); ++of) {
    class_of_.emplace(std::pair(classes_[of].request, classes_[of].time_permille), of);
  }
  const auto known = class_of_.find(std::pair(request, time_permille));
  if (known != class_of_.end()) return known->second;
  TaskClass one;
  one.request = request;
  one.time_permille = time_permille;
  one.homes = HomesOf(request, pools_, closed_);
  if (one.homes.empty()) return std::nullopt;
  if (full()) return std::nullopt;
  classes_.push_back(std::move(one));
  return static_cast<ClassId>(classes_.size() - 1);
}

// `had`: how much it had, as far as that is known.
std::optional<ClassId> ClassTable::WithMoreMemory(ClassId of, uint64_t had) {
  TaskRequest request = classes_[of].request;
  had = std::max(had, request.memory_bytes);
  if (by_.memory <= 1 || had == 0) return std::nullopt;
  const auto largest =
      Largest(pools_, request, [](const PoolKind& pool) { return pool.capacity.memory_bytes; });
  request.memory_bytes = Times(had, by_.memory);
  if (largest) request.memory_bytes = std::min(request.memory_bytes, *largest);
  if (request.memory_bytes <= had) return std::nullopt;
  return Find(request, classes_[of].time_permille);
}

// Its own limit was too short.
std::optional<ClassId> ClassTable::WithMoreTime(ClassId of) {
  TaskRequest request = classes_[of].request;
  const uint64_t had = classes_[of].time_permille;
  const uint64_t limit = std::min(Times(had, by_.time), kMostPermille);
  if (limit <= had) return std::nullopt;
  const auto largest = Largest(pools_, request, [](const PoolKind& pool) {
    return pool.time_ms > 0 ? std::optional(pool.time_ms) : std::nullopt;
  });
  request.time_ms = Times(request.time_ms, by_.time);
  if (largest) request.time_ms = std::min(request.time_ms, *largest);
  return Find(request, limit);
}

// Its workers' lives were too short: those of another pool may be longer.
std::optional<ClassId> ClassTable::WithLongerLife(ClassId of) {
  if (!several()) return std::nullopt;
  TaskRequest request = classes_[of].request;
  uint64_t lives = 0;
  for (const size_t home : classes_[of].homes) {
    if (pools_[home].time_ms == 0) return std::nullopt;
    lives = std::max(lives, pools_[home].time_ms);
  }
  // So much that none of these will do (Suits).
  request.time_ms = lives / 9 * 10 + 10;
  if (lives == 0 || HomesOf(request, pools_, closed_).empty()) return std::nullopt;
  return Find(request, classes_[of].time_permille);
}

}  // namespace cq
