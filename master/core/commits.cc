// What is on its way into the journal, and its acknowledgement.
#include <algorithm>

#include "base/assert.h"
#include "master/core/run_core.h"
#include "protocol/limits.h"

namespace cq {
namespace {

/// So many acknowledgements for a worker wait for no others.
constexpr size_t kAcksAtOnce = 256;

}  // namespace

void RunCore::OnCommitted(Time now, const Committed& committed) {
  for (const AttemptSpan& attempts : committed.attempts) {
    const auto found = uncommitted_.find(attempts.attempt + attempts.count - 1);
    if (found == uncommitted_.end() || found->second.attempts != attempts) continue;
    if (found->second.worker) Acknowledge(workers_.Find(*found->second.worker), attempts);
    recording_ += (now - found->second.since) * static_cast<int64_t>(attempts.count);
    uncommitted_tasks_ -= attempts.count;
    uncommitted_.erase(found);
  }
  if (committed.mark > tasks_.mark()) {
    tasks_.set_mark(committed.mark);
    all_dirty_ = true;
  }
}

// A report of these is on its way into the journal.
void RunCore::AwaitCommit(const AttemptSpan& attempts, std::optional<WorkerRef> worker) {
  CQ_ASSERT(attempts.count >= 1 && attempts.task >= 1, "{} reports of task {} are written",
            attempts.count, attempts.task);
  const AttemptId last = attempts.attempt + attempts.count - 1;
  // An attempt that ended twice (cancelled here, and there by itself) is still one.
  if (const auto found = uncommitted_.find(last); found != uncommitted_.end()) {
    uncommitted_tasks_ -= found->second.attempts.count;
  }
  uncommitted_[last] = {attempts, worker, now_};
  uncommitted_tasks_ += attempts.count;
}

RunCore::Uncommitted* RunCore::FindUncommitted(AttemptId attempt) {
  const auto found = uncommitted_.lower_bound(attempt);
  if (found == uncommitted_.end() || found->first - attempt >= found->second.attempts.count) {
    return nullptr;
  }
  return &found->second;
}

bool RunCore::IsAwaited(AttemptRef ref) const {
  const auto found = uncommitted_.lower_bound(ref.attempt);
  if (found == uncommitted_.end()) return false;
  const AttemptSpan& span = found->second.attempts;
  const uint64_t at = ref.attempt - span.attempt;
  return at < span.count && span.task + at == ref.task;
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
