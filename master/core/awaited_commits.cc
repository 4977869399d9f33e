#include "master/core/awaited_commits.h"

#include <utility>

#include "base/assert.h"

namespace cq {

void AwaitedCommits::Add(const AttemptSpan& attempts, std::optional<WorkerRef> worker, Time now) {
  CQ_ASSERT(attempts.count >= 1 && attempts.task >= 1, "{} reports of task {} are written",
            attempts.count, attempts.task);
  const AttemptId last = attempts.attempt + attempts.count - 1;
  if (const auto found = entries_.find(last); found != entries_.end()) {
    tasks_ -= found->second.attempts.count;
  }
  entries_[last] = {attempts, worker, now};
  tasks_ += attempts.count;
}

AwaitedCommits::Entry* AwaitedCommits::Find(AttemptId attempt) {
  const auto found = entries_.lower_bound(attempt);
  if (found == entries_.end() || found->first - attempt >= found->second.attempts.count) {
    return nullptr;
  }
  return &found->second;
}

bool AwaitedCommits::Has(AttemptRef ref) const {
  const auto found = entries_.lower_bound(ref.attempt);
  if (found == entries_.end()) return false;
  const AttemptSpan& span = found->second.attempts;
  const uint64_t at = ref.attempt - span.attempt;
  return at < span.count && span.task + at == ref.task;
}

std::optional<AwaitedCommits::Entry> AwaitedCommits::Take(const AttemptSpan& attempts) {
  const auto found = entries_.find(attempts.attempt + attempts.count - 1);
  if (found == entries_.end() || found->second.attempts != attempts) return std::nullopt;
  const Entry entry = found->second;
  entries_.erase(found);
  tasks_ -= attempts.count;
  return entry;
}

}  // namespace cq
