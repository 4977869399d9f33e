// Tasks that run much longer than their like: a limit that is relative to the median.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "master/core/run_core.h"
#include "protocol/limits.h"

namespace cq {
namespace {

/// What is shorter than that is no hang.
constexpr double kLeast = 1e9;

}  // namespace

// Zero: too few have ended. A class that was raised has more time.
Time RunCore::RelativeLimit(ClassId of) const {
  const Pace& pace = tasks_.several() ? classes_[of].pace : pace_;
  const double times = static_cast<double>(options_.timeout_percent) / 100 *
                       static_cast<double>(classes_[of].time_permille) / 1000;
  constexpr Time kMost = std::chrono::hours(24 * 36500);
  const Time median = pace.Median();
  if (median <= Time{}) return {};
  const double limit = std::max(static_cast<double>(median.count()) * times, kLeast);
  return limit < static_cast<double>(kMost.count()) ? Time(static_cast<int64_t>(limit)) : kMost;
}

void RunCore::EndLong() {
  if (options_.timeout_percent == 0 || finished_) return;
  std::map<ClassId, Time> limits;
  for (Worker& worker : workers_.all()) {
    if (!worker.here()) continue;
    Cancel cancel{options_.text.run, {}};
    for (const Work* open : lane(worker).held.All()) {
      const Work::Out& out = *open->out();
      if (!out.run) continue;
      const auto [known, fresh] = limits.try_emplace(out.of);
      if (fresh) known->second = RelativeLimit(out.of);
      const Time limit = known->second;
      if (limit <= Time{} || now_ - out.run->since <= limit) continue;
      const auto [cut, first] = cut_.try_emplace(open->attempt, Cut{limit, worker.session});
      // What an older session was told may not have come there.
      if (!first && cut->second.session == worker.session) continue;
      cut->second.session = worker.session;
      cancel.attempts.push_back({open->task, open->attempt});
      if (cancel.attempts.size() == kBatchMax) break;
    }
    if (!cancel.attempts.empty()) SendTo(worker, std::move(cancel));
  }
}

// What its worker reports as cancelled, since it was told to end it.
void RunCore::SayIfTooLong(TaskResult& result) const {
  const auto cut = cut_.find(result.attempt);
  if (cut == cut_.end()) return;
  result.outcome = Outcome::kTimeout;
  result.details.Edit().error = fmt::format(
      "ran longer than {:.3g} s, {} % of the median of the last tasks that were ok "
      "(--task-timeout)",
      std::chrono::duration<double>(cut->second.limit).count(), options_.timeout_percent);
}

}  // namespace cq
