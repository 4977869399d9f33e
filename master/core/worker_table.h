#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/assert.h"
#include "master/core/work.h"
#include "protocol/messages.h"
#include "protocol/task_request.h"

namespace cq {

/// Time since an origin of the caller's; it moves only when the caller says so.
using Time = std::chrono::nanoseconds;

/// Names a connection of the transport for as long as it lasts, and never a worker.
using ConnectionId = uint64_t;

/// Whether what ran on a worker has to answer for its end.
enum class Blame {
  /// The cause is known, and it is no task.
  kNobody,
  /// Unless its scheduler soon names a cause.
  kProvisional,
  /// A task took more memory than the worker had.
  kMemory,
  kFinal,
};

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

/// A worker as the fleet knows it; what a run has with it is a Lane. Without a number: nobody's
/// place in the table.
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
  /// How many tasks it takes in all, running or not.
  uint64_t capacity = 0;
  /// Of which pool it is, as it was started, and what it has for its tasks.
  std::string pool;
  Capacity has;

  /// Of an earlier master: it may still run tasks, and has not said hello yet.
  struct Awaited {
    /// Its scheduler tells when it ends.
    bool watched = false;
  };
  /// There is a session, under which it can be told something.
  struct Here {
    ConnectionId connection = 0;
  };
  /// Its connection is gone, its lease is not over.
  struct Away {};
  /// For the reason that the journal has. It comes back to life with a hello, and as another once
  /// it is forgotten.
  struct Gone {
    Time since{};
    /// Its process is known to have ended, and cannot come back.
    bool ended = false;
  };
  using Presence = std::variant<Away, Awaited, Here, Gone>;
  Presence presence;
  const Here* here() const { return std::get_if<Here>(&presence); }
  const Awaited* awaited() const { return std::get_if<Awaited>(&presence); }
  bool gone() const { return std::holds_alternative<Gone>(presence); }
  WorkerRef ref() const { return {number, index, host_index}; }

  /// The last one, in force or not.
  SessionId session = 0;
  Time last_heard{};
  /// The highest sequence number received in the session.
  uint64_t received = 0;

  /// Its scheduler says that its job has ended: it is lost then, unless it answers.
  struct JobEnd {
    Time answer_by{};
    std::string reason;
    Blame blame = Blame::kFinal;
  };
  std::optional<JobEnd> job_end;
  /// Rows of it that are on their way into the journal: until they are durable it is not welcome,
  /// and starts nothing that a later master would not know of.
  uint64_t unrecorded = 0;
  /// It was told to go, or told to drain.
  bool leaving = false;
  /// Why it was told to drain though the run goes on, if it was: it answers for what runs until it
  /// has.
  std::string let_go;

  /// When its allocation ends, if that is known; and how long that may be in all.
  std::optional<Time> ends;
  Time lives{};

  bool Takes() const { return here() && unrecorded == 0 && stays() && capacity > 0; }
  /// It takes tasks, or will once its row is durable, its connection is back, or it has room.
  bool stays() const { return !leaving && let_go.empty() && !gone(); }
};

/// A connection: the session in force on it, and the one offered in a `who`.
struct Peer {
  SessionId session = 0;
  SessionId offered = 0;
  WorkerIndex worker = 0;
  Time offered_at{};
};

/// The workers that said hello and are not forgotten, by index, and the connections that are known.
class WorkerTable {
 public:
  Worker& operator[](WorkerIndex index) { return workers_[index]; }
  /// With places that are nobody's, which are gone.
  const std::deque<Worker>& all() const { return workers_; }
  std::deque<Worker>& all() { return workers_; }

  /// The worker with this id, made if it is new.
  Worker& Get(const WorkerId& id);
  /// One that is not there yet, of an earlier master; new ones are numbered on from `last_number`.
  Worker& Recover(const WorkerId& id, uint64_t number);
  void set_last_number(uint64_t number) { last_number_ = number; }
  /// One that is gone: its place is free for another.
  void Forget(Worker& worker);
  void SetHost(Worker& worker, const std::string& name);
  void SetAllocation(Worker& worker, const std::string& name);
  Host& HostOf(const Worker& worker) { return hosts_[worker.host_index]; }
  Host& HostOf(const WorkerRef& worker) { return hosts_[worker.host]; }
  const std::vector<Host>& hosts() const { return hosts_; }
  /// nullptr for a number that no worker has.
  Worker* WithNumber(uint64_t number);
  /// nullptr: it is forgotten.
  Worker* Find(const WorkerRef& worker) {
    Worker& now = workers_[worker.index];
    return now.number == worker.number ? &now : nullptr;
  }
  /// Those that this allocation started, in the order of their numbers.
  std::vector<Worker*> Of(const std::string& allocation);
  std::vector<const Worker*> Of(const std::string& allocation) const;
  bool Has(const std::string& allocation) const { return by_allocation_.contains(allocation); }

  std::unordered_map<ConnectionId, Peer>& peers() { return peers_; }
  Peer* FindPeer(ConnectionId connection);

  /// The only way from one presence to another.
  void Move(Worker& worker, Worker::Presence presence);

  /// Workers that are here; and the slots of those that can be given tasks.
  uint64_t here() const { return here_; }
  uint64_t live_slots() const;

  /// Asserts that its books agree. For tests.
  void CheckInvariants() const;

 private:
  struct Hash {
    size_t operator()(const WorkerId& id) const;
  };
  std::deque<Worker> workers_;
  std::vector<WorkerIndex> free_;
  std::unordered_map<WorkerId, WorkerIndex, Hash> by_id_;
  std::unordered_map<uint64_t, WorkerIndex> by_number_;
  std::unordered_multimap<std::string, WorkerIndex> by_allocation_;
  std::vector<Host> hosts_;
  std::unordered_map<std::string, HostIndex> by_host_;
  uint64_t last_number_ = 0;
  uint64_t here_ = 0;
  std::unordered_map<ConnectionId, Peer> peers_;
};

}  // namespace cq
