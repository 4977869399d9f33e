#include "master/run/schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>

namespace cq {

double Makespan(const std::vector<double>& costs, uint64_t slots) {
  std::priority_queue<double, std::vector<double>, std::greater<>> free;
  double last = 0;
  for (const double cost : costs) {
    double start = 0;
    if (free.size() >= slots) {
      start = free.top();
      free.pop();
    }
    free.push(start + cost);
    last = std::max(last, start + cost);
  }
  return last;
}

Schedule PlanSchedule(const std::vector<double>& costs, uint64_t slots, double startup,
                      double deadline) {
  constexpr uint64_t kAround = 2;
  Schedule plan;
  const auto of = [&](uint64_t workers) { return startup + Makespan(costs, workers * slots); };
  const uint64_t most = std::max<uint64_t>((costs.size() + slots - 1) / slots, 1);
  plan.makespan = of(most);
  if (plan.makespan > deadline) return plan;
  // Fewer than that cannot do it; longest first needs at most a third more.
  const double sum = std::accumulate(costs.begin(), costs.end(), 0.0);
  const double ideal = sum / std::max(deadline - startup, 1e-9) / static_cast<double>(slots);
  uint64_t too_few =
      static_cast<uint64_t>(std::clamp(std::ceil(ideal) - 1, 0.0, static_cast<double>(most - 1)));
  uint64_t enough = most;
  while (enough - too_few > 1) {
    const uint64_t middle = too_few + (enough - too_few) / 2;
    (of(middle) <= deadline ? enough : too_few) = middle;
  }
  plan.workers = enough;
  plan.makespan = of(enough);
  for (uint64_t workers = enough > kAround ? enough - kAround : 1;
       workers <= std::min(enough + kAround, most); ++workers) {
    plan.around.emplace_back(workers, of(workers));
  }
  return plan;
}

}  // namespace cq
