#pragma once

// What a program gets that submits tasks: futures, and results that are values or errors.

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
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "cq/error.h"
#include "cq/function.h"
#include "cq/outcome.h"

namespace cq {

/// Why a task has no value.
struct TaskError {
  Outcome outcome = Outcome::kError;
  std::string message;
  /// What the function printed, as far as it was kept.
  std::string out;
  std::string err;
};

namespace detail {

[[noreturn]] inline void ThrowNoValue(const TaskError& error) {
  throw Error("the task has no value: " + error.message);
}

/// Where a result stands in the range that was mapped.
class HasIndex {
 public:
  /// The place of this result's arguments in the range, from 0. Of `map` alone.
  size_t index() const { return index_; }
  void set_index(size_t index) { index_ = index; }

 private:
  size_t index_ = 0;
};

}  // namespace detail

/// A value or an error, read like std::expected.
template <class T>
class Result : public detail::HasIndex {
 public:
  Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
  Result(TaskError error) : content_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return content_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  /// Throws Error without a value.
  const T& value() const& { return Value(*this); }
  T& value() & { return Value(*this); }
  T&& value() && { return std::move(Value(*this)); }
  const T& operator*() const& { return *std::get_if<0>(&content_); }
  T& operator*() & { return *std::get_if<0>(&content_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&content_)); }
  const T* operator->() const { return std::get_if<0>(&content_); }
  T* operator->() { return std::get_if<0>(&content_); }
  /// Only without a value.
  const TaskError& error() const { return *std::get_if<1>(&content_); }
  T value_or(T other) const { return has_value() ? **this : std::move(other); }

 private:
  template <class Self>
  static auto& Value(Self& self) {
    if (!self.has_value()) detail::ThrowNoValue(self.error());
    return *std::get_if<0>(&self.content_);
  }
  std::variant<T, TaskError> content_;
};

template <>
class Result<void> : public detail::HasIndex {
 public:
  Result() = default;
  Result(TaskError error) : error_(std::move(error)) {}
  bool has_value() const { return !error_; }
  explicit operator bool() const { return has_value(); }
  void value() const {
    if (error_) detail::ThrowNoValue(*error_);
  }
  const TaskError& error() const { return *error_; }

 private:
  std::optional<TaskError> error_;
};

/// How far a master is.
struct MasterStatus {
  uint64_t tasks = 0;
  uint64_t done = 0;
  uint64_t running = 0;
  uint64_t workers = 0;
};

template <class T>
class Future;

