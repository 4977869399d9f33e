#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "master/core/task_table.h"
#include "protocol/messages.h"

namespace cq {

/// Time since an origin of the caller's; it moves only when the caller says so.
using Time = std::chrono::nanoseconds;

/// Names a connection of the transport for as long as it lasts, and never a worker.
using ConnectionId = uint64_t;

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

/// The index of a host in the worker table.
using HostIndex = uint32_t;

/// A machine that workers are on, and how tasks lately ended there.
struct Host {
  std::string name;
  /// Results that were `ok` or `error`, and those that were `error`: older ones count less.
  double results = 0;
  double errors = 0;
  /// Tasks that failed here and ended well elsewhere; and those that were tried elsewhere for that.
  uint64_t refuted = 0;
  uint64_t trials = 0;
  /// The last result was an error.
  bool failing = false;
  /// No worker there is given anything more.
  bool avoided = false;
};

struct Worker {
  WorkerIndex index = 0;
  /// Its number in the journal and for people, from 1.
  uint64_t number = 0;
  WorkerId id{};
  std::string host;
  HostIndex host_index = 0;
  std::string allocation;
  uint64_t pid = 0;
  uint64_t slots = 0;
  uint64_t capacity = 0;
  std::string problem;
  /// Why it takes nothing, or waits, as it was told last.
  std::string idle;

  /// Whether there is a session; without one nothing can be sent to it.
  bool connected = false;
  ConnectionId connection = 0;
  SessionId session = 0;
  Time last_heard{};
  /// The highest sequence number received in the session.
  uint64_t received = 0;

  /// Of an earlier master: it may still run tasks, and has not said hello yet.
  bool awaited = false;
  /// Its scheduler tells when it ends.
  bool watched = false;
  /// Its scheduler says that its job has ended: it is lost then, unless it answers.
  struct JobEnd {
    Time answer_by{};
    std::string reason;
    bool explained = false;
  };
  std::optional<JobEnd> job_end;
  /// Rows of it that are on their way into the journal: until they are durable it is not welcome,
  /// and starts nothing that a later master would not know of.
  uint64_t unrecorded = 0;
  /// It was told to go, or told to drain.
  bool leaving = false;
  /// It is gone, for the reason that the journal has. It comes back to life with a hello.
  bool ended = false;

  HeldTasks held;
  uint64_t running = 0;
  uint64_t retracting = 0;
  uint64_t charged = 0;
  /// The groups that its slots are on, and how many tasks of each it holds.
  std::vector<uint32_t> groups;
  std::map<uint32_t, uint64_t> held_of_group;
  /// As it said last.
  SlotLedger ledger;
  /// It reported what was never given out.
  bool rejected = false;
  /// Tasks in a row that could not be started here, as far as no other worker failed with them,
  /// too; and whether another could start one of them.
  uint64_t unstartable = 0;
  bool refuted = false;
  /// How many suspects it holds: with one it is given nothing else.
  uint64_t suspects = 0;
  /// Attempts that it still runs though they were given up.
  std::set<AttemptId> stale;
  /// What it is to be told of next, and whether it may be given tasks next.
  std::vector<AttemptSpan> acks;
  uint64_t acked = 0;
  bool dirty = false;

  bool Takes() const { return connected && unrecorded == 0 && !leaving && !ended && capacity > 0; }
  /// It takes tasks, or will once its row is durable, its connection is back, or it has room.
  bool MayTake() const { return !leaving && !ended && problem.empty(); }
};

/// A connection: the session in force on it, and the one offered in a `who`.
struct Peer {
  SessionId session = 0;
  SessionId offered = 0;
  WorkerIndex worker = 0;
  Time offered_at{};
};

/// The workers that ever said hello, by index, and the connections that are known.
class WorkerTable {
 public:
  Worker& operator[](WorkerIndex index) { return workers_[index]; }
  const std::deque<Worker>& all() const { return workers_; }
  std::deque<Worker>& all() { return workers_; }

  /// The worker with this id, made if it is new.
  Worker& Get(const WorkerId& id);
  /// One that is not there yet, of an earlier master; new ones are numbered on from `last_number`.
  Worker& Recover(const WorkerId& id, uint64_t number);
  void set_last_number(uint64_t number) { last_number_ = number; }
  void SetHost(Worker& worker, const std::string& name);
  Host& HostOf(const Worker& worker) { return hosts_[worker.host_index]; }
  const std::vector<Host>& hosts() const { return hosts_; }
  /// nullptr for a number that no worker has.
  Worker* WithNumber(uint64_t number);

  std::unordered_map<ConnectionId, Peer>& peers() { return peers_; }
  Peer* FindPeer(ConnectionId connection);

  /// Workers that can be given tasks, and their slots.
  uint64_t live() const;
  uint64_t live_slots() const;

  /// Asserts that its books agree. For tests.
  void CheckInvariants() const;

 private:
  struct Hash {
    size_t operator()(const WorkerId& id) const;
  };
  std::deque<Worker> workers_;
  std::unordered_map<WorkerId, WorkerIndex, Hash> by_id_;
  std::unordered_map<uint64_t, WorkerIndex> by_number_;
  std::vector<Host> hosts_;
  std::unordered_map<std::string, HostIndex> by_host_;
  uint64_t last_number_ = 0;
  std::unordered_map<ConnectionId, Peer> peers_;
};

}  // namespace cq
