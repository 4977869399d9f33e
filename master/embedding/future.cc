#include "cq/future.h"

#include <msgpack.hpp>

#include "protocol/value_codec.h"

namespace cq::detail {

// ---- packing ----

struct Packer::Content {
  msgpack::sbuffer buffer{256};
  ValueWriter writer{buffer};
};

Packer::Packer() : content_(std::make_unique<Content>()) {}
Packer::~Packer() = default;

Encoder& Packer::encoder() { return content_->writer; }

std::string_view Packer::View() const { return {content_->buffer.data(), content_->buffer.size()}; }

void Packer::Clear() { content_->buffer.clear(); }

void ReadPacked(const std::string& bytes, void (*take)(void* context, Decoder& value),
                void* context) {
  try {
    thread_local Unpacker unpacker;
    thread_local ValueReader reader;
    reader.Start(unpacker.Unpack(bytes));
    take(context, reader);
  } catch (const msgpack::unpack_error& error) {
    throw Error(std::string("a value that cannot be unpacked: ") + error.what());
  }
}

// ---- what futures share ----

void StateBase::Receive(uint64_t, Ended ended) {
  std::unique_lock lock(mutex_);
  Keep(std::move(ended));
  SetReady(std::move(lock));
}

void StateBase::SetReady(std::unique_lock<std::mutex> lock) {
  ready_ = true;
  const auto calls = std::exchange(calls_, {});
  lock.unlock();
  done_.notify_all();
  for (const auto& [number, call] : calls) call();
}

bool StateBase::ready() const {
  const std::lock_guard lock(mutex_);
  return ready_;
}

void StateBase::Wait() const {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return ready_; });
}

bool StateBase::WaitFor(std::chrono::nanoseconds limit) const {
  if (limit == std::chrono::nanoseconds::max()) {
    Wait();
    return true;
  }
  std::unique_lock lock(mutex_);
  return done_.wait_for(lock, limit, [this] { return ready_; });
}

uint64_t StateBase::WhenReady(std::function<void()> call) {
  std::unique_lock lock(mutex_);
  const uint64_t number = ++calls_made_;
  if (!ready_) {
    calls_.emplace_back(number, std::move(call));
    return number;
  }
  lock.unlock();
  call();
  return number;
}

void StateBase::Forget(uint64_t call) {
  const std::lock_guard lock(mutex_);
  std::erase_if(calls_, [call](const auto& entry) { return entry.first == call; });
}

void StateBase::Cancel() {
  if (const auto engine = engine_.lock()) engine->Cancel({task_});
}

void StateBase::Defer(std::function<void()> continuation) {
  if (const auto engine = engine_.lock()) {
    engine->Defer(std::move(continuation));
  } else {
    continuation();
  }
}

}  // namespace cq::detail
