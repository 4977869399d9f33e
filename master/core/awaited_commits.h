#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "master/core/worker_table.h"
#include "protocol/messages.h"

namespace cq {

/// Reports that are on their way into the journal: until they are durable nobody is told that they
/// have come.
class AwaitedCommits {
 public:
  struct Entry {
    AttemptSpan attempts;
    /// To whom the acknowledgement goes; none for what came from a file.
    std::optional<WorkerRef> worker;
    Time since{};
    /// So many rows come with it, if they are new.
    uint64_t pushed = 0;
  };

  /// An attempt that ended twice (cancelled here, and there by itself) is still one.
  void Add(const AttemptSpan& attempts, std::optional<WorkerRef> worker, Time now);
  /// The one that this attempt is in; nullptr: there is none.
  Entry* Find(AttemptId attempt);
  /// Whether a report of just this is among them.
  bool Has(AttemptRef ref) const;
  /// That of just these, which is durable: it is none of them any more.
  std::optional<Entry> Take(const AttemptSpan& attempts);

  bool empty() const { return entries_.empty(); }
  uint64_t tasks() const { return tasks_; }
  /// By the last of their attempts.
  const std::map<AttemptId, Entry>& entries() const { return entries_; }

 private:
  std::map<AttemptId, Entry> entries_;
  uint64_t tasks_ = 0;
};

}  // namespace cq
