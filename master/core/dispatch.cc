#include "master/core/dispatch.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "base/assert.h"
#include "protocol/limits.h"

namespace cq {
namespace {

using std::chrono::nanoseconds;

/// Where there are more, what takes a look at all of them waits so long for each.
constexpr size_t kFewWorkers = 256;
constexpr Time kForEachWorker = std::chrono::microseconds(1);
constexpr nanoseconds kWorkAtHand = std::chrono::milliseconds(50);
/// Less than that is not worth a message, even at the end of a run.
constexpr nanoseconds kLeastWork = std::chrono::milliseconds(1);
constexpr uint64_t kPrefetchOfGroup = 4;
constexpr uint64_t kSpanMax = 1024;
constexpr uint64_t kUncommittedMax = 20'000;
/// So many tasks are out as prefetch at most, whatever their workers could take: each is an entry
/// in the master's books, and thousands of workers with short tasks wait for the master anyway.
constexpr uint64_t kPrefetchInAll = 4'000'000;

}  // namespace

// What a worker holds beyond one task a slot, as far as it is known not to be asked back already.
uint64_t Dispatcher::Surplus(const Worker& worker) const {
  const Lane& lane = run_.lane(worker);
  const uint64_t busy = std::max(run_.PlacesOf(worker), lane.running) + lane.retracting;
  return lane.held.size() > busy ? lane.held.size() - busy : 0;
}

uint64_t PrefetchPerSlot(nanoseconds mean) {
  if (mean <= nanoseconds::zero()) return 1;
  return std::clamp<uint64_t>(static_cast<uint64_t>(kWorkAtHand / mean), 1, kPrefetchMax);
}

// One task a slot and the prefetch; but of what is left no more than half of the worker's fair
// share beyond one a slot, so that the last tasks spread over all workers (guided self-scheduling),
// unless they are so short that it does not matter.
uint64_t Dispatcher::Target(const Worker& worker, uint64_t total_slots) const {
  const uint64_t slots = run_.lane(worker).places;
  const uint64_t most = std::min({worker.capacity, kHeldMax, run_.TasksLeftTo(worker)});
  if (const uint64_t chunk = Chunk(); chunk > 0) return std::min(slots * chunk, most);
  uint64_t each = PrefetchPerSlot(run_.pace_.mean);
  each = std::clamp<uint64_t>(kPrefetchInAll / total_slots, 1, each);
  // Another group's task at a slot that has run out of its own costs more than one that waits.
  if (run_.tasks_.grouped()) each = std::max(each, kPrefetchOfGroup);
  const uint64_t prefetch = slots * each;
  const uint64_t left = run_.tasks_.ready() + run_.lane(worker).held.size();
  const uint64_t fair = (left * slots + 2 * total_slots - 1) / (2 * total_slots);
  const nanoseconds mean = run_.pace_.mean;
  const uint64_t least = mean > nanoseconds::zero() ? kLeastWork / mean : 0;
  const uint64_t share = std::max(fair, slots * least);
  return std::min(slots + std::min(prefetch, share), most);
}

// What waits at a slot would be started unseen.
uint64_t Dispatcher::Chunk() const {
  return run_.options_.delay > Time{} ? 1 : run_.options_.text.chunk;
}

// What takes a look at all workers is done less often where there are thousands.
bool Dispatcher::IsTimeForAll(Time& last) const {
  const auto workers = run_.workers_.all().size();
  if (workers > kFewWorkers && run_.now_ - last < workers * kForEachWorker) return false;
  last = run_.now_;
  return true;
}

void Dispatcher::Give() {
  std::vector<WorkerIndex> dirty;
  dirty.swap(run_.dirty_);
  for (const WorkerIndex index : dirty) run_.lanes_[index].dirty = false;
  if (run_.all_dirty_) {
    dirty.clear();
    for (const Worker& worker : run_.workers_.all()) dirty.push_back(worker.index);
  }
  run_.all_dirty_ = false;
  if (run_.tasks_.ready() == 0 || run_.drained_ || run_.finished_) return;
  if (run_.uncommitted_.tasks() > kUncommittedMax || run_.asker_.untold() > kUncommittedMax) {
    // The journal is behind, or the proposer: results must not pile up in memory faster than they
    // can be written, and told.
    run_.all_dirty_ = true;
    return;
  }
  if (run_.options_.delay > Time{}) {
    // Whoever has nothing now is looked at again then.
    run_.all_dirty_ = true;
    if (run_.now_ < run_.next_start_) return;
    allowed_ = 1;
  }
  if (IsTimeForAll(run_.slots_counted_)) run_.live_slots_ = run_.workers_.live_slots();
  const uint64_t total = std::max({run_.live_slots_, run_.options_.expected_slots, uint64_t{1}});
  // Those with most idle slots first: at the tail the few that are left go where slots idle, and
  // what was asked back for one does not return to whom it was taken from.
  std::vector<std::pair<int64_t, WorkerIndex>> by_surplus;
  by_surplus.reserve(dirty.size());
  for (const WorkerIndex index : dirty) {
    const auto held = static_cast<int64_t>(run_.lanes_[index].held.size());
    by_surplus.emplace_back(held - static_cast<int64_t>(run_.lanes_[index].places), index);
  }
  std::sort(by_surplus.begin(), by_surplus.end());
  for (const auto& [surplus, index] : by_surplus) GiveTo(run_.workers_[index], total);
}

// Of those that could take all classes that this one could.
bool Dispatcher::AnotherMayDoBetter(const Worker& than) const {
  const auto suits = [&](const Worker& worker) {
    for (ClassId of = 0; of < run_.tasks_.classes(); ++of) {
      if (run_.tasks_.ready_of(of) > 0 && run_.Suits(than, of) && !run_.Suits(worker, of)) {
        return false;
      }
    }
    return true;
  };
  const auto& all = run_.workers_.all();
  return run_.fleet_.expected() > 0 ||
         std::any_of(all.begin(), all.end(), [&](const Worker& worker) {
           return worker.Takes() && !OnProbation(run_.lane(worker)) && suits(worker);
         });
}

void Dispatcher::GiveTo(Worker& worker, uint64_t total_slots) {
  if (!worker.Takes() || !run_.MayTake(worker) || allowed_ == 0) return;
  if (OnProbation(run_.lane(worker)) && AnotherMayDoBetter(worker)) return;
  const uint64_t target = Target(worker, total_slots);
  struct Give give;
  give.to = worker.here()->connection;
  give.session = worker.session;
  const bool empty = run_.lane(worker).held.empty() && run_.lane(worker).stale.empty();
  const auto may_start = [&](const Work& open) {
    return !run_.Refused(open, worker) && RoomFor(worker, open);
  };
  const auto suspect = empty ? run_.tasks_.PopSuspect(may_start) : std::nullopt;
  if (suspect) Assign(worker, {*suspect, 0}, give);
  const uint64_t together = SpanLength();
  while (allowed_ > 0 && run_.lane(worker).suspects == 0 &&
         run_.lane(worker).held.size() + run_.lane(worker).stale.size() < target) {
    const uint64_t room = target - run_.lane(worker).held.size() - run_.lane(worker).stale.size();
    const AttemptSpan next = PopFor(worker, std::min(together, room));
    if (next.count == 0) break;
    Assign(worker, next, give);
    if (give.grants.size() == kBatchMax) Send(worker, give);
  }
  if (!give.grants.empty()) Send(worker, give);
}

// How many fresh tasks go out together.
uint64_t Dispatcher::SpanLength() const {
  const nanoseconds mean = run_.pace_.mean;
  const bool alike = Chunk() == 0 && !run_.tasks_.several();
  if (mean <= nanoseconds::zero() || !alike) return 1;
  return std::clamp<uint64_t>(static_cast<uint64_t>(run_.options_.span_time / mean), 1, kSpanMax);
}

void Dispatcher::Send(Worker& worker, struct Give& give) {
  // They wake it together.
  run_.SendAcks(worker);
  run_.out_.Add(give);
  give.grants.clear();
}

// What was tried comes before what is fresh; of that so many at most.
AttemptSpan Dispatcher::PopFor(Worker& worker, uint64_t most) {
  constexpr AttemptSpan kNothing{0, 0, 0};
  // Of one class what is true of one is true of all.
  if (!run_.tasks_.several() && run_.RoomFor(worker, 0) == Room::kNone) return kNothing;
  if (const auto task = PopTried(worker)) return {*task, 0};
  if (run_.tasks_.sections() > 0) {
    const auto task = PopOfSection(worker);
    return task ? AttemptSpan{*task, 0} : kNothing;
  }
  // All of these are of the first class.
  if (run_.RoomFor(worker, 0) == Room::kNone) return kNothing;
  const AttemptSpan fresh = run_.tasks_.PopFresh(most);
  CQ_ASSERT(fresh.count == 0 || fresh.last().task <= run_.tasks_.mark(),
            "task {} goes out above the mark {}", fresh.last().task, run_.tasks_.mark());
  return fresh;
}

bool Dispatcher::RoomFor(const Worker& worker, const Work& open) const {
  return run_.HasTimeFor(worker, open) &&
         run_.RoomFor(worker, run_.tasks_.ClassOf(open.task)) != Room::kNone;
}

std::optional<TaskId> Dispatcher::PopTried(const Worker& worker) {
  TaskTable& tasks = run_.tasks_;
  const bool charged_too = run_.lane(worker).charged == 0;
  const auto refused = tasks.PopRefused([&](const Work& open) {
    return (charged_too || open.past->charged.empty()) && !run_.Refused(open, worker) &&
           RoomFor(worker, open);
  });
  if (refused) return refused;
  const auto fits = [&](const Work& open) {
    return RoomFor(worker, open) && MayTryHere(worker, open);
  };
  const auto charged = charged_too ? tasks.PopCharged(fits) : std::nullopt;
  if (charged) return charged;
  if (const auto task = tasks.PopRetry(fits)) return task;
  return tasks.PopReturned([&](const Work& open) { return RoomFor(worker, open); });
}

std::optional<TaskId> Dispatcher::PopOfSection(Worker& worker) {
  TaskTable& tasks = run_.tasks_;
  while (const auto section = tasks.grouped() ? PickGroup(worker) : PickClass(worker)) {
    const auto task = tasks.PopFreshOf(*section);
    if (!task && tasks.left_in(*section) > 0) return std::nullopt;  // above the mark
    if (!task) continue;
    if (tasks.grouped()) tasks.OpenUp(*task).group = *section;
    return task;
  }
  return std::nullopt;
}

// Of the classes for which there is room the one whose next task stands first in the user's order;
// those for which the worker's pool is there before others.
std::optional<uint32_t> Dispatcher::PickClass(const Worker& worker) const {
  const TaskTable& tasks = run_.tasks_;
  constexpr auto kNone = std::pair(2, uint64_t{0});
  auto first = kNone;
  auto first_with_room = kNone;
  std::optional<uint32_t> best;
  Room room = Room::kNone;
  for (uint32_t section = 0; section < tasks.sections(); ++section) {
    const ClassId of = tasks.ClassOfSection(section);
    if (tasks.left_in(section) == 0 || !run_.Suits(worker, of)) continue;
    const auto rank = std::pair(run_.IsHome(worker, of) ? 0 : 1, tasks.next_rank(section));
    first = std::min(first, rank);
    if (rank >= first_with_room) continue;
    const Room here = run_.RoomFor(worker, of);
    if (here == Room::kNone) continue;
    first_with_room = rank;
    best = section;
    room = here;
  }
  // Nothing waits there behind its like while another's turn comes, unless that is soon.
  if (room != Room::kBehind || first == first_with_room) return best;
  const nanoseconds mean = run_.classes_[tasks.ClassOfSection(*best)].pace.mean;
  return mean < kWorkAtHand ? best : std::nullopt;
}

// A task that failed somewhere is tried next on another host, else by another worker, as long as
// there are any. If all goes well meanwhile where it failed, it does not wait for long: it is then
// rather the task's own fault.
bool Dispatcher::MayTryHere(const Worker& worker, const Work& open) {
  if (open.past->failed_on.empty()) return true;
  const ClassId of = run_.tasks_.ClassOf(open.task);
  const auto takes = [&](const Worker& other) {
    return run_.MayTake(other) && other.here() && !OnProbation(run_.lane(other)) &&
           run_.Suits(other, of);
  };
  Takers& takers = takers_[of];
  if (takers.on.empty()) {
    takers.on.resize(run_.workers_.hosts().size());
    for (const Worker& other : run_.workers_.all()) {
      if (!takes(other)) continue;
      ++takers.on[other.host_index];
      ++takers.in_all;
    }
  }
  std::set<HostIndex> hosts;
  std::set<uint64_t> workers;
  uint64_t on_hosts = 0;
  uint64_t themselves = 0;
  for (const WorkerRef& failed : open.past->failed_on) {
    if (!workers.insert(failed.number).second) continue;
    const Worker* other = run_.workers_.Find(failed);
    if (other != nullptr && takes(*other)) ++themselves;
    if (hosts.insert(failed.host).second) on_hosts += takers.on[failed.host];
  }
  if (!hosts.contains(worker.host_index)) return true;
  const bool elsewhere = takers.in_all > on_hosts;
  const bool by_others = on_hosts > themselves;
  if (!elsewhere && (!workers.contains(worker.number) || !by_others)) return true;
  const bool failing = run_.workers_.HostOf(worker).failing;
  return run_.now_ >= open.past->not_before + (failing ? kLongPatience : kPatience);
}

// Each slot stays on its group as long as that has tasks. Then comes the first group that no slot
// is on, and if there is none, the one that most is left of for each slot that is on it. So a group
// is loaded by few slots.
std::optional<uint32_t> Dispatcher::PickGroup(Worker& worker) {
  TaskTable& tasks = run_.tasks_;
  std::erase_if(run_.lane(worker).groups,
                [&](uint32_t group) { return tasks.left_in(group) == 0; });
  const auto held = [&](uint32_t group) {
    const auto count = run_.lane(worker).held_of_group.find(group);
    return count == run_.lane(worker).held_of_group.end() ? 0 : count->second;
  };
  const auto room = [&](uint32_t group) {
    return run_.RoomFor(worker, tasks.ClassOfSection(group)) != Room::kNone;
  };
  std::vector<uint32_t> mine;
  std::copy_if(run_.lane(worker).groups.begin(), run_.lane(worker).groups.end(),
               std::back_inserter(mine), room);
  // Where there is room for none of its own, another may do.
  if (run_.lane(worker).groups.size() < run_.lane(worker).places || mine.empty()) {
    std::map<uint32_t, uint64_t> on;
    for (const Worker& other : run_.workers_.all()) {
      if (!other.Takes()) continue;
      for (const uint32_t group : run_.lane(other).groups) ++on[group];
    }
    std::optional<uint32_t> best;
    double most = 0;
    for (uint32_t group = 0; group < tasks.sections(); ++group) {
      if (tasks.left_in(group) == 0 || !room(group)) continue;
      const auto slots = on.find(group);
      if (slots == on.end()) {
        best = group;
        break;
      }
      const double each =
          static_cast<double>(tasks.left_in(group)) / static_cast<double>(slots->second);
      if (each > most) {
        most = each;
        best = group;
      }
    }
    if (!best && mine.empty()) return std::nullopt;
    if (best) {
      run_.lane(worker).groups.push_back(*best);
      return best;
    }
  }
  return *std::min_element(mine.begin(), mine.end(),
                           [&](uint32_t a, uint32_t b) { return held(a) < held(b); });
}

void Dispatcher::Assign(Worker& worker, AttemptSpan tasks, struct Give& give) {
  allowed_ -= tasks.count;
  run_.next_start_ = run_.now_ + run_.options_.delay;
  tasks.attempt = MakeSerial(run_.options_.epoch, run_.next_attempt_);
  run_.next_attempt_ += tasks.count;
  Work& open = run_.tasks_.Assign(tasks, worker.index, worker.session);
  open.out()->given = run_.now_;
  if (run_.tasks_.several()) {
    run_.classes_[open.out()->of].waits_since = run_.now_;
    if (run_.lane(worker).reserved == open.out()->of) run_.lane(worker).reserved.reset();
  }
  ++open.attempts;
  run_.Hold(worker, open);
  const bool dangerous = !open.past->charged.empty() || open.past->suspect != 0;
  give.grants.push_back({tasks, open.attempts, dangerous, open.out()->of});
}

void Dispatcher::Retract() {
  if (run_.idle_ == 0 || run_.drained_ || run_.finished_) return;
  if (!IsTimeForAll(run_.retracted_)) return;
  uint64_t idle = 0;
  uint64_t coming = 0;
  uint64_t most = 0;
  std::vector<const Worker*> idlers;
  for (const Worker& worker : run_.workers_.all()) {
    if (worker.here()) coming += run_.lane(worker).retracting;
    if (!worker.Takes()) continue;
    const uint64_t busy = run_.lane(worker).held.size() + run_.lane(worker).stale.size();
    const uint64_t places = run_.PlacesOf(worker);
    const bool has_time = run_.tasks_.several() || run_.HasTimeFor(worker, 0);
    if (busy < places && has_time && !HasWork(worker)) {
      idle += places - busy;
      idlers.push_back(&worker);
    }
    most = std::max(most, Surplus(worker));
  }
  std::set<const Worker*> had_none;
  while (idle > coming && most > 0) {
    Worker* fullest = nullptr;
    for (Worker& worker : run_.workers_.all()) {
      if (worker.here() && Surplus(worker) > 0 && !had_none.contains(&worker) &&
          (fullest == nullptr || Surplus(worker) > Surplus(*fullest))) {
        fullest = &worker;
      }
    }
    if (fullest == nullptr) return;
    const uint64_t half = (Surplus(*fullest) + 1) / 2;
    const uint64_t taken =
        RetractFrom(*fullest, std::min(half, idle - coming),
                    [&](const Work& open) { return SomebodyTakes(open, idlers); });
    if (taken == 0) had_none.insert(fullest);
    coming += taken;
  }
}

// Something is ready that this worker could begin.
bool Dispatcher::HasWork(const Worker& worker) const {
  for (ClassId of = 0; run_.tasks_.several() && of < run_.tasks_.classes(); ++of) {
    if (run_.tasks_.ready_of(of) > 0 && run_.RoomFor(worker, of) == Room::kNow) {
      return true;
    }
  }
  return false;
}

// What was tried elsewhere may come back here only: it would go to and fro.
bool Dispatcher::SomebodyTakes(const Work& open, const std::vector<const Worker*>& idlers) {
  const bool any = open.past->failed_on.empty() && open.past->refused.empty();
  return (any && !run_.tasks_.several()) ||
         std::any_of(idlers.begin(), idlers.end(), [&](const Worker* idler) {
           return !run_.Refused(open, *idler) && MayTryHere(*idler, open) &&
                  run_.RoomFor(*idler, open.out()->of) == Room::kNow;
         });
}

void Dispatcher::CountRunning() {
  if (!IsTimeForAll(run_.pace_.counted)) return;
  const bool several = run_.tasks_.several();
  std::vector<Time> all;
  std::vector<std::vector<Time>> of_class(run_.classes_.size());
  const auto forget = [](Pace& pace) { pace.SetRunning({}); };
  forget(run_.pace_);
  for (ClassId of = 0; of < run_.classes_.size(); ++of) forget(run_.classes_[of].pace);
  for (const Worker& worker : run_.workers_.all()) {
    for (const Work* open : run_.lane(worker).held.All()) {
      const Work::Out& out = *open->out();
      if (!out.run) continue;
      const Time ran = run_.now_ - out.run->since;
      if (ran > run_.pace_.Most()) all.push_back(ran);
      if (several && ran > run_.classes_[out.of].pace.Most()) of_class[out.of].push_back(ran);
    }
  }
  run_.pace_.SetRunning(std::move(all));
  for (ClassId of = 0; of < of_class.size(); ++of) {
    run_.classes_[of].pace.SetRunning(std::move(of_class[of]));
  }
}

// What waits there behind others would not end in its worker's time.
void Dispatcher::RetractLate() {
  // What takes longest, and whether nobody knows of some how long they take.
  Time longest{};
  bool unknown = false;
  for (ClassId of = 0; of < run_.classes_.size(); ++of) {
    const Time estimate = run_.Estimate(of);
    unknown = unknown || estimate <= Time{};
    longest = std::max(longest, std::min(estimate, run_.LongestOf(of).left / 10 * 9));
  }
  for (Worker& worker : run_.workers_.all()) {
    if (!worker.here() || !worker.ends || Surplus(worker) == 0) continue;
    const Time left = *worker.ends - run_.now_;
    if (left >= longest && (!unknown || left >= worker.lives / 2)) continue;
    RetractFrom(worker, Surplus(worker), [&](const Work& open) {
      return !run_.IsInTime(worker, open.out()->of, run_.Estimate(open.out()->of), 1);
    });
  }
}

uint64_t Dispatcher::RetractFrom(Worker& worker, uint64_t wanted,
                                 const std::function<bool(const Work&)>& which) {
  cq::Retract message;
  message.run = run_.options_.text.run;
  const uint64_t most = std::min<uint64_t>(wanted, kBatchMax);
  for (Work* open = run_.lane(worker).held.newest(); open != nullptr; open = open->out()->older) {
    if (message.attempts.size() == most) break;
    // Of a span what stands behind the one that runs was not started.
    const TaskId last = open->task + open->count - 1;
    const Work::Out& out = *open->out();
    if (out.retracting || (out.run && out.run->at == last)) continue;
    if (!which(*open)) continue;
    if (open->count > 1) open = run_.tasks_.Find(last);
    CQ_ASSERT(open->count == 1 && open->out()->worker == worker.index,
              "task {} is asked back from worker {}", open->task, worker.number);
    open->out()->retracting = true;
    ++run_.lane(worker).retracting;
    message.attempts.push_back({open->task, open->attempt});
  }
  const uint64_t taken = message.attempts.size();
  if (taken > 0) run_.SendTo(worker, std::move(message));
  return taken;
}

}  // namespace cq
