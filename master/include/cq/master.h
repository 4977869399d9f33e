#pragma once

// A master in a C++ program: functions that CQ_FUNCTION registers are called on workers.
//
//   #include <cq/master.h>
//   #include <cq/runtime.h>
//
//   double simulate(double alpha, int64_t seed) { … }
//   CQ_FUNCTION(simulate);
//
//   int main(int argc, char** argv) {
//     cq::Runtime runtime(argc, argv);  // does not return in a worker or a slot
//     cq::Master master({.pools = {cq::Local(4)}});
//     cq::Future<double> one = master.submit(simulate, 0.1, 42);
//     for (auto& result : master.map(simulate, grid)) …
//   }

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cq/future.h"

namespace cq {

/// Workers that a master starts.
struct WorkerPool {
  /// "local" or "slurm".
  std::string scheduler = "local";
  unsigned workers = 1;
  /// Tasks at a time on each; 0: as many as this process may use CPUs. Each is a process.
  unsigned slots = 0;
  /// As --template, --set and --worker-init of `cq run`.
  std::string template_file = {};
  std::map<std::string, std::string> template_values = {};
  std::string worker_init = {};
};

/// One worker on this machine; 0 slots: as many as this process may use CPUs.
inline WorkerPool Local(unsigned slots = 0) { return {.slots = slots}; }
/// An array of so many jobs. `set` fills the template, as in {{"partition", "short"}, {"time",
/// "1:00:00"}}.
inline WorkerPool Slurm(unsigned workers, unsigned slots = 1,
                        std::map<std::string, std::string> set = {}) {
  return {
      .scheduler = "slurm", .workers = workers, .slots = slots, .template_values = std::move(set)};
}

/// Values that every function may need: sent once to each worker, read with cq::constant<T>(name).
class Constants {
 public:
  template <class T>
  Constants& add(const std::string& name, const T& value) & {
    detail::Packer packer;
    detail::Travels<T>::Put(packer.encoder(), value);
    packed_[name] = packer.Take();
    return *this;
  }
  template <class T>
  Constants&& add(const std::string& name, const T& value) && {
    add(name, value);
    return std::move(*this);
  }
  const std::map<std::string, std::string>& packed() const { return packed_; }

 private:
  std::map<std::string, std::string> packed_;
};

/// The defaults are those of `cq run`, where most are described.
struct MasterOptions {
  /// Empty: one worker on this machine, with a slot for each CPU.
  std::vector<WorkerPool> pools = {};
  Constants constants = {};
  /// With a directory, results are durable before they are handed out, and a program that is
  /// started again finds them there: a call with the same function and arguments as one of before
  /// gets its result and does not run. Empty: all is in memory, and gone with the master.
  std::string run_dir = {};
  /// Move an existing run directory aside; run calls again that did not end ok.
  bool fresh = false;
  bool failed = false;
  /// Where the program itself has changed since results were recorded: they stay, or all calls run
  /// again.
  bool keep = false;
  bool rerun = false;
  /// From which cq::task().seed of each task is made; none: drawn, and recorded.
  std::optional<uint64_t> seed = {};
  uint32_t retries = 0;
  uint32_t crash_limit = 3;
  std::chrono::milliseconds lease{30'000};
  bool fence = false;
  std::chrono::milliseconds task_timeout{};
  uint64_t task_memory_bytes = 0;
  std::string worker_check = {};
  std::vector<std::pair<std::string, std::string>> env = {};
  uint64_t chunk = 0;
  /// What arguments of tasks without a result may take; `submit` blocks beyond it.
  size_t memory_bytes = size_t{256} << 20;
  /// Gets what a user may want to know: workers that were lost, and the like. Called from a thread
  /// of the master, and must neither submit nor end it; none: standard error.
  std::function<void(const std::string&)> warn = {};
};

struct MapOptions {
  /// Results in the order of the range, else as they come.
  bool ordered = true;
  /// How many elements may be under way or wait to be taken.
  size_t window = 16'384;
  /// How many elements travel as one task, so that a result may wait for the rest of its bundle.
  /// 0: as many as take some 50 µs by what was measured, 256 at most; 1: each for itself. So does
  /// each in a master with a run directory, retries, limits, a fence or a chunk of its own.
  size_t bundle = 0;
};

namespace detail {

/// The registered function at this address. Throws Error, naming CQ_FUNCTION, if there is none.
const Function& RegisteredFunction(void (*address)());

std::shared_ptr<Engine> StartEngine(const MasterOptions& options);
/// Converted as in a call, but for numbers that the parameter cannot hold.
template <class P, class A>
const P& Converted(const A& argument, std::optional<P>& holder) {
  if constexpr (std::is_same_v<P, A>) {
    return argument;
  } else {
    if constexpr (std::is_arithmetic_v<P> && std::is_arithmetic_v<A>) {
      static_assert(!std::is_integral_v<P> || std::is_integral_v<A>,
                    "a floating-point argument for an integer parameter: convert it yourself");
      constexpr bool kIntegers = std::is_integral_v<P> && !std::is_same_v<P, bool> &&
                                 std::is_integral_v<A> && !std::is_same_v<A, bool>;
      if constexpr (kIntegers) {
        if (!std::in_range<P>(argument)) {
          throw UsageError("the argument " + Digits(argument) + " does not fit its parameter");
        }
      }
    }
    return holder.emplace(static_cast<P>(argument));
  }
}

template <class... P, class... A>
std::string PackArguments(Packer& packer, const A&... arguments) {
  packer.encoder().List(sizeof...(P));
  [[maybe_unused]] const auto put = [&]<class T>(std::type_identity<T>, const auto& argument) {
    std::optional<T> holder;
    Travels<T>::Put(packer.encoder(), Converted<T>(argument, holder));
  };
  (put(std::type_identity<std::decay_t<P>>(), arguments), ...);
  return packer.Take();
}

/// The tasks of a range that is mapped. One consumer.
class Stream final : public Receiver, public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::shared_ptr<Engine> engine, const Function& function, MapOptions options);
  ~Stream() override;

