#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

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

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> calls_;
  bool started_ = false;
  bool finished_ = false;
  bool drained_ = false;
  std::thread thread_;
};

}  // namespace cq
