#include "master/pools/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace cq {
namespace {

/// Less work than that, for each of its slots, is not worth a further worker.
constexpr std::chrono::nanoseconds kWorthAWorker = std::chrono::seconds(10);
constexpr Time kFirstPause = std::chrono::seconds(30);
constexpr Time kLongestPause = std::chrono::minutes(10);
/// A pool where so many workers in a row do not come to life is sick.
constexpr unsigned kDeadLaunches = 3;

uint64_t CeilDiv(uint64_t a, uint64_t b) { return a / b + (a % b == 0 ? 0 : 1); }

}  // namespace

uint64_t Scale::Wanted(const Demand& demand) const {
  const uint64_t could_fill = CeilDiv(demand.tasks, bounds_.slots);
  uint64_t worth = could_fill;
  if (demand.mean > std::chrono::nanoseconds::zero()) {
    const auto work = static_cast<double>(demand.tasks) * static_cast<double>(demand.mean.count());
    const double each = static_cast<double>(kWorthAWorker.count()) * bounds_.slots;
    if (work < each * static_cast<double>(worth)) worth = static_cast<uint64_t>(work / each) + 1;
    worth = std::min(worth, could_fill);
  }
  return std::max(Least(demand), std::min<uint64_t>(worth, bounds_.max));
}

uint64_t Scale::Least(const Demand& demand) const {
  if (bounds_.always) return bounds_.min;
  return std::min<uint64_t>(bounds_.min, CeilDiv(demand.tasks, bounds_.slots));
}

Scale::Step Scale::Next(Time now, const Demand& demand, const Supply& supply) {
  Step step;
  const uint64_t wanted = Wanted(demand);
  const uint64_t there = supply.alive + supply.starting;
  if (there < wanted && !stopped_ && supply.starting == 0 && now >= refused_until_) {
    step.start = static_cast<unsigned>(std::min<uint64_t>(
        wanted - there, at_once_.value_or(std::numeric_limits<unsigned>::max())));
  }
  const uint64_t surplus = there > wanted && supply.starting == 0
                               ? std::min<uint64_t>(there - wanted, supply.pending.size())
                               : 0;
  const bool at_once = std::exchange(withdraw_now_, withdraw_now_ && supply.starting > 0);
  if (surplus == 0) {
    surplus_since_.reset();
    return step;
  }
  if (!surplus_since_) surplus_since_ = now;
  if (now - *surplus_since_ < kSteady && !at_once) return step;
  surplus_since_.reset();
  step.withdraw.assign(supply.pending.end() - static_cast<ptrdiff_t>(surplus),
                       supply.pending.end());
  withdrawn_.insert(step.withdraw.begin(), step.withdraw.end());
  return step;
}

void Scale::SetBounds(unsigned min, unsigned max) {
  bounds_.min = min;
  bounds_.max = max;
  withdraw_now_ = true;
  stopped_.reset();
  dead_in_a_row_ = 0;
  at_once_.reset();
  refused_until_ = pause_ = {};
}

void Scale::OnAccepted() {
  if (dead_in_a_row_ < kDeadLaunches) pause_ = {};
  if (!at_once_) return;
  // What goes well may be tried with more.
  at_once_ = *at_once_ >= bounds_.max ? std::nullopt : std::optional(*at_once_ * 2);
}

Time Scale::OnRefused(Time now, unsigned workers) {
  at_once_ = std::max(1u, workers / 2);
  Pause(now);
  return refused_until_;
}

void Scale::Pause(Time now) {
  pause_ = pause_ == Time{} ? kFirstPause : std::min(2 * pause_, kLongestPause);
  refused_until_ = now + pause_;
}

void Scale::OnDeadLaunch(Time now, const std::string& how, bool others) {
  if (++dead_in_a_row_ < kDeadLaunches) return;
  // It may be one machine's fault.
  if (others) return Pause(now);
  Stop(fmt::format("{} workers in a row ended before they connected; the last: {}", dead_in_a_row_,
                   how));
}

void Scale::Stop(std::string reason) {
  if (!stopped_) stopped_ = std::move(reason);
}

}  // namespace cq
