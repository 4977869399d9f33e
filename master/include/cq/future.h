#pragma once

// What a program gets that submits tasks.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "cq/engine.h"
#include "cq/result.h"

namespace cq {

template <class T>
class Future;

namespace detail {

/// What futures of any type share. Thread-safe.
class StateBase : public Receiver {
 public:
  StateBase(std::weak_ptr<Engine> engine, uint64_t task)
      : engine_(std::move(engine)), task_(task) {}

  bool Numbered(uint64_t task) final {
    task_ = task;
    return true;
  }
  void Receive(uint64_t tag, Ended ended) final;
  bool ready() const;
  void Wait() const;
  bool WaitFor(std::chrono::nanoseconds limit) const;
  /// Calls once this is ready, or now; returns what Forget takes. The call must not block.
  uint64_t WhenReady(std::function<void()> call);
  void Forget(uint64_t call);
  void Cancel();
  /// Runs a continuation on the master's thread for these, or here if the master is gone.
  void Defer(std::function<void()> continuation);

  const std::weak_ptr<Engine>& engine() const { return engine_; }
  uint64_t task() const { return task_; }

 protected:
  /// With the mutex held: takes what has come.
  virtual void Keep(Ended ended) = 0;
  void SetReady(std::unique_lock<std::mutex> lock);

  mutable std::mutex mutex_;

 private:
  const std::weak_ptr<Engine> engine_;
  uint64_t task_;
  mutable std::condition_variable done_;
  bool ready_ = false;
  uint64_t calls_made_ = 0;
  std::vector<std::pair<uint64_t, std::function<void()>>> calls_;
};

template <class T>
class State final : public StateBase {
 public:
  using StateBase::StateBase;

  void Set(Result<T> result) {
    std::unique_lock lock(mutex_);
    result_ = std::move(result);
    SetReady(std::move(lock));
  }
  /// Blocks. Unpacked by the first who asks, and not on the master's thread.
  Result<T>& Get() {
    Wait();
    const std::lock_guard lock(mutex_);
    if (!result_) result_ = Unpack<T>(std::move(ended_));
    return *result_;
  }

 private:
  void Keep(Ended ended) override { ended_ = std::move(ended); }

  Ended ended_;
  std::optional<Result<T>> result_;
};

template <class R>
struct Flat {
  using Type = R;
  static constexpr bool kFuture = false;
};
template <class U>
struct Flat<Future<U>> {
  using Type = U;
  static constexpr bool kFuture = true;
};

}  // namespace detail

/// A task that was submitted. Copies are of the same task; one that nobody holds any more runs all
/// the same.
template <class T>
class Future {
 public:
  Future() = default;
  explicit Future(std::shared_ptr<detail::State<T>> state) : state_(std::move(state)) {}

  bool valid() const { return state_ != nullptr; }
  /// False of a Future of nothing (`valid()` is false); anything else that is asked of it throws
  /// Error.
  bool ready() const { return state_ != nullptr && state_->ready(); }
  void wait() const { Known().Wait(); }
  /// Whether it became ready in time.
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> limit) const {
    // Beyond a century nanoseconds overflow.
    const bool forever = limit > std::chrono::hours(24 * 365 * 100);
    return Known().WaitFor(forever ? std::chrono::nanoseconds::max()
                                   : std::chrono::duration_cast<std::chrono::nanoseconds>(limit));
  }
  /// Waits. A task that failed, was cancelled, or whose master ended is a value, too: an error.
  Result<T> get() const& { return Known().Get(); }
  Result<T> get() && {
    Result<T>& result = Known().Get();
    // Nobody else can ask for it any more.
    if (state_.use_count() > 1) return result;
    std::atomic_thread_fence(std::memory_order_acquire);
    return std::move(result);
  }
  /// It ends as `cancelled`, unless it has ended; if it runs, it is killed.
  void cancel() const { Known().Cancel(); }
  /// The task's number in its run. What `cq::task()` tells is that of the call, which is another
  /// one once a map has made bundles.
  uint64_t id() const { return Known().task(); }
  /// For the functions of this header.
  const std::shared_ptr<detail::State<T>>& state() const {
    Known();
    return state_;
  }

