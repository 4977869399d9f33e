#include "tests/simulation/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/simulation/sim_pool.h"
#include "tests/simulation/sim_run.h"
#include "tests/simulation/timeline.h"

namespace cq::sim {
namespace {

constexpr RunId kRun = 77;
/// A world that is not over by then never is.
Time Limit(const World& world) {
  // Tasks that may take an hour each, several times.
  if (world.hours) return std::chrono::hours(100);
  // One slot may have to do all of them, and most of them again.
  const Time work = world.longest_task * static_cast<int64_t>(world.tasks * (2 + world.retries));
  return (std::chrono::hours(3) + work) * static_cast<int64_t>(1 + 4 * world.runs);
}

}  // namespace

std::optional<std::string> Run(const World& world,
                               const std::function<void(const std::string&)>& trace) {
  Timeline timeline;
  SimPool pool(world, timeline, trace);
  std::vector<std::unique_ptr<SimRun>> runs;
  const Time limit = Limit(world);
  try {
    if (world.runs > 0) pool.Begin();
    for (uint64_t i = 0; i < std::max<uint64_t>(world.runs, 1); ++i) {
      runs.push_back(
          world.runs == 0
              ? std::make_unique<SimRun>(world, kRun, timeline, trace, nullptr)
              : std::make_unique<SimRun>(RunOfPool(world, i), kRun + i, timeline, trace, &pool));
      runs.back()->Begin();
    }
    const auto over = [](const auto& run) { return run->over(); };
    while (!std::all_of(runs.begin(), runs.end(), over)) {
      timeline.Step();
      if (timeline.now() > limit) throw Broken{"the run does not end"};
    }
    for (const auto& run : runs) run->CheckEnd();
  } catch (const Broken& broken) {
    return fmt::format("at {} ms: {}", timeline.now() / std::chrono::milliseconds(1), broken.what);
  }
  return std::nullopt;
}

}  // namespace cq::sim
