#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "base/mutex.h"

namespace cq {

/// A thread that calls what it is given, in order. Thread-safe.
class Continuations {
 public:
  ~Continuations() { Finish(); }

  /// False once Finish has returned.
  bool Put(std::function<void()>& call);
  /// Returns when all that was given, and what that gave, has been called.
  void Finish();

 private:
  void Work();

  Mutex mutex_;
  Condition wake_;
  std::deque<std::function<void()>> calls_ CQ_GUARDED_BY(mutex_);
  /// Without its thread; with it; told to end; and with nothing left to call, ever.
  enum class State { kIdle, kWorking, kFinishing, kDrained };
  State state_ CQ_GUARDED_BY(mutex_) = State::kIdle;
  std::thread thread_;
};

}  // namespace cq
