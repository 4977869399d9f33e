#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "protocol/messages.h"

namespace cq {

/// What a run knows of its proposer, the program beside the master that names rows by the results
/// so far: when it is asked for some, and whether it may still name any. It is told of endings and
/// asked with one message at a time.
class Asker {
 public:
  enum class Kind : uint8_t {
    kNone,
    /// It is told what has ended, and answers with rows, or without.
    kIsTold,
    /// It is asked, too, when few rows are left, and says when it is done.
    kIsAsked,
  };
  /// What it answered: rows of which some are new, or none such, or that no others will come.
  enum class Answer : uint8_t { kRows, kNothing, kDone };
  /// What decides how many rows it is asked for.
  struct Need {
    /// Tasks without outcome, and the slots for them.
    uint64_t open = 0;
    uint64_t slots = 0;
    /// How many tasks there may be besides those that there are.
    uint64_t room = 0;
  };

  /// `ahead`: how many rows are to wait for a slot; none: one for each slot.
  Asker(Kind kind, std::optional<uint64_t> ahead) : kind_(kind), ahead_(ahead) {}

  /// It is told of endings of this kind.
  bool Hears(Outcome outcome) const {
    return !over() && (kind_ == Kind::kIsAsked || outcome == Outcome::kOk);
  }
  /// So many endings that it hears of wait to be told.
  void OnEndings(uint64_t endings) { untold_ += endings; }
  /// How many rows it is to be asked for, if it is spoken to now.
  uint64_t Wanted(const Need& need) const;
  /// It is to be told something, or asked; and nothing is on its way to it.
  bool IsToBeSpokenTo(const Need& need) const {
    return !over() && !spoken_ && (untold_ > 0 || Wanted(need) > 0);
  }
  /// It is told of so many of what waited, and asked for so many rows; `open` as in Need.
  void OnSpokenTo(uint64_t told, uint64_t wanted, uint64_t open);
  void OnAnswer(Answer answer);
  /// It is done, without having been asked.
  void OnDone() { state_ = State::kDone; }
  /// Others have added rows: there is something to wait for.
  void OnRows();
  /// It is not listened to any more: the run is drained.
  void Close() { state_ = State::kClosed; }

  /// It may name rows: the run does not end.
  bool MaySpeak(const Need& need) const;
  bool asks() const { return kind_ == Kind::kIsAsked; }
  /// An answer is owed.
  bool owes() const { return !over() && (spoken_ || untold_ > 0); }
  uint64_t untold() const { return untold_; }
  /// What it does, for people; empty: there is none.
  std::string Text() const;
  /// It said so.
  bool done() const { return state_ == State::kDone; }
  /// It was asked when there was nothing to wait for, twice, and named no row.
  bool stuck() const { return state_ == State::kStuck; }

 private:
  enum class State : uint8_t {
    kNames,
    /// It named nothing when it was asked last; and that with nothing to wait for.
    kWaits,
    kWaitsForNothing,
    // The rest is for good.
    kDone,
    kStuck,
    kClosed,
  };
  bool over() const { return kind_ == Kind::kNone || state_ >= State::kDone; }

  const Kind kind_;
  const std::optional<uint64_t> ahead_;
  uint64_t untold_ = 0;
  /// What is on its way to it: how many rows are wanted; all is told, and nothing runs.
  struct Spoken {
    uint64_t told = 0;
    uint64_t wanted = 0;
    bool all = false;
  };
  std::optional<Spoken> spoken_;
  State state_ = State::kNames;
};

}  // namespace cq
