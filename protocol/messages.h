#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/rarely.h"
#include "protocol/ids.h"
#include "protocol/results.h"
#include "protocol/run_text.h"
#include "protocol/value.h"

// The messages of PROTOCOL.md, one struct each, fields in the order of its tables.
namespace cq {

inline constexpr int kOutcomes = 7;

struct StartedAttempt {
  TaskId task = 0;
  AttemptId attempt = 0;
  uint64_t slot = 0;
  bool operator==(const StartedAttempt&) const = default;
};

enum class ReturnReason : uint8_t {
  kRetracted = 0,
  kToldToGo = 1,
  kRefused = 2,
  kCancelled = 3,
};

struct ReturnedAttempt {
  TaskId task = 0;
  AttemptId attempt = 0;
  ReturnReason reason = ReturnReason::kRetracted;
  int64_t exit = 0;
  std::string text;
  bool operator==(const ReturnedAttempt&) const = default;
};

enum class HeldState : uint8_t { kQueued = 0, kRunning = 1, kFinished = 2 };

struct Held {
  RunId run = 0;
  TaskId task = 0;
  AttemptId attempt = 0;
  HeldState state = HeldState::kQueued;
  bool operator==(const Held&) const = default;
};

/// What stands before the fields of every message.
struct Envelope {
  SessionId session = 0;
  uint64_t sequence = 0;
  bool operator==(const Envelope&) const = default;
};

// ---- worker to master ----

struct Hello {
  std::string version;
  std::string path;
  RunId run = 0;
  WorkerId worker{};
  Epoch epoch = 0;
  std::string host;
  uint64_t pid = 0;
  std::string allocation;
  uint64_t slots = 0;
  uint64_t capacity = 0;
  std::string problem;
  bool leaving = false;
  std::vector<Held> held;
  Extras extras;
  bool operator==(const Hello&) const = default;
};

struct Started {
  RunId run = 0;
  std::vector<StartedAttempt> attempts;
  bool operator==(const Started&) const = default;
};

/// What the slots of a worker have spent their time on since their first task, in µs, summed up.
struct SlotLedger {
  uint64_t tasks = 0;
  /// Slots without a task at hand.
  uint64_t idle_us = 0;
  /// Tasks at hand, until a slot took them: nobody waits then.
  uint64_t queue_us = 0;
  /// Slots that had a task, less what it ran.
  uint64_t spawn_us = 0;
  uint64_t run_us = 0;
  bool operator==(const SlotLedger&) const = default;
  SlotLedger& operator+=(const SlotLedger& other) {
    tasks += other.tasks;
    idle_us += other.idle_us;
    queue_us += other.queue_us;
    spawn_us += other.spawn_us;
    run_us += other.run_us;
    return *this;
  }
};

struct Results {
  RunId run = 0;
  std::vector<StartedAttempt> started;
  std::vector<TaskResult> results;
  SlotLedger ledger = {};
  bool operator==(const Results&) const = default;
};

struct Returned {
  RunId run = 0;
  std::vector<ReturnedAttempt> attempts;
  bool operator==(const Returned&) const = default;
};

struct WorkerHeartbeat {
  uint64_t received = 0;
  uint64_t capacity = 0;
  std::string problem;
  /// What a slot has been waiting for for long: its program is not ready.
  std::string waits_for = {};
  bool operator==(const WorkerHeartbeat&) const = default;
};

struct Leaving {
  std::string reason;
  bool operator==(const Leaving&) const = default;
};

struct Goodbye {
  std::string reason;
  bool operator==(const Goodbye&) const = default;
};

/// What a running task has printed since the last such message.
struct OutputPart {
  TaskId task = 0;
  AttemptId attempt = 0;
  std::string out;
  std::string err;
  bool operator==(const OutputPart&) const = default;
};

struct Output {
  RunId run = 0;
  std::vector<OutputPart> parts;
  bool operator==(const Output&) const = default;
};

enum class RequestKind : uint8_t {
  kDrain = 0,
  kStop = 1,
  kCopy = 2,
  kLook = 3,
  kWhy = 4,
  kResize = 5,
  kCancelTasks = 6,
  kAddRows = 7,
};

/// Of another program of the run's user: `cq cancel`, `cq query`, `cq status`, ….
struct Request {
  RunId run = 0;
  RequestKind kind = RequestKind::kDrain;
  std::string text;
  bool operator==(const Request&) const = default;
};

using FromWorker = std::variant<Hello, Started, Results, Returned, WorkerHeartbeat, Leaving,
                                Goodbye, Output, Request>;

// ---- master to worker ----

struct Refuse {
  std::string version;
  std::string path;
  std::string text;
  bool operator==(const Refuse&) const = default;
};

struct Who {
  bool operator==(const Who&) const = default;
};

struct Welcome {
  uint64_t heartbeat_ms = 0;
  uint64_t lease_ms = 0;
  Extras extras;
  bool operator==(const Welcome&) const = default;
};

/// The extra of a task that a worker may have died of.
inline constexpr const char* kDangerous = "dangerous";

/// What most tasks have nothing of.
struct TaskDetails {
  /// Of this task alone; 0: as the run's.
  uint64_t timeout_ms = 0;
  /// Why it cannot run at all.
  std::string problem;
  Extras extras;
  bool operator==(const TaskDetails&) const = default;
};

/// A task; or, with `rows`, a span of tasks that nothing is particular about, each tried for the
/// first time.
struct Task : AttemptSpan {
  uint64_t attempt_number = 1;
  uint64_t seed = 0;
  std::vector<std::string> values;
  /// Of --group; tasks of a group follow each other on a slot where that costs nobody time.
  std::string group;
  Rarely<TaskDetails> details;
  /// In place of seed, values and group: of each one its row as it was packed (protocol/spans.h).
  std::string rows;
  bool operator==(const Task&) const = default;
};

struct Assign {
  RunId run = 0;
  std::vector<Task> tasks;
  bool operator==(const Assign&) const = default;
};

struct Ack {
  RunId run = 0;
  std::vector<AttemptSpan> attempts;
  bool operator==(const Ack&) const = default;
};

struct Retract {
  RunId run = 0;
  std::vector<AttemptRef> attempts;
  bool operator==(const Retract&) const = default;
};

struct Cancel {
  RunId run = 0;
  std::vector<AttemptRef> attempts;
  bool operator==(const Cancel&) const = default;
};

struct MasterHeartbeat {
  uint64_t received = 0;
  bool operator==(const MasterHeartbeat&) const = default;
};

struct Drain {
  std::string reason;
  bool operator==(const Drain&) const = default;
};

struct Stop {
  std::string reason;
  bool operator==(const Stop&) const = default;
};

/// The answer to a request, in as many parts as it takes.
struct Reply {
  bool ok = true;
  bool more = false;
  std::string text;
  bool operator==(const Reply&) const = default;
};

using ToWorker = std::variant<Refuse, Who, Welcome, RunText, Assign, Ack, Retract, Cancel,
                              MasterHeartbeat, Drain, Stop, Reply>;

}  // namespace cq
