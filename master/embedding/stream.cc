// The window of a range that is mapped.
#include <algorithm>
#include <deque>

#include "cq/master.h"

namespace cq::detail {
namespace {

/// Elements are read and submitted so many at a time.
constexpr size_t kPortion = 1024;
constexpr size_t kPortionBytes = 1u << 20;

}  // namespace

struct Stream::Content {
  Content(std::shared_ptr<Engine> e, const Function& f, MapOptions o)
      : engine(std::move(e)), function(f), options(o) {}

  std::shared_ptr<Engine> engine;
  const Function& function;
  const MapOptions options;

  // The consumer's alone.
  std::vector<Call> added;
  size_t added_bytes = 0;
  uint64_t next_tag = 0;
  std::deque<std::pair<uint64_t, Ended>> at_hand;
  uint64_t taken = 0;

  // Shared with the master's thread.
  std::mutex mutex;
  std::condition_variable changed;
  /// Ordered: those from `head` on, with a gap for each that has not come.
  std::deque<std::optional<Ended>> slots;
  uint64_t head = 0;
  /// Not ordered: as they came.
  std::deque<std::pair<uint64_t, Ended>> arrived;
  uint64_t submitted = 0;
  uint64_t received = 0;
  uint64_t received_bytes = 0;
  bool over = false;

  bool Available() const {
    return options.ordered ? !slots.empty() && slots.front().has_value() : !arrived.empty();
  }

  /// With the mutex held, for the consumer: what may be under way or wait here, as far as results
  /// are known to be small enough.
  size_t Free() const {
    const uint64_t mean = received == 0 ? 0 : received_bytes / received;
    const size_t fit = engine->memory_bytes() / (mean + 64);
    const size_t most = std::clamp<size_t>(std::min(options.window, fit), 1, size_t{1} << 24);
    const size_t here = submitted + added.size() - taken;
    return most > here ? most - here : 0;
  }

  // A portion is read when there is room for one, or for as much as there ever can be.
  size_t Portion() const {
    const size_t free = Free();
    const bool idle = submitted == received && added.empty();
    return free >= std::min(kPortion, std::max<size_t>(options.window / 2, 1)) || idle
               ? std::min(free, kPortion)
               : 0;
  }
};

Stream::Stream(std::shared_ptr<Engine> engine, const Function& function, MapOptions options)
    : content_(std::make_unique<Content>(std::move(engine), function, options)) {}

Stream::~Stream() = default;

size_t Stream::Room() {
  const std::lock_guard lock(content_->mutex);
  return content_->added.empty() ? content_->Portion() : 0;
}

bool Stream::Add(std::string arguments) {
  content_->added_bytes += arguments.size();
  Call call;
  call.function = &content_->function;
  call.arguments = std::move(arguments);
  call.receiver = shared_from_this();
  call.tag = content_->next_tag++;
  content_->added.push_back(std::move(call));
  return content_->added_bytes < kPortionBytes;
}

void Stream::Submit() {
  Content& c = *content_;
  const size_t count = c.added.size();
  if (count == 0) return;
  bool idle = false;
  {
    const std::lock_guard lock(c.mutex);
    idle = c.submitted == c.received;
    c.submitted += count;
    if (c.options.ordered) c.slots.resize(c.slots.size() + count);
  }
  // While some are under way there is always something to wait for.
  if (c.engine->Submit(c.added, idle)) {
    c.added.clear();
    c.added_bytes = 0;
    return;
  }
  const std::lock_guard lock(c.mutex);
  c.submitted -= count;
  if (c.options.ordered) c.slots.resize(c.slots.size() - count);
}

Stream::Event Stream::Next(bool more, uint64_t& index, Ended& ended) {
  Content& c = *content_;
  if (c.at_hand.empty()) {
    std::unique_lock lock(c.mutex);
    const auto room = [&] { return more && c.added.empty() && c.Portion() > 0; };
    const uint64_t received = c.received;
    c.changed.wait(lock, [&] {
      if (c.Available() || room()) return true;
      // What could not be submitted is tried again when something has ended.
      if (!c.added.empty()) return c.received != received || c.submitted == c.received;
      return c.submitted == c.received && !more;
    });
    if (!c.Available()) return !c.added.empty() || room() ? Event::kRoom : Event::kEnd;
    if (c.options.ordered) {
      for (; c.Available(); ++c.head) {
        c.at_hand.emplace_back(c.head, std::move(*c.slots.front()));
        c.slots.pop_front();
      }
    } else {
      c.at_hand.swap(c.arrived);
    }
  }
  index = c.at_hand.front().first;
  ended = std::move(c.at_hand.front().second);
  c.at_hand.pop_front();
  ++c.taken;
  return Event::kResult;
}

void Stream::Cancel() {
  {
    const std::lock_guard lock(content_->mutex);
    content_->over = true;
    if (content_->submitted == content_->received) return;
  }
  content_->engine->CancelAllOf(shared_from_this());
}

void Stream::Receive(uint64_t tag, Ended ended) {
  const std::lock_guard lock(content_->mutex);
  Content& c = *content_;
  ++c.received;
  c.received_bytes += ended.value.size();
  if (c.over) return;
  if (c.options.ordered) {
    c.slots[tag - c.head] = std::move(ended);
  } else {
    c.arrived.emplace_back(tag, std::move(ended));
  }
}

void Stream::Received() { content_->changed.notify_one(); }

}  // namespace cq::detail
