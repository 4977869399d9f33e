#include "protocol/task_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "base/quantities.h"
#include "base/text.h"

namespace cq {
namespace {

constexpr const char* kCpus = "cpus";
constexpr const char* kMemory = "memory";
constexpr const char* kPool = "pool";
constexpr const char* kCpusOfTask = "cpus_of_task";
constexpr const char* kMemoryOfTask = "memory_of_task";
constexpr std::string_view kNeed = "need:";

/// More than that nobody has, and sums of it do not overflow.
constexpr int64_t kCountMax = int64_t{1} << 50;

uint64_t CountIn(const Value& value) {
  const auto* number = std::get_if<int64_t>(&value);
  return number == nullptr ? 0 : static_cast<uint64_t>(std::clamp<int64_t>(*number, 0, kCountMax));
}

int64_t AsNumber(uint64_t count) {
  return static_cast<int64_t>(std::min<uint64_t>(count, kCountMax));
}

std::string CpusText(uint64_t cpus) { return fmt::format("{} CPU{}", cpus, cpus == 1 ? "" : "s"); }

void AddNeeds(std::vector<std::string>& parts, const std::map<std::string, uint64_t>& needs) {
  for (const auto& [name, count] : needs) parts.push_back(fmt::format("{} {}", name, count));
}

}  // namespace

uint64_t Capacity::Places(const TaskRequest& request, uint64_t slots) const {
  uint64_t places = slots;
  const TaskRequest share = Share(request);
  if (share.cpus > 0 && cpus) places = std::min(places, *cpus / share.cpus);
  if (share.memory_bytes > 0 && memory_bytes) {
    places = std::min(places, *memory_bytes / share.memory_bytes);
  }
  for (const auto& [name, count] : request.needs) {
    const auto found = needs.find(name);
    if (count > 0) places = std::min(places, found == needs.end() ? 0 : found->second / count);
  }
  return places;
}

void Commitment::Add(const TaskRequest& share, uint64_t tasks) {
  cpus_ += share.cpus * tasks;
  memory_bytes_ += share.memory_bytes * tasks;
  for (const auto& [name, count] : share.needs) needs_[name] += count * tasks;
}

void Commitment::Remove(const TaskRequest& share, uint64_t tasks) {
  CQ_ASSERT(cpus_ >= share.cpus * tasks && memory_bytes_ >= share.memory_bytes * tasks,
            "{} tasks that take {} go from {} CPUs and {} bytes", tasks, Describe(share), cpus_,
            memory_bytes_);
  cpus_ -= share.cpus * tasks;
  memory_bytes_ -= share.memory_bytes * tasks;
  for (const auto& [name, count] : share.needs) {
    const auto found = needs_.find(name);
    CQ_ASSERT(found != needs_.end() && found->second >= count * tasks,
              "{} tasks that take {} of '{}' go, and nobody has them", tasks, count, name);
    found->second -= count * tasks;
    if (found->second == 0) needs_.erase(found);
  }
}

bool Commitment::Leaves(const Capacity& capacity, const TaskRequest& share) const {
  const auto fits = [](uint64_t asked, uint64_t taken, std::optional<uint64_t> all) {
    return asked == 0 || !all || (taken <= *all && asked <= *all - taken);
  };
  if (!fits(share.cpus, cpus_, capacity.cpus)) return false;
  if (!fits(share.memory_bytes, memory_bytes_, capacity.memory_bytes)) return false;
  return std::all_of(share.needs.begin(), share.needs.end(), [&](const auto& need) {
    const auto all = capacity.needs.find(need.first);
    const auto taken = needs_.find(need.first);
    return fits(need.second, taken == needs_.end() ? 0 : taken->second,
                all == capacity.needs.end() ? 0 : all->second);
  });
}

std::string Describe(const TaskRequest& request) {
  std::vector<std::string> parts;
  if (request.cpus > 0) parts.push_back(CpusText(request.cpus));
  if (request.memory_bytes > 0) parts.push_back(SizeText(request.memory_bytes));
  AddNeeds(parts, request.needs);
  if (request.time_ms > 0) {
    parts.push_back(DurationText(std::chrono::milliseconds(request.time_ms)));
  }
  if (!request.pool.empty()) parts.push_back(fmt::format("pool '{}'", request.pool));
  return parts.empty() ? "a slot" : Joined(parts, ", ");
}

std::string Describe(const Capacity& capacity) {
  std::vector<std::string> parts;
  if (capacity.cpus) parts.push_back(CpusText(*capacity.cpus));
  if (capacity.memory_bytes) parts.push_back(SizeText(*capacity.memory_bytes));
  AddNeeds(parts, capacity.needs);
  return parts.empty() ? "slots" : Joined(parts, ", ");
}

void PutRequest(Extras& extras, const TaskRequest& request) {
  if (request.cpus > 0) extras.emplace_back(kCpus, AsNumber(request.cpus));
  if (request.memory_bytes > 0) extras.emplace_back(kMemory, AsNumber(request.memory_bytes));
  for (const auto& [name, count] : request.needs) {
    extras.emplace_back(fmt::format("{}{}", kNeed, name), AsNumber(count));
  }
}

std::optional<TaskRequest> TakenBy(const Extras& extras) {
  TaskRequest request;
  for (const auto& [name, value] : extras) {
    if (name == kCpus) request.cpus = CountIn(value);
    if (name == kMemory) request.memory_bytes = CountIn(value);
    const uint64_t count = CountIn(value);
    if (name.starts_with(kNeed) && count > 0) request.needs[name.substr(kNeed.size())] = count;
  }
  if (request.TakesNothing()) return std::nullopt;
  return request;
}

void PutCapacity(Extras& extras, const Capacity& capacity, const std::string& pool) {
  if (capacity.cpus) extras.emplace_back(kCpus, AsNumber(*capacity.cpus));
  if (capacity.memory_bytes) extras.emplace_back(kMemory, AsNumber(*capacity.memory_bytes));
  for (const auto& [name, count] : capacity.needs) {
    extras.emplace_back(fmt::format("{}{}", kNeed, name), AsNumber(count));
  }
  if (capacity.cpus_of_task > 0) {
    extras.emplace_back(kCpusOfTask, AsNumber(capacity.cpus_of_task));
  }
  if (capacity.memory_of_task > 0) {
    extras.emplace_back(kMemoryOfTask, AsNumber(capacity.memory_of_task));
  }
  if (!pool.empty()) extras.emplace_back(kPool, pool);
}

Capacity CapacityOf(const Extras& extras) {
  Capacity capacity;
  for (const auto& [name, value] : extras) {
    if (name == kCpus) capacity.cpus = CountIn(value);
    if (name == kMemory) capacity.memory_bytes = CountIn(value);
    if (name == kCpusOfTask) capacity.cpus_of_task = CountIn(value);
    if (name == kMemoryOfTask) capacity.memory_of_task = CountIn(value);
    if (name.starts_with(kNeed)) capacity.needs[name.substr(kNeed.size())] = CountIn(value);
  }
  return capacity;
}

std::string PoolOf(const Extras& extras) {
  for (const auto& [name, value] : extras) {
    if (const auto* text = std::get_if<std::string>(&value); text && name == kPool) return *text;
  }
  return {};
}

}  // namespace cq
