#pragma once

#include <array>
#include <compare>
#include <cstdint>

namespace cq {

/// A task's number, from 1; never reused in its run.
using TaskId = uint64_t;
/// One try at a task: the master's epoch in the upper 24 bits, a serial in the lower 40.
using AttemptId = uint64_t;
/// Tasks of one class ask workers for the same (Request); from 0.
using ClassId = uint32_t;
/// 64 random bits that name a run, drawn when its directory is made.
using RunId = uint64_t;
/// How often a master has started on a run, from 1.
using Epoch = uint64_t;
/// A handshake of one connection: the epoch above a serial, as in an attempt; 0 is none.
using SessionId = uint64_t;
/// One slot of a worker of a warm pool, lent to a run. The number is the attempt's as which the
/// pool's worker is told of it.
using LoanId = uint64_t;
/// 128 random bits that name a worker for its life, whatever its connections.
using WorkerId = std::array<uint8_t, 16>;

inline constexpr int kSerialBits = 40;

/// The attempt or session with this serial (from 1) in this epoch.
constexpr uint64_t MakeSerial(Epoch epoch, uint64_t serial) {
  return epoch << kSerialBits | serial;
}
constexpr Epoch EpochOf(uint64_t serial) { return serial >> kSerialBits; }
/// What it is called with its epoch apart: the serial alone.
constexpr uint64_t SerialOf(uint64_t serial) { return serial & ((uint64_t{1} << kSerialBits) - 1); }

/// One try at one task of a run, as every message names it.
struct AttemptRef {
  TaskId task = 0;
  AttemptId attempt = 0;
  auto operator<=>(const AttemptRef&) const = default;
};

/// A span: tasks whose numbers follow each other, and the attempts at them, whose numbers do, too.
struct AttemptSpan {
  TaskId task = 0;
  AttemptId attempt = 0;
  uint64_t count = 1;

  AttemptRef first() const { return {task, attempt}; }
  AttemptRef last() const { return {task + count - 1, attempt + count - 1}; }
  auto operator<=>(const AttemptSpan&) const = default;
};

}  // namespace cq
