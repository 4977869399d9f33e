#include "master/core/asker.h"

#include <algorithm>

#include "base/assert.h"

namespace cq {

uint64_t Asker::Wanted(const Need& need) const {
  if (kind_ != Kind::kIsAsked || over()) return 0;
  // It waits for results: there are new ones, or there is nothing that it could wait for.
  if (waits_ && untold_ == 0 && need.open > 0) return 0;
  const uint64_t slots = std::max<uint64_t>(need.slots, 1);
  const uint64_t most = slots + ahead_.value_or(slots);
  return std::min(most - std::min(most, need.open), need.room);
}

void Asker::OnSpokenTo(uint64_t told, uint64_t wanted, uint64_t open) {
  CQ_ASSERT(!busy_ && !over(), "the proposer is spoken to while it {}",
            busy_ ? "owes an answer" : "is not there");
  CQ_ASSERT(told <= untold_, "it is told of {} endings, {} wait", told, untold_);
  busy_ = true;
  untold_ -= told;
  asked_ = wanted > 0;
  told_all_ = open == 0 && untold_ == 0;
  if (told > 0) waits_ = waited_for_nothing_ = false;
}

void Asker::OnAnswer(Answer answer) {
  if (over()) return;
  CQ_ASSERT(busy_, "the proposer answers what it was not asked");
  busy_ = false;
  if (answer == Answer::kDone) {
    end_ = End::kDone;
  } else if (answer == Answer::kRows) {
    waits_ = waited_for_nothing_ = false;
  } else if (asked_) {
    waits_ = true;
    if (told_all_ && waited_for_nothing_) end_ = End::kStuck;
    waited_for_nothing_ = told_all_;
  }
}

bool Asker::MaySpeak(const Need& need) const {
  if (over()) return false;
  return busy_ || untold_ > 0 || (kind_ == Kind::kIsAsked && need.room > 0);
}

}  // namespace cq
