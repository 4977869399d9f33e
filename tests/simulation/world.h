#pragma once

#include <chrono>
#include <cstdint>
#include <random>
#include <string>

// What can go wrong in a simulated world, and how much of it does.
namespace cq::sim {

using Time = std::chrono::nanoseconds;

/// Thrown where a promise is broken.
struct Broken {
  std::string what;
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : engine_() % n; }
  bool Chance(uint64_t per_mille) { return Below(1000) < per_mille; }
  Time Within(Time longest) {
    return Time(static_cast<int64_t>(Below(static_cast<uint64_t>(longest.count()) + 1)));
  }

 private:
  std::mt19937_64 engine_;
};

/// What a seed draws: how the world is, and how much goes wrong.
struct World {
  uint64_t seed = 0;
  uint64_t tasks = 0;
  uint64_t workers = 0;
  uint64_t slots = 0;
  Time lease{};
  uint32_t crash_limit = 3;
  uint32_t retries = 0;
  std::chrono::milliseconds gather_acks{};
  bool fence = false;
  /// Workers of a scheduler: they outlive their master, and a scheduler explains losses late.
  bool scheduled = false;
  /// How long a master remembers workers that are gone.
  Time remembered{};
  /// In 1/1000 for each message, or for each second of the run.
  uint64_t drop = 0, repeat = 0, delay = 0, cut = 0, partition = 0;
  uint64_t kill_worker = 0, stop_worker = 0, tell_worker = 0, kill_master = 0, stop_master = 0,
           fill_disk = 0;
  /// Tasks, in 1/1000, that fail, fail at first, take their worker or their slot's program with
  /// them; workers on whose host nothing starts.
  uint64_t failing = 0, flaky = 0, deadly = 0, lethal = 0;
  bool black_hole = false;
  /// What takes its worker with it takes its memory, and the scheduler says so.
  bool hungry = false;
  /// The first worker does everything late: as a machine that swaps.
  bool slow = false;
  Time longest_task{};
  /// How long a worker is out of reach at most.
  Time out_of_reach{};
  Time quiet_after{};
  /// The tasks are not known at the start: a program submits them as calls, a few at a time, and
  /// again to each new master; in 1/1000, so many of them it cancels.
  bool embedding = false;
  uint64_t cancel = 0;
  /// Of a run over rows: the first so many only, until they are done; longest first, or by groups.
  uint64_t limit = 0;
  bool ordered = false;
  uint64_t groups = 0;
  /// Rows ask for so many different things; not every worker has what the largest ask for. 0: for
  /// nothing.
  uint64_t classes = 0;
  /// Of these rows so many, in 1/1000, end for want of memory until they have as much as the
  /// largest worker has.
  uint64_t greedy = 0;
  /// Allocations end after so long, as their scheduler says from time to time; zero: never.
  Time life{};
  /// Tasks push rows, and they others.
  bool growing = false;
  /// Once there are so many, others wait for a last master; 0: no limit.
  uint64_t max_tasks = 0;
  /// A program beside the master names rows by what has ended.
  enum class Proposer : uint8_t { kNone, kTold, kAsked };
  Proposer proposer = Proposer::kNone;
  /// In 1/1000, at each resume: outcomes are taken back, rows are edited.
  uint64_t rerun = 0, edit = 0;
  /// Its workers are jobs of a batch system (`workers` at most, so many at least) that the master's
  /// own workforce asks for. In 1/1000, a submission is refused, or not answered; a job's worker
  /// never comes; for each second, somebody cancels a job, or it is requeued.
  bool scaled = false;
  uint64_t least = 0;
  uint64_t refuse = 0, uncertain = 0, dead_launch = 0, meddle = 0;
  Time queue_wait{}, idle_timeout{}, launch_timeout{};
  /// Its run borrows its workers of a warm pool; which of several runs it is, for the trace.
  bool pooled = false;
  int64_t priority = 0;
  /// What takes a worker with it takes all of its machine.
  bool takes_machine = false;
  /// Nothing of its own goes wrong, nor with the pool: what goes wrong elsewhere must not show.
  bool witness = false;
  /// One run has tasks of up to an hour.
  bool hours = false;
  std::string name = {};
  /// Several such runs; in 1/1000 for each second, the pool's master dies, and one of its workers
  /// with all that it has lent. Between deaths a pool's worker lives.
  uint64_t runs = 0;
  uint64_t pool_workers = 0, pool_slots = 0, kill_pool = 0, kill_host = 0, mute = 0;
  /// The same: one of its workers is told to leave.
  uint64_t dismiss = 0;
  /// Fresh tasks go out in spans of about so long.
  Time span_time{};
};
World Draw(uint64_t seed);
/// Several runs on a warm pool; and each of them.
World DrawPool(uint64_t seed);
World RunOfPool(const World& world, uint64_t run);
/// One run whose workers a batch system brings.
World DrawScaled(uint64_t seed);
std::string Describe(const World& world);

}  // namespace cq::sim
