// Workers whose allocations end: they are given what ends before, and nothing dies at their wall.
#include <fmt/format.h>

#include <algorithm>

#include "master/core/dispatch.h"
#include "master/core/run_core.h"

namespace cq {
namespace {

/// A scheduler may say TERM before the time is over, and KILL a while after.
constexpr Time kWall = std::chrono::seconds(90);

}  // namespace

void RunCore::OnTimeLeft(Time now, const std::string& allocation, Time left, Time all) {
  now_ = now;
  for (Worker* worker : workers_.Of(allocation)) {
    worker->ends = now + left;
    worker->lives = std::max(left, all);
    const auto& pool = lane(*worker).pool;
    if (!pool) continue;
    LongestLife& longest = longest_[*pool];
    longest.all = std::max(longest.all, worker->lives);
    longest.left = std::max(longest.left, left);
  }
}

// Of those that were not tried yet, or whose end was no wall.
Time RunCore::Estimate(ClassId of) const {
  const TaskClass& one = classes_[of];
  if (one.request.time_ms > 0) return std::chrono::milliseconds(one.request.time_ms);
  const Time own = tasks_.several() ? one.pace.Most() : Time{};
  return own > Time{} || !one.request.kind.empty() ? own : pace_.Most();
}

// Of the pools for which such tasks are work; of all, if they are no pool's.
LongestLife RunCore::LongestOf(ClassId of) const {
  LongestLife longest;
  const auto& homes = classes_[of].homes;
  for (size_t pool = 0; pool < longest_.size(); ++pool) {
    const bool home = std::find(homes.begin(), homes.end(), pool) != homes.end();
    if (!home && !homes.empty()) continue;
    longest.all = std::max(longest.all, longest_[pool].all);
    longest.left = std::max(longest.left, longest_[pool].left);
  }
  return longest;
}

bool RunCore::KnowsEnds() const {
  return std::any_of(longest_.begin(), longest_.end(),
                     [](const LongestLife& one) { return one.all > Time{}; });
}

// `rounds`: as many of them one after the other.
bool RunCore::IsInTime(const Worker& worker, ClassId of, Time estimate, uint64_t rounds) const {
  if (!worker.ends) return true;
  const Time left = (*worker.ends - now_) / static_cast<int64_t>(rounds);
  // Nobody knows: half of its time is a fair try.
  if (estimate <= Time{}) return left >= worker.lives / 2;
  // What is thought to take all of a worker's time is tried in one that is as fresh as any.
  return std::min(estimate, LongestOf(of).left / 10 * 9) <= left;
}

bool RunCore::HasTimeFor(const Worker& worker, ClassId of) const {
  const uint64_t ahead = lane(worker).held.size() + lane(worker).stale.size();
  return IsInTime(worker, of, Estimate(of), ahead / std::max<uint64_t>(PlacesOf(worker), 1) + 1);
}

bool RunCore::HasTimeFor(const Worker& worker, const Work& open) const {
  return open.past->estimate <= Time{} ||
         IsInTime(worker, tasks_.ClassOf(open.task), open.past->estimate, 1);
}

bool RunCore::IsAtItsWall(const Worker& worker) const {
  return worker.ends && now_ >= *worker.ends - std::min(kWall, worker.lives / 4);
}

// It ran until its worker's time was over: it takes longer, and is tried where there is more. Where
// it had nearly all that there is it ends, and its state with it: then the answer is true.
bool RunCore::EndsAtWall(const Worker& worker, Work& open) {
  if (!IsAtItsWall(worker) || !open.out()->run) return false;
  const LongestLife longest = LongestOf(open.out()->of);
  // Of its worker's time, as far as anybody knows: one that was not heard any more may have been
  // done with it, and its end is noticed when it is noticed.
  Time ran = std::min(worker.last_heard, *worker.ends) - open.out()->run->since;
  // Each time it is tried where there is twice as much, until nobody has that.
  ran = std::max(ran, longest.all / 32);
  const Time estimate = 2 * std::max(ran, open.past->estimate);
  const bool had_all = ran >= longest.all / 20 * 17 || open.past->estimate >= longest.all;
  const auto longer = had_all ? classes_.WithLongerLife(tasks_.ClassOf(open.task)) : std::nullopt;
  if (longer) MoveTo(*longer, open.task);
  if (longer || !had_all) {
    open.past.Edit().estimate = estimate;
    return false;
  }
  const auto seconds = [](Time time) { return std::chrono::duration<double>(time).count(); };
  TaskResult result;
  result.task = open.task;
  result.attempt = open.attempt;
  result.outcome = Outcome::kTimeout;
  result.details.Edit().exit = -9;  // as far as is known: it went with its worker
  result.details.Edit().error = fmt::format(
      "it ran for {:.0f} s until its worker's time was over, and no worker has more than {:.0f} s",
      seconds(ran), seconds(longest.all));
  Finish(std::move(result), worker.ref(), std::max<uint64_t>(open.attempts, 1));
  return true;
}

// Whoever has no time for anything that is left makes room for a fresh one.
void RunCore::LetSpentGo() {
  if (drained_ || finished_ || tasks_.ready() == 0 || fleet_.awaiting() > 0) return;
  for (Worker& worker : workers_.all()) {
    const Lane& l = lane(worker);
    if (!worker.Takes() || !worker.ends || !l.held.empty() || !l.stale.empty()) continue;
    if (HasNothingFor(worker)) fleet_.LetGo(worker, "its time is too short for what is left");
  }
}

bool RunCore::HasNothingFor(const Worker& worker) {
  // What it is too small for is no matter of its time.
  const auto has_time = [&](ClassId of) { return !Suits(worker, of) || HasTimeFor(worker, of); };
  if (tasks_.ready() > tasks_.choosy()) {
    for (ClassId of = 0; of < classes_.size(); ++of) {
      if (tasks_.ready_of(of) > 0 && has_time(of)) return false;
    }
    return true;
  }
  const auto open = tasks_.Open();
  return std::none_of(open.begin(), open.end(), [&](const Work* work) {
    return work->ready() && has_time(tasks_.ClassOf(work->task)) && HasTimeFor(worker, *work);
  });
}

}  // namespace cq
