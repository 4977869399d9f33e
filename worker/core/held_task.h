#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "protocol/messages.h"

namespace cq {

/// The states of what a worker holds.
namespace held {

struct Queued {};
struct Running {
  /// The one that runs, of a span.
  AttemptId at = 0;
  uint64_t slot = 0;
  std::chrono::nanoseconds started{};
  /// The master has been told.
  bool reported = false;
};
/// Kept until it is acknowledged.
struct Finished {
  std::unique_ptr<TaskResult> result;
  /// In this session.
  bool sent = false;
};

}  // namespace held

/// A task that a worker holds, or a span of tasks as long as they share their fate.
struct HeldTask : AttemptSpan {
  std::variant<held::Queued, held::Running, held::Finished> state;

  bool queued() const { return std::holds_alternative<held::Queued>(state); }
  /// nullptr: it is in another state.
  held::Running* running() { return std::get_if<held::Running>(&state); }
  const held::Running* running() const { return std::get_if<held::Running>(&state); }
  held::Finished* finished() { return std::get_if<held::Finished>(&state); }
  const held::Finished* finished() const { return std::get_if<held::Finished>(&state); }
  /// It has a result that nobody has been sent.
  bool unsent() const { return finished() && !finished()->sent; }
  /// Of one of its attempts: what stands behind the one that runs waits.
  HeldState StateOf(AttemptId a) const {
    if (finished()) return HeldState::kFinished;
    return running() && running()->at == a ? HeldState::kRunning : HeldState::kQueued;
  }

  TaskId task_at(AttemptId a) const { return task + (a - attempt); }
  std::vector<AttemptRef> Refs() const;
  /// Its first tasks become a span, or a task, of their own.
  void CutFront(uint64_t n, HeldTask& front);
};

}  // namespace cq
