#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "master/core/core.h"
#include "worker/worker_core.h"

// The real cores of master and worker in a simulated world: its network loses, repeats, delays and
// cuts, its workers and masters are killed, stopped and resumed, its disk fills up. Everything
// follows from one seed, so that a failure replays exactly.
namespace cq::sim {

/// What a seed draws: how the world is, and how much goes wrong.
struct World {
  uint64_t seed = 0;
  uint64_t tasks = 0;
  uint64_t workers = 0;
  uint64_t slots = 0;
  Time lease{};
  uint32_t crash_limit = 3;
  uint32_t retries = 0;
  bool fence = false;
  /// Workers of a scheduler: they outlive their master, and a scheduler explains losses late.
  bool scheduled = false;
  /// In 1/1000 for each message, or for each second of the run.
  uint64_t drop = 0, repeat = 0, delay = 0, cut = 0, partition = 0;
  uint64_t kill_worker = 0, stop_worker = 0, tell_worker = 0, kill_master = 0, stop_master = 0,
           fill_disk = 0;
  /// Tasks, in 1/1000, that fail, fail at first, take their worker with them; workers on whose host
  /// nothing starts.
  uint64_t failing = 0, flaky = 0, deadly = 0;
  bool black_hole = false;
  Time longest_task{};
  Time quiet_after{};
};
World Draw(uint64_t seed);
std::string Describe(const World& world);

/// Runs the world to its end. Returns what broke, or nothing. `trace` gets a line for everything
/// that happens, if it is given.
std::optional<std::string> Run(const World& world,
                               const std::function<void(const std::string&)>& trace = {});

}  // namespace cq::sim
