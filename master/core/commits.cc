// What is on its way into the journal, and its acknowledgement.
#include <algorithm>

#include "master/core/grower.h"
#include "master/core/run_core.h"
#include "protocol/limits.h"

namespace cq {
namespace {

/// So many acknowledgements for a worker wait for no others.
constexpr size_t kAcksAtOnce = 256;

}  // namespace

void RunCore::OnCommitted(Time now, Committed& committed) {
  for (const AttemptSpan& attempts : committed.attempts) {
    const auto entry = uncommitted_.Take(attempts);
    if (!entry) continue;
    if (entry->worker) Acknowledge(workers_.Find(*entry->worker), attempts);
    spent_.recording += (now - entry->since) * static_cast<int64_t>(attempts.count);
    coming_ -= entry->pushed;
  }
  if (committed.mark > tasks_.mark()) {
    tasks_.set_mark(committed.mark);
    all_dirty_ = true;
  }
  adding_ -= committed.requests.size();
  Grower(*this).OnAdded(committed.added);
  HaltIfDue();
}

void RunCore::Acknowledge(Worker* worker, const AttemptSpan& attempts) {
  if (worker == nullptr) return;
  if (lane(*worker).acks.empty()) acknowledged_.push_back(worker->index);
  lane(*worker).acks.push_back(attempts);
  lane(*worker).acked += attempts.count;
  // One that is about to leave waits for its last.
  const bool enough =
      lane(*worker).acked >= kAcksAtOnce && lane(*worker).acked - attempts.count < kAcksAtOnce;
  if (enough || worker->leaving) acknowledged_enough_.push_back(worker->index);
}

void RunCore::FlushAcks(Time now) {
  const bool all = now - acknowledged_at_ >= options_.gather_acks;
  for (const WorkerIndex index : std::exchange(acknowledged_enough_, {})) SendAcks(workers_[index]);
  if (!all) return;
  acknowledged_at_ = now;
  for (const WorkerIndex index : std::exchange(acknowledged_, {})) SendAcks(workers_[index]);
}

void RunCore::SendAcks(Worker& worker) {
  const auto attempts = std::exchange(lane(worker).acks, {});
  lane(worker).acked = 0;
  if (!worker.here()) return;
  Ack ack{options_.text.run, {}};
  uint64_t tasks = 0;
  const auto send = [&] {
    if (!ack.attempts.empty()) SendTo(worker, std::exchange(ack, {options_.text.run, {}}));
    tasks = 0;
  };
  for (const AttemptSpan& span : attempts) {
    if (ack.attempts.size() == kBatchMax || tasks + span.count > kHeldMax) send();
    ack.attempts.push_back(span);
    tasks += span.count;
  }
  send();
}

}  // namespace cq
