// The window of a range that is mapped.
#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "base/mutex.h"
#include "cq/map.h"
#include "protocol/bundle.h"
#include "protocol/pieces.h"

namespace cq::detail {
namespace {

/// Elements are read and submitted so many at a time.
constexpr size_t kPortion = 1024;
/// As long as nobody knows how large results are.
constexpr size_t kFirst = 64;
constexpr size_t kPortionBytes = 1u << 20;
/// What a bundle should take, and may hold.
constexpr double kBundleUs = 200;
constexpr size_t kBundleMost = 1024;
constexpr size_t kBundleBytes = 1u << 16;

}  // namespace

struct Stream::Content {
  Content(std::shared_ptr<Engine> e, const Function& f, MapOptions o)
      : engine(std::move(e)), function(f), options(o), bundles(engine->bundles()) {}

  std::shared_ptr<Engine> engine;
  const Function& function;
  const MapOptions options;
  const bool bundles;

  // The consumer's alone.
  std::vector<Call> added;
  size_t added_count = 0;
  size_t added_bytes = 0;
  size_t bundle = 1;
  uint64_t next_tag = 0;
  /// Results that follow each other, and how many of them have been taken.
  std::vector<Ended> at_hand;
  size_t at = 0;
  uint64_t at_hand_from = 0;
  uint64_t taken = 0;
  uint64_t taken_bytes = 0;
  /// While there are results at hand, there is no room before so many have been taken.
  uint64_t room_from = 0;

  // Shared with the master's thread.
  Mutex mutex;
  Condition changed;
  /// What came together, by the tag of its first; and the tag of the next one, if they are ordered.
  std::map<uint64_t, std::vector<Ended>> arrived CQ_GUARDED_BY(mutex);
  uint64_t next CQ_GUARDED_BY(mutex) = 0;
  uint64_t submitted CQ_GUARDED_BY(mutex) = 0;
  uint64_t received CQ_GUARDED_BY(mutex) = 0;
  uint64_t received_bytes CQ_GUARDED_BY(mutex) = 0;
  /// How long the elements of about the last thousand took, in µs, and how far from that they are.
  double mean_us CQ_GUARDED_BY(mutex) = 0;
  double deviation_us CQ_GUARDED_BY(mutex) = 0;
  bool over CQ_GUARDED_BY(mutex) = false;

  bool Available() const CQ_REQUIRES(mutex) {
    return !arrived.empty() && (!options.ordered || arrived.begin()->first == next);
  }

  /// How many results there can be here at a time, as far as their size is known: few at first.
  size_t Most() const CQ_REQUIRES(mutex) {
    const size_t known = received < options.window ? 4 * received + kFirst : options.window;
    const size_t fit = engine->memory_bytes() / MeanBytes();
    return std::max<size_t>(std::min({options.window, known, fit}), 1);
  }
  uint64_t MeanBytes() const CQ_REQUIRES(mutex) {
    return 64 + (received == 0 ? 0 : received_bytes / received);
  }

  /// For the consumer: how many to read next. A portion is read when there is room for one, or for
  /// half of what there ever can be.
  size_t Portion() const CQ_REQUIRES(mutex) {
    if (Here() == 0) return std::min(Most(), kPortion);
    const size_t free = Free();
    return free >= Enough() ? std::min(free, kPortion) : 0;
  }
  size_t Enough() const CQ_REQUIRES(mutex) { return std::clamp<size_t>(Most() / 2, 1, kPortion); }
  /// How many results must be taken before there is room.
  size_t Lacking() const CQ_REQUIRES(mutex) { return Enough() - std::min(Free(), Enough()); }
  uint64_t Here() const CQ_REQUIRES(mutex) { return submitted + added_count - taken; }
  size_t Free() const CQ_REQUIRES(mutex) {
    const uint64_t under_way = submitted - received + added_count;
    const uint64_t used = received_bytes - taken_bytes + under_way * MeanBytes();
    const uint64_t memory = engine->memory_bytes();
    const size_t fit = memory > used ? (memory - used) / MeanBytes() : 0;
    const size_t most = Most();
    return std::min<size_t>(most > Here() ? most - Here() : 0, fit);
  }

  bool HasRoom(bool more) const CQ_REQUIRES(mutex) {
    return more && added.empty() && Portion() > 0;
  }

  /// For the consumer: how many of the next elements go together. It grows as they prove to be
  /// short, and falls at once.
  size_t Bundle() const CQ_REQUIRES(mutex) {
    if (!bundles || options.bundle != 0) return bundles ? options.bundle : 1;
    if (received < kFirst) return 1;
    const double expected = std::max(mean_us + 2 * deviation_us, 0.01);
    // Of a small window every slot is to get some.
    const size_t most = std::max<size_t>(std::min({2 * bundle, kBundleMost, Most() / 16}), 1);
    return static_cast<size_t>(std::clamp(kBundleUs / expected, 1.0, static_cast<double>(most)));
  }