  /// Calls `next` with the Result once it is there, on a thread of the master that all
  /// continuations share, so that one must not wait for another; the future is of what `next`
  /// returns. If that is a future itself, of what it will hold. An exception becomes an error. When
  /// the master ends, what has no result ends as `cancelled`, and the continuations of it are
  /// called: a chain that submits for ever must stop at an error. Its id, and its cancel, are this
  /// task's.
  template <class F>
  auto then(F next) const {
    using R = std::invoke_result_t<F, Result<T>>;
    using Flat = detail::Flat<R>;
    using U = typename Flat::Type;
    const detail::State<T>& known = Known();
    auto state = std::make_shared<detail::State<U>>(known.engine(), known.task());
    auto call = std::make_shared<F>(std::move(next));
    const auto continuation = [from = state_, state, call] {
      try {
        if constexpr (Flat::kFuture) {
          const auto future = (*call)(Result<T>(from->Get()));
          if (!future.valid()) throw Error("the continuation returned a Future of nothing");
          const auto inner = future.state();
          // Never from within: a chain of these may be of any length.
          inner->WhenReady(
              [from, inner, state] { from->Defer([inner, state] { state->Set(inner->Get()); }); });
        } else if constexpr (std::is_void_v<U>) {
          (*call)(Result<T>(from->Get()));
          state->Set({});
        } else {
          state->Set((*call)(Result<T>(from->Get())));
        }
      } catch (const std::exception& error) {
        state->Set(TaskError{Outcome::kError, error.what(), {}, {}});
      } catch (...) {
        state->Set(TaskError{Outcome::kError, "an exception that is no std::exception", {}, {}});
      }
    };
    state_->WhenReady([from = state_, continuation] { from->Defer(continuation); });
    return Future<U>(std::move(state));
  }

 private:
  detail::State<T>& Known() const {
    if (state_ == nullptr) throw Error("a Future of nothing: it has no task");
    return *state_;
  }

  std::shared_ptr<detail::State<T>> state_;
};

/// Waits until one is ready, and returns which; none if that does not happen in time, or there are
/// none.
template <class T>
std::optional<size_t> wait_any(const std::vector<Future<T>>& futures,
                               std::chrono::nanoseconds limit = std::chrono::nanoseconds::max()) {
  struct First {
    std::mutex mutex;
    std::condition_variable found;
    std::optional<size_t> index;
  };
  auto first = std::make_shared<First>();
  std::vector<uint64_t> calls;
  for (size_t i = 0; i < futures.size(); ++i) {
    calls.push_back(futures[i].state()->WhenReady([first, i] {
      const std::lock_guard lock(first->mutex);
      if (!first->index) first->index = i;
      first->found.notify_one();
    }));
    const std::lock_guard lock(first->mutex);
    if (first->index) break;
  }
  std::optional<size_t> index;
  {
    std::unique_lock lock(first->mutex);
    const auto found = [&] { return first->index.has_value() || futures.empty(); };
    if (limit == std::chrono::nanoseconds::max()) {
      first->found.wait(lock, found);
    } else {
      first->found.wait_for(lock, limit, found);
    }
    index = first->index;
  }
  for (size_t i = 0; i < calls.size(); ++i) futures[i].state()->Forget(calls[i]);
  return index;
}

/// Waits for all of them. Whether they became ready in time.
template <class T>
bool wait_all(const std::vector<Future<T>>& futures,
              std::chrono::nanoseconds limit = std::chrono::nanoseconds::max()) {
  const auto begin = std::chrono::steady_clock::now();
  for (const Future<T>& future : futures) {
    if (limit == std::chrono::nanoseconds::max()) {
      future.wait();
      continue;
    }
    const auto left = limit - (std::chrono::steady_clock::now() - begin);
    if (!future.wait_for(std::max(left, std::chrono::nanoseconds(0)))) return false;
  }
  return true;
}

}  // namespace cq
