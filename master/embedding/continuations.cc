#include "master/embedding/continuations.h"

#include <utility>

#include "base/blocked_signals.h"

namespace cq {

bool Continuations::Put(std::function<void()>& call) {
  {
    const std::lock_guard lock(mutex_);
    if (drained_) return false;
    calls_.push_back(std::move(call));
    if (!started_) {
      // Signals are for the program's own threads.
      const BlockedSignals blocked;
      thread_ = std::thread([this] { Work(); });
      started_ = true;
    }
  }
  wake_.notify_one();
  return true;
}

void Continuations::Finish() {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    if (!started_) drained_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Continuations::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return finished_ || !calls_.empty(); });
    if (calls_.empty()) {
      drained_ = true;
      return;
    }
    {
      // What it holds may have something to say when it goes.
      const auto call = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      call();
    }
    lock.lock();
  }
}

}  // namespace cq
