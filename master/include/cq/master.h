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
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cq/arguments.h"
#include "cq/future.h"
#include "cq/map.h"

namespace cq {

/// Workers that a master starts.
struct WorkerPool {
  /// As --scheduler of `cq run`.
  std::string scheduler = "local";
  /// Of a warm pool 0: as many as it lends.
  unsigned workers = 1;
  /// Tasks at a time on each; 0: as many as this process may use CPUs. Each is a process.
  unsigned slots = 0;
  /// Fewer workers than that as long as there is less work, but so many of them; none: always as
  /// many. And how long one without work stays then.
  std::optional<unsigned> workers_least = {};
  std::chrono::milliseconds idle_timeout = std::chrono::minutes(5);
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

/// Slots of the warm pool of this name (`cq pool start`), as others leave them; at most so many, if
/// it is said.
inline WorkerPool Warm(const std::string& pool, unsigned workers = 0) {
  return {.scheduler = "pool:" + pool, .workers = workers, .slots = 1};
}

/// Values that every function may need: sent once to each worker, read with cq::constant<T>(name).
class Constants {
 public:
  template <class T>
  Constants& add(const std::string& name, const T& value) & {
    detail::Packer packer;
    detail::Travels<T>::Put(packer.encoder(), value);
    packed_[name] = packer.View();
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

/// What the packed arguments of a call may have, what it may return, and all constants together;
/// a call beyond the first two ends as an `error` that says so.
inline constexpr size_t kArgumentBytesMax = size_t{8} << 20;
inline constexpr size_t kReturnedBytesMax = size_t{16} << 20;
inline constexpr size_t kConstantBytesMax = size_t{15} << 20;

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
  /// Of a run directory that exists: though a master on another host may hold it; though it is this
  /// other user's.
  bool take_over = false;
  std::string trust_owner = {};
  /// From which cq::task().seed of each task is made; none: drawn, and recorded.
  std::optional<uint64_t> seed = {};
  uint32_t retries = 0;
  uint32_t crash_limit = 3;
  std::chrono::milliseconds lease{30'000};
  bool fence = false;
  std::chrono::milliseconds task_timeout{};
  /// How long a scheduler's idle worker waits for a master that is gone; none: 30 min, or 1 min
  /// without `run_dir`, since then no other master can come for it.
  std::optional<std::chrono::milliseconds> on_master_loss = {};
  /// Where workers reach the master: "FIRST-LAST", and a network interface or an address of this
  /// machine; empty: 20000-29999, and all.
  std::string ports = {};
  std::string interface = {};
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

namespace detail {

/// The registered function at this address. Throws Error, naming CQ_FUNCTION, if there is none.
const Function& RegisteredFunction(void (*address)());

std::shared_ptr<Engine> StartEngine(const MasterOptions& options);
}  // namespace detail

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
    detail::PackArguments<P...>(packer, arguments...);
    calls[0].arguments = packer.View();
    calls[0].receiver = state;
    if (!engine_->Submit(calls, wait)) return std::nullopt;
    return Future<T>(std::move(state));
  }

  std::shared_ptr<detail::Engine> engine_;
};

}  // namespace cq
