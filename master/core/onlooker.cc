#include "master/core/onlooker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace cq {
namespace {

constexpr Time kTempoOver = std::chrono::minutes(5);
constexpr Time kTempoStep = std::chrono::seconds(5);
/// Fewer results say nothing of those to come.
constexpr uint64_t kResultsForMean = 5;

Time TimeOf(double seconds) {
  return std::chrono::duration_cast<Time>(std::chrono::duration<double>(std::max(seconds, 0.0)));
}

}  // namespace

void Tempo::Note(Time now, uint64_t done) {
  if (!notes_.empty() && now - notes_.back().first < kTempoStep) return;
  notes_.emplace_back(now, done);
  const auto old = std::find_if(notes_.begin(), notes_.end(),
                                [&](const auto& note) { return now - note.first <= kTempoOver; });
  notes_.erase(notes_.begin(), old);
}

std::optional<double> Tempo::Rate(Time now, uint64_t done) const {
  if (notes_.empty() || now - notes_.front().first < std::chrono::seconds(1)) return std::nullopt;
  const auto& [since, before] = notes_.front();
  return static_cast<double>(done - std::min(done, before)) / InSeconds(now - since);
}

std::string Onlooker::StateOf(const Worker& worker) const {
  const Lane& l = run_.lane(worker);
  if (worker.awaited()) return "of an earlier master, not heard yet";
  if (!worker.here()) return "its connection is gone";
  if (!worker.let_go.empty()) return "it leaves: " + worker.let_go;
  if (worker.leaving) return "it leaves";
  if (!l.problem.empty()) return l.problem;
  if (!l.pool) return "of a pool that is gone";
  return l.idle;
}

RunView::Member Onlooker::MemberOf(const Worker& worker) const {
  const Lane& l = run_.lane(worker);
  RunView::Member member;
  member.worker = worker.number;
  member.host = worker.host;
  member.pool = l.pool ? run_.options_.pools[*l.pool].name : worker.pool;
  member.allocation = worker.allocation;
  member.slots = worker.slots;
  member.busy = l.busy;
  member.held = l.held.size();
  if (worker.ends) member.left = std::max(*worker.ends - now_, Time{});
  member.state = StateOf(worker);
  return member;
}

RunView Onlooker::Look(size_t rows, size_t workers) const {
  RunView view;
  double worked = 0;
  const auto longer = [](const RunView::Row& a, const RunView::Row& b) {
    return std::pair(-a.running, a.task) < std::pair(-b.running, b.task);
  };
  // The longest of them: the others go as soon as there are twice as many.
  const auto keep_longest = [&] {
    const size_t kept = std::min(rows, view.rows.size());
    std::partial_sort(view.rows.begin(), view.rows.begin() + static_cast<ptrdiff_t>(kept),
                      view.rows.end(), longer);
    view.rows.resize(kept);
  };
  for (const Worker& worker : run_.workers_.all()) {
    if (worker.gone()) continue;
    if (view.members++ < workers) view.workers.push_back(MemberOf(worker));
    const Lane& l = run_.lane(worker);
    view.running += l.running;
    if (rows == 0 || l.running == 0) continue;
    for (const Work* open = l.held.newest(); open != nullptr; open = open->out()->older) {
      const auto& run = open->out()->run;
      if (!run) continue;
      const Time running = now_ - run->since;
      const TaskClass& one = run_.classes_[open->out()->of];
      worked += InSeconds(std::min(running, PaceOf(one).mean)) * run_.classes_.SlotsOf(one, l.pool);
      view.rows.push_back({run->at, worker.number, worker.index, {}, running});
      if (view.rows.size() >= 2 * rows + 1000) keep_longest();
    }
  }
  keep_longest();
  for (RunView::Row& row : view.rows) row.host = run_.workers_[row.index].host;
  view.ready = run_.tasks_.ready();
  view.waiting = run_.tasks_.waiting();
  view.out = run_.tasks_.out();
  view.slots = run_.busy_ + run_.idle_;
  view.idle = run_.idle_;
  view.rate = run_.tempo_.Rate(now_, run_.tasks_.done_count());
  view.left = TimeToEnd(worked);
  view.bound = Bound(view);
  view.proposer = run_.asker_.Text();
  return view;
}

