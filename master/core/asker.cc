#include "master/core/asker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace cq {

uint64_t Asker::Wanted(const Need& need) const {
  if (kind_ != Kind::kIsAsked || over()) return 0;
  // It waits for results: there are new ones, or there is nothing that it could wait for.
  if (state_ != State::kNames && untold_ == 0 && need.open > 0) return 0;
  const uint64_t slots = std::max<uint64_t>(need.slots, 1);
  const uint64_t most = slots + ahead_.value_or(slots);
  return std::min(most - std::min(most, need.open), need.room);
}

void Asker::OnSpokenTo(uint64_t told, uint64_t wanted, uint64_t open) {
  CQ_ASSERT(!spoken_ && !over(), "the proposer is spoken to while it {}",
            spoken_ ? "owes an answer" : "is not there");
  CQ_ASSERT(told <= untold_, "it is told of {} endings, {} wait", told, untold_);
  untold_ -= told;
  spoken_ = Spoken{told, wanted, open == 0 && untold_ == 0};
  if (told > 0) state_ = State::kNames;
}

void Asker::OnAnswer(Answer answer) {
  if (over()) return;
  CQ_ASSERT(spoken_, "the proposer answers what it was not asked");
  const Spoken spoken = *std::exchange(spoken_, std::nullopt);
  if (answer == Answer::kDone) {
    state_ = State::kDone;
  } else if (answer == Answer::kRows) {
    state_ = State::kNames;
  } else if (spoken.wanted > 0 && !spoken.all) {
    state_ = State::kWaits;
  } else if (spoken.wanted > 0) {
    state_ = state_ == State::kWaitsForNothing ? State::kStuck : State::kWaitsForNothing;
  }
}

void Asker::OnRows() {
  if (over()) return;
  state_ = State::kNames;
  if (spoken_) spoken_->all = false;
}

std::string Asker::Text() const {
  if (kind_ == Kind::kNone) return {};
  switch (state_) {
    case State::kClosed:
      return "is not listened to any more";
    case State::kStuck:
    case State::kDone:
      return "names no more rows";
    default:
      break;
  }
  const uint64_t told = untold_ + (spoken_ ? spoken_->told : 0);
  if (told > 0) return fmt::format("has {} results to think about", told);
  if (spoken_) return fmt::format("is asked for {} rows", spoken_->wanted);
  return kind_ == Kind::kIsAsked && state_ == State::kNames ? "is not asked: enough rows wait"
                                                            : "waits for results";
}

bool Asker::MaySpeak(const Need& need) const {
  if (over()) return false;
  return spoken_.has_value() || untold_ > 0 || (kind_ == Kind::kIsAsked && need.room > 0);
}

}  // namespace cq
