#pragma once

namespace cq {

/// What a report of an attempt's end says of its task.
enum class Verdict {
  /// By this run.
  kNeverGivenOut,
  /// The task has its outcome, or another attempt at it is the one that counts.
  kTooLate,
  /// Of what the journal is about to commit.
  kRepetition,
  /// The `ok` of a row that is not wanted now (Recovered::beyond): it counts all the same.
  kBeyond,
  /// It did not run, for no reason of its own.
  kNoChance,
  kNotStarted,
  kSlotCrash,
  kEnded,
};

}  // namespace cq
