#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "base/rarely.h"
#include "protocol/ids.h"

namespace cq {

/// The index of a worker in the worker table, which another has once the worker is forgotten.
using WorkerIndex = uint32_t;
/// The index of a host in the worker table.
using HostIndex = uint32_t;

/// A worker that may be forgotten meanwhile, and the host that it was on.
struct WorkerRef {
  uint64_t number = 0;
  WorkerIndex index = 0;
  HostIndex host = 0;
};

inline constexpr uint32_t kNoGroup = UINT32_MAX;

struct Work;

/// The states of work, and its past.
namespace work {

/// It could be given out now.
struct Ready {
  /// In which it stands; none: it was popped, or is withheld.
  enum class Queue : uint8_t { kNone, kReturned, kCharged, kSuspects, kRefused, kRetries };
  Queue queue = Queue::kNone;
};
/// It must not go out yet (Past: until when, and whether anybody wants it).
struct Waiting {};
/// A worker has it.
struct Out {
  WorkerIndex worker = 0;
  /// Under which it was sent or adopted.
  SessionId session = 0;
  /// When it was given out; 0: by an earlier master.
  std::chrono::nanoseconds given{};
  /// Where it runs, once it is reported running, and which one of a span that is.
  struct Run {
    uint32_t slot = 0;
    TaskId at = 0;
    /// Since when its master knows.
    std::chrono::nanoseconds since{};
  };
  std::optional<Run> run;
  /// It was asked back.
  bool retracting = false;
  /// As what its worker's books count it.
  ClassId of = 0;
  /// Its neighbours among what its worker holds.
  Work* older = nullptr;
  Work* newer = nullptr;
};

/// What most tasks have nothing of, and no span: what became of earlier attempts.
struct Past {
  /// The newest attempt that was taken from a worker without an outcome.
  AttemptId given_up = 0;
  /// The newest attempt that is known to have ended, without an outcome for the task.
  AttemptId over = 0;
  /// The attempts whose loss is charged, and how many of these losses may still be explained.
  std::vector<AttemptId> charged;
  uint16_t provisional = 0;
  /// Attempts that failed by themselves.
  uint16_t failures = 0;
  /// The attempts that were taken from workers without an outcome, and these workers: a late `ok`
  /// of one counts from nobody else.
  std::vector<std::pair<AttemptId, WorkerId>> earlier;
  /// Workers that could not start it.
  std::vector<WorkerRef> refused;
  /// Workers with which it failed or that it may have taken with it: it is tried next elsewhere.
  std::vector<WorkerRef> failed_on;
  /// The attempt that its worker may have died of, though nobody had reported it running (0:
  /// none): it is tried next with nothing else on its worker, so that a second death is known to
  /// be its own.
  AttemptId suspect = 0;
  std::chrono::nanoseconds not_before{};
  /// How long it is thought to take, since its worker's time was over before it was; zero: as its
  /// like.
  std::chrono::nanoseconds estimate{};
  /// Nobody may want it any more: it waits until Want, and again if a worker that has it gives it
  /// up.
  bool held_back = false;
};

}  // namespace work

/// A task that was tried or is being tried and has no outcome yet, or a span of such that were
/// given out together and to which nothing has happened since. (Any other task is fresh, never
/// given out, or has an outcome, and costs one bit.) Its attempt is 0 unless it is out.
struct Work : AttemptSpan {
  using Ready = work::Ready;
  using Waiting = work::Waiting;
  using Out = work::Out;
  using Past = work::Past;

  std::variant<Ready, Waiting, Out> state;
  uint32_t attempts = 0;
  /// Its section of the start order, if that is of groups.
  uint32_t group = kNoGroup;
  Rarely<Past> past;

  bool ready() const { return std::holds_alternative<Ready>(state); }
  bool waiting() const { return std::holds_alternative<Waiting>(state); }
  /// nullptr: it is not out.
  Out* out() { return std::get_if<Out>(&state); }
  const Out* out() const { return std::get_if<Out>(&state); }
  /// Whether this attempt at one of its tasks is out, with any worker or with this one.
  bool IsOut(AttemptRef ref) const { return out() && attempt + (ref.task - task) == ref.attempt; }
  bool IsOut(AttemptRef ref, WorkerIndex worker) const {
    return IsOut(ref) && out()->worker == worker;
  }
  bool runs() const { return out() && out()->run; }
  Ready::Queue queue() const {
    const auto* r = std::get_if<Ready>(&state);
    return r == nullptr ? Ready::Queue::kNone : r->queue;
  }

  /// Its first tasks become a span, or a task, of their own, held in its place.
  void CutFront(uint64_t n, Work& front);
};

}  // namespace cq
