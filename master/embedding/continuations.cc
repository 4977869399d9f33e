#include "master/embedding/continuations.h"

#include <utility>

#include "base/blocked_signals.h"

namespace cq {

bool Continuations::Put(std::function<void()>& call) {
  {
    const Lock lock(mutex_);
    if (state_ == State::kDrained) return false;
    calls_.push_back(std::move(call));
    if (state_ == State::kIdle) {
      // Signals are for the program's own threads.
      const BlockedSignals blocked;
      thread_ = std::thread([this] { Work(); });
      state_ = State::kWorking;
    }
  }
  wake_.NotifyOne();
  return true;
}

void Continuations::Finish() {
  {
    const Lock lock(mutex_);
    if (state_ == State::kIdle) state_ = State::kDrained;
    if (state_ == State::kWorking) state_ = State::kFinishing;
  }
  wake_.NotifyOne();
  if (thread_.joinable()) thread_.join();
}

void Continuations::Work() {
  const Lock lock(mutex_);
  for (;;) {
    while (state_ == State::kWorking && calls_.empty()) wake_.Wait(mutex_);
    if (calls_.empty()) {
      state_ = State::kDrained;
      return;
    }
    auto call = std::move(calls_.front());
    calls_.pop_front();
    const Unlock unlocked(mutex_);
    call();
    // What it holds may have something to say when it goes.
    call = nullptr;
  }
}

}  // namespace cq