const Pace& Onlooker::PaceOf(const TaskClass& one) const {
  return run_.tasks_.several() && one.pace.ended >= kResultsForMean ? one.pace : run_.pace_;
}

// `worked`: what those that run have behind them, in seconds of a slot.
std::optional<std::pair<Time, Time>> Onlooker::TimeToEnd(double worked) const {
  std::vector<double> slots(run_.options_.pools.size());
  double all_slots = 0;
  for (const Worker& worker : run_.workers_.all()) {
    const auto& pool = run_.lane(worker).pool;
    if (!worker.Takes() || !pool) continue;
    slots[*pool] += static_cast<double>(worker.slots);
    all_slots += static_cast<double>(worker.slots);
  }
  std::vector<double> most(run_.options_.pools.size());
  double least = -worked;
  Time longest{};
  for (ClassId of = 0; of < run_.classes_.size(); ++of) {
    const TaskClass& one = run_.classes_[of];
    const uint64_t left = run_.tasks_.left_of(of);
    if (left == 0) continue;
    const Pace& pace = PaceOf(one);
    if (pace.ended < kResultsForMean || one.homes.empty()) return std::nullopt;
    const double mean = InSeconds(pace.mean);
    const double error = 2 * pace.Error();
    const double in_slots = static_cast<double>(left) * run_.classes_.SlotsOf(one, one.homes[0]);
    least += in_slots * std::max(mean - error, 0.0);
    most[one.homes[0]] += in_slots * (mean + error);
    longest = std::max(longest, pace.Most());
  }
  double last = 0;
  for (size_t pool = 0; pool < most.size(); ++pool) {
    if (most[pool] == 0) continue;
    if (slots[pool] == 0) return std::nullopt;
    last = std::max(last, most[pool] / slots[pool]);
  }
  if (all_slots == 0) return std::nullopt;
  return std::pair(TimeOf(least / all_slots), TimeOf(last) + longest);
}

std::string Onlooker::Bound(const RunView& view) const {
  if (run_.drained_) return fmt::format("nothing more is started: {}", *run_.drained_);
  if (run_.fleet_.awaiting() > 0) {
    return fmt::format("{} workers of an earlier master, who may run some of its rows",
                       run_.fleet_.awaiting());
  }
  if (view.ready + view.waiting + view.out == 0) return {};
  if (run_.workers_.here() == 0) return "workers: none is here";
  const bool is_last = view.ready == 0 && view.waiting == 0;
  if (is_last && !view.rows.empty()) {
    return fmt::format(
        "the rows that run: nothing else is left, and the longest, {}, runs for {:.0f} s",
        view.rows[0].task, InSeconds(view.rows[0].running));
  }
  if (is_last) return "the rows that are with workers: nothing else is left";
  if (view.idle == 0 && view.ready > 0) {
    return fmt::format("slots: {} rows wait for one of {}", view.ready, view.slots);
  }
  for (ClassId of = 0; run_.tasks_.several() && of < run_.classes_.size(); ++of) {
    if (run_.tasks_.ready_of(of) == 0) continue;
    return fmt::format(
        "what rows ask for: {} slots idle, and {} rows wait that ask for {}, or for more",
        view.idle, view.ready, Describe(run_.classes_[of].request));
  }
  if (view.ready > 0 && run_.options_.delay > Time{})
    return "the time between two starts (--delay)";
  if (view.ready > 0) {
    return fmt::format("{} slots idle, and {} rows may not go there ('cq explain' says why)",
                       view.idle, view.ready);
  }
  return fmt::format("{} rows wait to be tried again", view.waiting);
}

}  // namespace cq
