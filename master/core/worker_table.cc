#include "master/core/worker_table.h"

#include <algorithm>
#include <cstring>

namespace cq {

size_t WorkerTable::Hash::operator()(const WorkerId& id) const {
  // The id is random: any part of it is a hash.
  size_t hash = 0;
  std::memcpy(&hash, id.data(), sizeof hash);
  return hash;
}

Worker& WorkerTable::Get(const WorkerId& id) {
  const auto found = by_id_.find(id);
  return found != by_id_.end() ? workers_[found->second] : Recover(id, ++last_number_);
}

Worker& WorkerTable::Recover(const WorkerId& id, uint64_t number) {
  CQ_ASSERT(!by_id_.contains(id) && !by_number_.contains(number), "worker {} is there already",
            number);
  if (free_.empty()) {
    free_.push_back(static_cast<WorkerIndex>(workers_.size()));
    workers_.emplace_back();
  }
  Worker& worker = workers_[free_.back()];
  worker = {};
  worker.index = free_.back();
  free_.pop_back();
  worker.number = number;
  worker.id = id;
  by_id_[id] = worker.index;
  by_number_[number] = worker.index;
  return worker;
}

void WorkerTable::Forget(Worker& worker) {
  CQ_ASSERT(worker.gone() && worker.number != 0, "worker {} is to be forgotten and not gone",
            worker.number);
  const WorkerIndex index = worker.index;
  by_id_.erase(worker.id);
  by_number_.erase(worker.number);
  SetAllocation(worker, {});
  worker = {};
  worker.index = index;
  worker.presence = Worker::Gone{};
  free_.push_back(index);
}

void WorkerTable::SetAllocation(Worker& worker, const std::string& name) {
  if (worker.allocation == name) return;
  const auto [begin, end] = by_allocation_.equal_range(worker.allocation);
  const auto before =
      std::find_if(begin, end, [&](const auto& entry) { return entry.second == worker.index; });
  if (before != end) by_allocation_.erase(before);
  worker.allocation = name;
  if (!name.empty()) by_allocation_.emplace(name, worker.index);
}

std::vector<const Worker*> WorkerTable::Of(const std::string& allocation) const {
  std::vector<const Worker*> workers;
  const auto [begin, end] = by_allocation_.equal_range(allocation);
  for (auto it = begin; it != end; ++it) workers.push_back(&workers_[it->second]);
  return workers;
}

std::vector<Worker*> WorkerTable::Of(const std::string& allocation) {
  std::vector<Worker*> workers;
  const auto [begin, end] = by_allocation_.equal_range(allocation);
  for (auto it = begin; it != end; ++it) workers.push_back(&workers_[it->second]);
  std::sort(workers.begin(), workers.end(),
            [](const Worker* a, const Worker* b) { return a->number < b->number; });
  return workers;
}

void WorkerTable::SetHost(Worker& worker, const std::string& name) {
  const auto [found, added] = by_host_.try_emplace(name, static_cast<HostIndex>(hosts_.size()));
  if (added) hosts_.push_back({name});
  worker.host = name;
  worker.host_index = found->second;
}

Worker* WorkerTable::WithNumber(uint64_t number) {
  const auto found = by_number_.find(number);
  return found == by_number_.end() ? nullptr : &workers_[found->second];
}

Peer* WorkerTable::FindPeer(ConnectionId connection) {
  const auto found = peers_.find(connection);
  return found == peers_.end() ? nullptr : &found->second;
}

void WorkerTable::Move(Worker& worker, Worker::Presence presence) {
  if (worker.here()) --here_;
  worker.presence = presence;
  if (worker.here()) ++here_;
}

uint64_t WorkerTable::live_slots() const {
  uint64_t count = 0;
  for (const Worker& worker : workers_) count += worker.Takes() ? worker.slots : 0;
  return count;
}

}  // namespace cq
