#include "master/core/worker_table.h"

#include <cstring>

namespace cq {

size_t WorkerTable::Hash::operator()(const WorkerId& id) const {
  // The id is random: any part of it is a hash.
  size_t hash = 0;
  std::memcpy(&hash, id.data(), sizeof hash);
  return hash;
}

Worker& WorkerTable::Get(const WorkerId& id) {
  const auto [found, added] = by_id_.try_emplace(id, static_cast<WorkerIndex>(workers_.size()));
  if (added) {
    Worker& worker = workers_.emplace_back();
    worker.index = found->second;
    worker.id = id;
  }
  return workers_[found->second];
}

Peer* WorkerTable::FindPeer(ConnectionId connection) {
  const auto found = peers_.find(connection);
  return found == peers_.end() ? nullptr : &found->second;
}

uint64_t WorkerTable::live() const {
  uint64_t count = 0;
  for (const Worker& worker : workers_) count += worker.connected && !worker.ended ? 1 : 0;
  return count;
}

uint64_t WorkerTable::live_slots() const {
  uint64_t count = 0;
  for (const Worker& worker : workers_) count += worker.Takes() ? worker.slots : 0;
  return count;
}

}  // namespace cq
