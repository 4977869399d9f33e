#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

// Locks whose use clang checks (-Wthread-safety, tests/check-alone). A member says which lock
// guards it, CQ_GUARDED_BY(mutex_), and a function which one its caller holds, CQ_REQUIRES(mutex_).
#if defined(__clang__)
#define CQ_THREAD_SAFETY(attribute) __attribute__((attribute))
#else
#define CQ_THREAD_SAFETY(attribute)
#endif
#define CQ_GUARDED_BY(mutex) CQ_THREAD_SAFETY(guarded_by(mutex))
#define CQ_REQUIRES(mutex) CQ_THREAD_SAFETY(requires_capability(mutex))
#define CQ_EXCLUDES(mutex) CQ_THREAD_SAFETY(locks_excluded(mutex))

namespace cq {

class CQ_THREAD_SAFETY(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() CQ_THREAD_SAFETY(acquire_capability()) { mutex_.lock(); }
  void unlock() CQ_THREAD_SAFETY(release_capability()) { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

/// Holds a mutex as long as it lives.
class CQ_THREAD_SAFETY(scoped_lockable) Lock {
 public:
  explicit Lock(Mutex& mutex) CQ_THREAD_SAFETY(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~Lock() CQ_THREAD_SAFETY(release_capability()) { mutex_.unlock(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  Mutex& mutex_;
};

/// Gives a mutex that is held free as long as it lives.
class CQ_THREAD_SAFETY(scoped_lockable) Unlock {
 public:
  explicit Unlock(Mutex& mutex) CQ_THREAD_SAFETY(release_capability(mutex)) : mutex_(mutex) {
    mutex_.unlock();
  }
  ~Unlock() CQ_THREAD_SAFETY(release_capability()) { mutex_.lock(); }
  Unlock(const Unlock&) = delete;
  Unlock& operator=(const Unlock&) = delete;

 private:
  Mutex& mutex_;
};

/// Waits with a mutex that is held, and gives it free meanwhile. May wake without reason: in a
/// loop.
class Condition {
 public:
  void Wait(Mutex& mutex) CQ_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  void WaitFor(Mutex& mutex, std::chrono::nanoseconds time) CQ_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    condition_.wait_for(lock, time);
    lock.release();
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace cq
