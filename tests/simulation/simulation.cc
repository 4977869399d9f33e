#include "tests/simulation/simulation.h"

#include <fmt/format.h>

#include "tests/simulation/sim_run.h"
#include "tests/simulation/timeline.h"

namespace cq::sim {
namespace {

constexpr RunId kRun = 77;
constexpr Time kTimeLimit = std::chrono::hours(3);

}  // namespace

std::optional<std::string> Run(const World& world,
                               const std::function<void(const std::string&)>& trace) {
  Timeline timeline;
  try {
    SimRun run(world, kRun, timeline, trace, nullptr);
    run.Begin();
    while (!run.over()) {
      timeline.Step();
      if (timeline.now() > kTimeLimit) throw Broken{"the run does not end"};
    }
    run.CheckEnd();
  } catch (const Broken& broken) {
    return fmt::format("at {} ms: {}", timeline.now() / std::chrono::milliseconds(1), broken.what);
  }
  return std::nullopt;
}

}  // namespace cq::sim
