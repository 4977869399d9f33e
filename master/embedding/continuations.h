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
  bool started_ CQ_GUARDED_BY(mutex_) = false;
  bool finished_ CQ_GUARDED_BY(mutex_) = false;
  bool drained_ CQ_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cq
