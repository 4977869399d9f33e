#include "master/core/requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace cq {
namespace {

uint64_t Sum(const std::map<std::string, uint64_t>& needs) {
  uint64_t sum = 0;
  for (const auto& [name, count] : needs) sum += count;
  return sum;
}

bool MayTake(const PoolKind& pool, const TaskRequest& request) {
  const bool in_time = pool.time_ms == 0 || request.time_ms <= pool.time_ms;
  return (request.pool.empty() || request.pool == pool.name) && in_time &&
         pool.capacity.Holds(request);
}

// Of what is asked for, how much was not said about the pool; then its size.
auto Size(const PoolKind& pool, const TaskRequest& request) {
  const Capacity& has = pool.capacity;
  const int unknown = (request.memory_bytes > 0 && !has.memory_bytes ? 1 : 0) +
                      (request.cpus > 0 && !has.cpus ? 1 : 0);
  return std::tuple(unknown, Sum(has.needs), has.memory_bytes.value_or(0), has.cpus.value_or(0),
                    pool.time_ms);
}

// What of it the pool does not have.
std::string Missing(const PoolKind& pool, const TaskRequest& request) {
  const Capacity& has = pool.capacity;
  TaskRequest one;
  one.cpus = request.cpus;
  if (!has.Holds(one)) return fmt::format("its workers have {} CPUs", *has.cpus);
  one = {};
  one.memory_bytes = request.memory_bytes;
  if (!has.Holds(one)) {
    Capacity memory;
    memory.memory_bytes = has.memory_bytes;
    return fmt::format("its workers have {} of memory", Describe(memory));
  }
  for (const auto& [name, count] : request.needs) {
    const auto found = has.needs.find(name);
    if (found == has.needs.end()) return fmt::format("its workers have no '{}'", name);
    if (found->second < count) return fmt::format("its workers have {} {}", name, found->second);
  }
  TaskRequest time;
  time.time_ms = pool.time_ms;
  return fmt::format("its workers live for {}", Describe(time));
}

}  // namespace

std::vector<size_t> HomesOf(const TaskRequest& request, const std::vector<PoolKind>& pools,
                            const std::vector<bool>& closed) {
  std::vector<size_t> homes;
  for (size_t i = 0; i < pools.size(); ++i) {
    if ((i < closed.size() && closed[i]) || !MayTake(pools[i], request)) continue;
    if (!homes.empty() && Size(pools[i], request) > Size(pools[homes[0]], request)) continue;
    if (!homes.empty() && Size(pools[i], request) < Size(pools[homes[0]], request)) homes.clear();
    homes.push_back(i);
  }
  return homes;
}

std::string WhyHomeless(const TaskRequest& request, const std::vector<PoolKind>& pools) {
  const PoolKind* nearest = nullptr;
  for (const PoolKind& pool : pools) {
    if (!request.pool.empty() && pool.name != request.pool) continue;
    // The largest one comes nearest.
    if (nearest == nullptr || Size(pool, {}) > Size(*nearest, {})) nearest = &pool;
  }
  if (nearest == nullptr) {
    std::string names;
    for (const PoolKind& pool : pools) names += (names.empty() ? "" : ", ") + pool.name;
    return fmt::format("there is no pool '{}'; the pools are: {}", request.pool, names);
  }
  const std::string missing = Missing(*nearest, request);
  if (pools.size() == 1) return missing;
  return fmt::format("no pool has that; the nearest is '{}': {}", nearest->name, missing);
}

}  // namespace cq
