#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/assert.h"
#include "master/core/work.h"
#include "protocol/messages.h"
#include "protocol/task_request.h"

namespace cq {

/// Whether a worker has room for a task.
enum class Room {
  kNone,
  kNow,
  /// Behind others of its class, as whose place becomes free it begins.
  kBehind,
};

/// The tasks that are out with a worker, in the order of their assignment: a list through their own
/// states.
class HeldTasks {
 public:
  /// Each task of a span counts.
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Work* newest() const { return newest_; }
  void Add(Work& open) {
    Work::Out& out = *open.out();
    CQ_ASSERT(out.older == nullptr && out.newer == nullptr && newest_ != &open,
              "task {} is held twice", open.task);
    out.older = newest_;
    if (newest_ != nullptr) newest_->out()->newer = &open;
    newest_ = &open;
    size_ += open.count;
  }
  void Remove(Work& open) {
    Work::Out& out = *open.out();
    CQ_ASSERT(open.count <= size_, "{} tasks from {} go, and {} are held", open.count, open.task,
              size_);
    CQ_ASSERT(out.newer != nullptr || newest_ == &open, "task {} is held by another", open.task);
    if (out.older != nullptr) out.older->out()->newer = out.newer;
    (out.newer != nullptr ? out.newer->out()->older : newest_) = out.older;
    out.older = nullptr;
    out.newer = nullptr;
    size_ -= open.count;
  }
  /// The oldest first, spans as they are. They may be taken out meanwhile.
  std::vector<Work*> All() const {
    std::vector<Work*> all;
    for (Work* open = newest_; open != nullptr; open = open->out()->older) all.push_back(open);
    std::reverse(all.begin(), all.end());
    return all;
  }

 private:
  Work* newest_ = nullptr;
  size_t size_ = 0;
};

/// What a run has with one worker.
struct Lane {
  HeldTasks held;
  /// How many tasks run there at a time: its slots, or fewer if all tasks ask for the same.
  uint64_t places = 0;
  /// Among the run's pools; none: it is of a pool that is gone.
  std::optional<size_t> pool;
  /// Of several classes: what it holds of each, and what that takes of the worker.
  std::map<ClassId, uint64_t> held_of_class;
  Commitment committed;
  /// It is kept for the next task of this class, which has waited for long.
  std::optional<ClassId> reserved;
  /// Of these: entries that run, tasks that were asked back, that were charged before, and that are
  /// under suspicion: with one of those it is given nothing else.
  uint64_t running = 0;
  uint64_t retracting = 0;
  uint64_t charged = 0;
  uint64_t suspects = 0;
  /// Since when it holds nothing.
  std::optional<std::chrono::nanoseconds> empty_since;
  /// How many of its slots have something to do, and how many have not.
  uint64_t busy = 0;
  uint64_t idle_slots = 0;
  /// Attempts that it still runs though they were given up.
  std::set<AttemptId> stale;
  /// The groups (sections of the start order) that its slots are on, and how many tasks of each it
  /// holds.
  std::vector<uint32_t> groups;
  std::map<uint32_t, uint64_t> held_of_group;
  /// What it is to be told of next, and whether it is looked at when tasks are next given out.
  std::vector<AttemptSpan> acks;
  uint64_t acked = 0;
  bool dirty = false;
  /// Why it cannot run tasks of this run, as its worker says; and why it takes nothing, or waits,
  /// as it was told last.
  std::string problem;
  std::string idle;
  /// As its worker said last.
  SlotLedger ledger;
  /// A task of it met its memory's limit: a scheduler may say so of the job's end, too.
  bool had_memory = false;
  /// How many tasks have ended there.
  uint64_t ended = 0;
  /// It reported what was never given out.
  bool rejected = false;
  /// Tasks in a row that could not be started there, as far as no other worker failed with them,
  /// too; and whether another could start one of them.
  uint64_t unstartable = 0;
  bool refuted = false;
};

}  // namespace cq