  /// How many more calls it would take now, a batch at a time.
  size_t Room();
  /// Whether that is not enough for one submission yet.
  bool Add(std::string arguments);
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
      const bool more = stream_->Add(Pack(**at_));
      ++*at_;
      if (!more) break;
    }
    stream_->Submit();
  }

  template <class Element>
  std::string Pack(const Element& element) {
    if constexpr (sizeof...(P) == 1) {
      return detail::PackArguments<P...>(packer_, element);
    } else {
      return std::apply(
          [this](const auto&... argument) {
            return detail::PackArguments<P...>(packer_, argument...);
          },
          element);
    }
  }

  std::shared_ptr<detail::Stream> stream_;
  Range range_;
  std::optional<std::ranges::iterator_t<Range>> at_;
  detail::Packer packer_;
  std::optional<Result<R>> current_;
};

/// Runs registered functions as tasks on workers. Thread-safe. A process may have many.
class Master {
 public:
  /// Starts the workers. Throws UsageError for options that cannot be used, and Error where it
  /// cannot be set up.
  explicit Master(const MasterOptions& options = {}) : engine_(detail::StartEngine(options)) {}
  /// Ends the workers; tasks without a result end as `cancelled`. Not from a continuation, and not
  /// while another thread is in `submit`.
  ~Master() { engine_->Stop(); }
  Master(const Master&) = delete;
  Master& operator=(const Master&) = delete;

  /// One task: this function with these arguments. Blocks while there is no memory for more. Throws
  /// Error for a function without CQ_FUNCTION.
  template <class R, class... P, class... A>
  Future<std::decay_t<R>> submit(R (*function)(P...), A&&... arguments) {
    return *Submit<R, P...>(function, true, arguments...);
  }
  /// The same; none where `submit` would block.
  template <class R, class... P, class... A>
  std::optional<Future<std::decay_t<R>>> try_submit(R (*function)(P...), A&&... arguments) {
    return Submit<R, P...>(function, false, arguments...);
  }

  /// The function over each element of a range: its argument or, if it has several, a tuple of
  /// them. Elements are read as results are taken. A range that is passed as a temporary is kept.
  /// The master must outlive it.
  template <class R, class... P, class Range>
  auto map(R (*function)(P...), Range&& range, MapOptions options = {}) {
    using View = std::views::all_t<Range>;
    return Map<View, std::decay_t<R>, P...>(
        engine_, detail::RegisteredFunction(reinterpret_cast<void (*)()>(function)),
        std::views::all(std::forward<Range>(range)), options);
  }

  /// Calls `callback` with each result as it comes, on this thread; returns when all have.
  template <class R, class... P, class Range, class F>
  void for_each(R (*function)(P...), Range&& range, F&& callback) {
    for (auto& result : map(function, std::forward<Range>(range), {.ordered = false})) {
      callback(std::move(result));
    }
  }

  MasterStatus status() const { return engine_->status(); }

  /// Readable while `completed` has something to tell: tasks of `submit`, from the first call of
  /// this function on.
  int fd() const { return engine_->completion_fd(); }
  /// The numbers (Future::id) of the tasks that have ended since the last call.
  std::vector<uint64_t> completed() { return engine_->TakeCompleted(); }

 private:
  template <class R, class... P, class... A>
  std::optional<Future<std::decay_t<R>>> Submit(R (*function)(P...), bool wait,
                                                const A&... arguments) {
    static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the function has parameters");
    using T = std::decay_t<R>;
    const auto& registered = detail::RegisteredFunction(reinterpret_cast<void (*)()>(function));
    detail::Packer packer;
    auto state = std::make_shared<detail::State<T>>(engine_, 0);
    std::vector<detail::Call> calls(1);
    calls[0].function = &registered;
    calls[0].arguments = detail::PackArguments<P...>(packer, arguments...);
    calls[0].receiver = state;
    if (!engine_->Submit(calls, wait)) return std::nullopt;
    return Future<T>(std::move(state));
  }

  std::shared_ptr<detail::Engine> engine_;
};

}  // namespace cq