namespace detail {

/// How a task ended, its value still packed.
struct Ended {
  std::string value;
  /// None: it is ok.
  std::unique_ptr<TaskError> error;
  /// How long it ran, in µs.
  double took_us = 0;
};

/// Gets how tasks ended, on a thread of the master.
class Receiver {
 public:
  virtual ~Receiver() = default;
  /// Before anything else: the number of a call that is for this. Whether it is to be told of by
  /// Master::completed.
  virtual bool Numbered(uint64_t task) = 0;
  virtual void Receive(uint64_t tag, Ended ended) = 0;
  /// The same for calls with consecutive tags.
  virtual void ReceiveAll(uint64_t first_tag, std::vector<Ended> ended) {
    for (Ended& one : ended) Receive(first_tag++, std::move(one));
  }
  /// After a number of calls of Receive: whoever waits may look.
  virtual void Received() {}
};

/// A call that is to be a task; or a bundle of calls with consecutive tags that are to be one.
struct Call {
  const Function* function = nullptr;
  /// The packed list of the arguments; of a bundle, one piece for each call (protocol/bundle.h).
  std::string arguments;
  std::shared_ptr<Receiver> receiver;
  uint64_t tag = 0;
  /// How many calls it is.
  uint32_t count = 1;
  /// The number of its task, and of its first call: from that come the seeds, which so do not
  /// depend on what became a bundle.
  uint64_t task = 0;
  uint64_t number = 0;
};

/// The master behind cq::Master.
class Engine {
 public:
  virtual ~Engine() = default;
  /// Numbers the calls and takes them; blocks while there is no room for more. Without `wait`
  /// nothing is taken if there is none, and the answer is false.
  virtual bool Submit(std::vector<Call>& calls, bool wait) = 0;
  virtual void Cancel(std::vector<uint64_t> tasks) = 0;
  /// Of a range that is mapped no longer.
  virtual void CancelAllOf(std::shared_ptr<const Receiver> receiver) = 0;
  /// Has the thread of continuations call this; here and now once the master has ended.
  virtual void Defer(std::function<void()> continuation) = 0;
  virtual void Stop() = 0;
  virtual MasterStatus status() = 0;
  virtual size_t memory_bytes() const = 0;
  /// Whether calls may travel as bundles: nothing is promised of each task by itself.
  virtual bool bundles() const = 0;
  virtual int completion_fd() = 0;
  virtual std::vector<uint64_t> TakeCompleted() = 0;
};

/// Packs values, one after the other.
class Packer {
 public:
  Packer();
  ~Packer();
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;
  Encoder& encoder();
  /// What was packed since the last call.
  std::string Take();

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

/// Calls `take` with a reader at the packed value. Throws Error for bytes that are none.
void ReadPacked(const std::string& bytes, void (*take)(void* context, Decoder& value),
                void* context);

template <class T>
Result<T> Unpack(Ended ended) {
  if (ended.error) return Result<T>(std::move(*ended.error));
  if constexpr (std::is_void_v<T>) {
    return Result<T>();
  } else {
    std::optional<T> value;
    try {
      ReadPacked(
          ended.value,
          [](void* context, Decoder& in) {
            static_cast<std::optional<T>*>(context)->emplace(Travels<T>::Take(in));
          },
          &value);
      return Result<T>(std::move(*value));
    } catch (const BadValue& bad) {
      return Result<T>(TaskError{Outcome::kError, "the result " + bad.what, {}, {}});
    } catch (const std::exception& error) {
      return Result<T>(TaskError{Outcome::kError, error.what(), {}, {}});
    }
  }
}

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
  bool ready() const { return state_->ready(); }
  void wait() const { state_->Wait(); }
  /// Whether it became ready in time.
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> limit) const {
    // Beyond a century nanoseconds overflow.
    const bool forever = limit > std::chrono::hours(24 * 365 * 100);
    return state_->WaitFor(forever ? std::chrono::nanoseconds::max()
                                   : std::chrono::duration_cast<std::chrono::nanoseconds>(limit));
  }
  /// Waits. A task that failed, was cancelled, or whose master ended is a value, too: an error.
  Result<T> get() const& { return state_->Get(); }
  Result<T> get() && {
    Result<T>& result = state_->Get();
    // Nobody else can ask for it any more.
    if (state_.use_count() > 1) return result;
    std::atomic_thread_fence(std::memory_order_acquire);
    return std::move(result);
  }
  /// It ends as `cancelled`, unless it has ended; if it runs, it is killed.
  void cancel() const { state_->Cancel(); }
  /// The task's number in its run. What `cq::task()` tells is that of the call, which is another
  /// one once a map has made bundles.
  uint64_t id() const { return state_->task(); }
  /// For the functions of this header.
  const std::shared_ptr<detail::State<T>>& state() const { return state_; }

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
    auto state = std::make_shared<detail::State<U>>(state_->engine(), state_->task());
    auto call = std::make_shared<F>(std::move(next));
    const auto continuation = [from = state_, state, call] {
      try {
        if constexpr (Flat::kFuture) {
          const auto inner = (*call)(Result<T>(from->Get())).state();
          if (inner == nullptr) throw Error("the continuation returned a Future of nothing");
          inner->WhenReady([inner, state] { state->Set(inner->Get()); });
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
