#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cq/function.h"
#include "cq/result.h"

// What stands behind masters, futures and maps of any type.
namespace cq {

/// How far a master is.
struct MasterStatus {
  /// Calls that were submitted, and those of them that have a result: never fewer than were taken.
  uint64_t tasks = 0;
  uint64_t done = 0;
  // As they were some tenths of a second ago at most.
  uint64_t running = 0;
  /// Connected.
  uint64_t workers = 0;
  /// Those that wait for their scheduler, and its word for why; empty: it gave none.
  uint64_t pending_workers = 0;
  std::string pending_reason = {};
};

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
  /// Why it cannot run; else empty.
  std::string problem;
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
  /// What was packed since the last Clear.
  std::string_view View() const;
  void Clear();

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

}  // namespace detail
}  // namespace cq