  void Put(uint64_t first_tag, std::vector<Ended> ended) CQ_REQUIRES(mutex) {
    for (const Ended& one : ended) {
      ++received;
      received_bytes += one.value.size();
      const double weight = 1.0 / static_cast<double>(std::min<uint64_t>(received, kFirst));
      const double off = one.took_us - mean_us;
      mean_us += off * weight;
      deviation_us += (std::abs(off) - deviation_us) * weight;
    }
    // Of a bundle whose first call took its program with it there is none.
    if (!over && !ended.empty()) arrived.emplace(first_tag, std::move(ended));
  }
};

Stream::Stream(std::shared_ptr<Engine> engine, const Function& function, MapOptions options)
    : content_(std::make_unique<Content>(std::move(engine), function, options)) {}

Stream::~Stream() = default;

size_t Stream::Room() {
  Content& c = *content_;
  if (!c.added.empty() || (c.at < c.at_hand.size() && c.taken < c.room_from)) return 0;
  const Lock lock(c.mutex);
  const size_t portion = c.Portion();
  c.room_from = c.taken + (portion > 0 ? 0 : c.Lacking());
  if (portion > 0) c.bundle = c.Bundle();
  return portion;
}

bool Stream::Add(std::string_view arguments) {
  Content& c = *content_;
  c.added_bytes += arguments.size();
  ++c.added_count;
  const uint64_t tag = c.next_tag++;
  if (c.bundle > 1 && !c.added.empty() && c.added.back().count < c.bundle &&
      c.added.back().arguments.size() + arguments.size() < kBundleBytes) {
    Call& bundle = c.added.back();
    if (bundle.count == 1) AppendPiece(bundle.arguments, std::exchange(bundle.arguments, {}));
    AppendPiece(bundle.arguments, arguments);
    ++bundle.count;
  } else {
    Call& call = c.added.emplace_back();
    call.function = &c.function;
    call.arguments = arguments;
    call.receiver = shared_from_this();
    call.tag = tag;
  }
  return c.added_bytes < kPortionBytes;
}

void Stream::Submit() {
  Content& c = *content_;
  const size_t count = c.added_count;
  if (count == 0) return;
  bool idle = false;
  {
    const Lock lock(c.mutex);
    idle = c.submitted == c.received;
    c.submitted += count;
  }
  const auto undo = [&] {
    const Lock lock(c.mutex);
    c.submitted -= count;
  };
  try {
    // While some are under way there is always something to wait for.
    if (!c.engine->Submit(c.added, idle)) {
      undo();
      return;
    }
  } catch (...) {
    undo();
    throw;
  }
  c.added.clear();
  c.added_count = 0;
  c.added_bytes = 0;
}

Stream::Event Stream::Next(bool more, uint64_t& index, Ended& ended) {
  Content& c = *content_;
  if (c.at == c.at_hand.size()) {
    const Lock lock(c.mutex);
    const uint64_t received = c.received;
    while (!c.Available() && !c.HasRoom(more)) {
      const bool nothing_out = c.submitted == c.received;
      // What could not be submitted is tried again when something has ended.
      if (!c.added.empty() ? c.received != received || nothing_out : nothing_out && !more) break;
      c.changed.Wait(c.mutex);
    }
    if (!c.Available()) return !c.added.empty() || c.HasRoom(more) ? Event::kRoom : Event::kEnd;
    const auto first = c.arrived.begin();
    c.at_hand_from = first->first;
    c.at_hand = std::move(first->second);
    c.at = 0;
    c.next = c.at_hand_from + c.at_hand.size();
    c.arrived.erase(first);
  }
  index = c.at_hand_from + c.at;
  ended = std::move(c.at_hand[c.at++]);
  ++c.taken;
  c.taken_bytes += ended.value.size();
  return Event::kResult;
}

void Stream::Cancel() {
  {
    const Lock lock(content_->mutex);
    content_->over = true;
    if (content_->submitted == content_->received) return;
  }
  content_->engine->CancelAllOf(shared_from_this());
}

void Stream::Receive(uint64_t tag, Ended ended) {
  std::vector<Ended> one;
  one.push_back(std::move(ended));
  ReceiveAll(tag, std::move(one));
}

void Stream::ReceiveAll(uint64_t first_tag, std::vector<Ended> ended) {
  const Lock lock(content_->mutex);
  content_->Put(first_tag, std::move(ended));
}

void Stream::Received() { content_->changed.NotifyOne(); }

}  // namespace cq::detail
