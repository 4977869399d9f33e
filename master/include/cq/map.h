#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "cq/arguments.h"
#include "cq/engine.h"
#include "cq/result.h"

// A function over a range (Master::map).
namespace cq {

struct MapOptions {
  /// Results in the order of the range, else as they come.
  bool ordered = true;
  /// How many elements may be under way or wait to be taken.
  size_t window = 16'384;
  /// How many elements travel as one task, so that a result may wait for the rest of its bundle.
  /// 0: as many as take some 200 µs by what was measured, 1,024 at most; 1: each for itself. So
  /// does each in a master with a run directory, retries, limits, a fence or a chunk of its own.
  size_t bundle = 0;
};

namespace detail {

/// The tasks of a range that is mapped. One consumer.
class Stream final : public Receiver, public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::shared_ptr<Engine> engine, const Function& function, MapOptions options);
  ~Stream() override;

  /// How many more calls it would take now, a batch at a time.
  size_t Room();
  /// Whether that is not enough for one submission yet.
  bool Add(std::string_view arguments);
  /// Submits what was added, as far as there is memory.
  void Submit();

  enum class Event { kResult, kRoom, kEnd };
  /// Blocks for the next result, which is left in the last two, or the end of all that was added;
  /// or until there is room, if there is more to add.
  Event Next(bool more, uint64_t& index, Ended& ended);
  /// Nobody takes results any more.
  void Cancel();

  bool Numbered(uint64_t) override { return false; }
  void Receive(uint64_t tag, Ended ended) override;
  void ReceiveAll(uint64_t first_tag, std::vector<Ended> ended) override;
  void Received() override;

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

}  // namespace detail

/// The results of a function over a range, as they are taken: an input range, once.
template <class Range, class R, class... P>
class Map {
 public:
  Map(std::shared_ptr<detail::Engine> engine, const Function& function, Range range,
      MapOptions options)
      : stream_(std::make_shared<detail::Stream>(std::move(engine), function, options)),
        range_(std::move(range)) {}
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;
  /// What has not ended is cancelled.
  ~Map() { stream_->Cancel(); }

  class Iterator {
   public:
    using value_type = Result<R>;
    using difference_type = ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    explicit Iterator(Map* map = nullptr) : map_(map) {}
    Result<R>& operator*() const { return *map_->current_; }
    Result<R>* operator->() const { return &*map_->current_; }
    Iterator& operator++() {
      map_->Advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !map_->current_; }

   private:
    Map* map_;
  };
  Iterator begin() {
    if (!at_) {
      at_.emplace(std::ranges::begin(range_));
      Advance();
    }
    return Iterator(this);
  }
  std::default_sentinel_t end() const { return {}; }

 private:
  friend class Iterator;

  void Advance() {
    for (;;) {
      Fill();
      uint64_t index = 0;
      detail::Ended ended;
      const auto event = stream_->Next(*at_ != std::ranges::end(range_), index, ended);
      if (event == detail::Stream::Event::kRoom) continue;
      current_.reset();
      if (event == detail::Stream::Event::kEnd) return;
      current_.emplace(detail::Unpack<R>(std::move(ended)));
      current_->set_index(index);
      return;
    }
  }

  void Fill() {
    size_t room = *at_ == std::ranges::end(range_) ? 0 : stream_->Room();
    for (; room > 0 && *at_ != std::ranges::end(range_); --room) {
      Pack(**at_);
      const bool more = stream_->Add(packer_.View());
      ++*at_;
      if (!more) break;
    }
    stream_->Submit();
  }

  template <class Element>
  void Pack(const Element& element) {
    if constexpr (sizeof...(P) == 1) {
      detail::PackArguments<P...>(packer_, element);
    } else {
      std::apply(
          [this](const auto&... argument) { detail::PackArguments<P...>(packer_, argument...); },
          element);
    }
  }

  std::shared_ptr<detail::Stream> stream_;
  Range range_;
  std::optional<std::ranges::iterator_t<Range>> at_;
  detail::Packer packer_;
  std::optional<Result<R>> current_;
};

}  // namespace cq
