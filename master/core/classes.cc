// What tasks ask for, and which workers have it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/assert.h"
#include "master/core/dispatch.h"
#include "master/core/reserver.h"
#include "master/core/run_core.h"

namespace cq {
namespace {

/// A class of longer tasks gets none ahead: whoever waits then gains nothing worth the order.
constexpr Time kShort = std::chrono::seconds(1);

}  // namespace

void RunCore::OnPool(size_t pool, bool closed) { classes_.SetClosed(pool, closed); }

// In a session that begins: of which pool it is, and how many tasks it runs at a time.
void RunCore::Admit(Worker& worker) {
  Lane& l = lane(worker);
  auto& pools = options_.pools;
  // Whoever was started without a word of pools is of the first.
  const auto pool = std::find_if(pools.begin(), pools.end(), [&](const PoolKind& kind) {
    return worker.pool.empty() || kind.name == worker.pool;
  });
  l.pool.reset();
  l.places = tasks_.several() ? worker.slots : worker.has.Places(classes_[0].request, worker.slots);
  if (pool == pools.end()) return;
  l.pool = static_cast<size_t>(pool - pools.begin());
  // What was not said of a pool its workers say: the largest counts.
  Capacity& known = pool->capacity;
  const auto learn = [](std::optional<uint64_t>& of_pool, std::optional<uint64_t> of_worker) {
    if (!of_worker || (of_pool && *of_pool >= *of_worker)) return false;
    of_pool = of_worker;
    return true;
  };
  const bool cpus = learn(known.cpus, worker.has.cpus);
  const bool memory = learn(known.memory_bytes, worker.has.memory_bytes);
  if (cpus || memory) classes_.FindHomes();
  for (const auto& [name, count] : known.needs) {
    const auto has = worker.has.needs.find(name);
    const uint64_t there = has == worker.has.needs.end() ? 0 : has->second;
    if (there >= count) continue;
    out_.Tell(Note::Kind::kWarning,
              fmt::format("worker {} on {} has {} {}, and its pool '{}' was said to have {}",
                          worker.number, worker.host, name, there, pool->name, count));
  }
}

void RunCore::Commit(const Worker& worker, const Work& open) {
  if (!tasks_.several()) return;
  const ClassId of = open.out()->of;
  lane(worker).held_of_class[of] += open.count;
  lane(worker).committed.Add(worker.has.Share(classes_[of].request), open.count);
}

// Anew: what the worker has, or what classes there are, is not as it was.
void RunCore::CountCommitted(const Worker& worker) {
  lane(worker).held_of_class.clear();
  lane(worker).committed = {};
  for (const Work* open : lane(worker).held.All()) Commit(worker, *open);
}

bool RunCore::Suits(const Worker& worker, ClassId of) const {
  const auto& pool = lane(worker).pool;
  const TaskRequest& request = classes_[of].request;
  if (!pool || worker.slots == 0) return false;
  // A little less than what it asks for was left when its end became known; before, it is as its
  // pool's.
  const uint64_t time_ms = options_.pools[*pool].time_ms;
  const Time life = worker.ends || time_ms == 0 ? worker.lives : std::chrono::milliseconds(time_ms);
  const bool lives = life == Time{} || std::chrono::milliseconds(request.time_ms) * 9 / 10 <= life;
  return (request.pool.empty() || request.pool == options_.pools[*pool].name) && lives &&
         worker.has.Holds(request);
}

Room RunCore::RoomFor(const Worker& worker, ClassId of) const {
  if (worker.ends && !HasTimeFor(worker, of)) return Room::kNone;
  if (!tasks_.several()) return Room::kNow;
  const Lane& l = lane(worker);
  if (!Suits(worker, of) || !Reserver(*this).LetsBy(worker, of)) return Room::kNone;
  const TaskClass& one = classes_[of];
  const uint64_t held = l.held.size() + l.stale.size();
  const bool leaves = l.committed.Leaves(worker.has, worker.has.Share(one.request));
  if (held < worker.slots && leaves) return Room::kNow;
  const bool alone = l.held_of_class.size() == 1 && l.held_of_class.contains(of);
  if (!alone || one.pace.mean <= Time{} || one.pace.mean > kShort) return Room::kNone;
  const uint64_t places = worker.has.Places(one.request, worker.slots);
  return held < places * (1 + PrefetchPerSlot(one.pace.mean)) ? Room::kBehind : Room::kNone;
}

bool RunCore::IsHome(const Worker& worker, ClassId of) const {
  const auto& homes = classes_[of].homes;
  return std::find(homes.begin(), homes.end(), lane(worker).pool) != homes.end();
}

uint64_t RunCore::PlacesOf(const Worker& worker) const {
  const Lane& l = lane(worker);
  if (l.held_of_class.size() != 1) return l.places;
  return worker.has.Places(classes_[l.held_of_class.begin()->first].request, worker.slots);
}

// Nothing can ever go out: whoever is here is too small for what is left, and nobody else comes.
std::string RunCore::NobodySuits() const {
  if (tasks_.out() > 0 || tasks_.waiting() > 0 || tasks_.ready() == 0 || drained_) return {};
  const TaskClass* left = nullptr;
  const Worker* largest = nullptr;
  for (ClassId of = 0; of < classes_.size(); ++of) {
    if (tasks_.ready_of(of) == 0) continue;
    left = &classes_[of];
    // Of a pool that nobody is here of, somebody may come.
    const bool may_come = std::any_of(left->homes.begin(), left->homes.end(), [&](size_t home) {
      const auto& all = workers_.all();
      return !classes_.closed(home) &&
             std::none_of(all.begin(), all.end(), [&](const Worker& worker) {
               return worker.here() && lane(worker).pool == home;
             });
    });
    if (may_come) return {};
    for (const Worker& worker : workers_.all()) {
      if (!worker.here()) continue;
      // One that is about to leave is replaced, or leaves for a reason that is told.
      if (Suits(worker, of)) return {};
      const auto size = [](const Worker& w) {
        return std::pair(w.has.memory_bytes.value_or(0), w.has.cpus.value_or(0));
      };
      if (largest == nullptr || size(worker) > size(*largest)) largest = &worker;
    }
  }
  if (left == nullptr || largest == nullptr) return {};
  return fmt::format(
      "tasks that are left ask for {}, and no worker has that: the largest, on {}, "
      "has {}",
      Describe(left->request), largest->host, Describe(largest->has));
}

uint64_t RunCore::SlotsIn(size_t pool) const {
  uint64_t slots = 0;
  for (const Worker& worker : workers_.all()) {
    if (worker.stays() && lane(worker).pool == pool) slots += worker.slots;
  }
  return slots;
}

WorkLeft RunCore::demand(size_t pool) {
  WorkLeft left;
  double slots = 0;
  double shared = 0;
  double seconds = 0;
  for (ClassId of = 0; of < classes_.size(); ++of) {
    const TaskClass& one = classes_[of];
    const uint64_t tasks = tasks_.left_of(of);
    const bool home = std::find(one.homes.begin(), one.homes.end(), pool) != one.homes.end();
    if (!home || tasks == 0) continue;
    const double each = classes_.SlotsOf(one, pool);
    left.tasks += tasks;
    slots += static_cast<double>(tasks) * each;
    if (one.homes.size() > 1) {
      shared += static_cast<double>(tasks) * each;
      left.with.insert(one.homes.begin(), one.homes.end());
    }
    const Pace& pace = tasks_.several() && one.pace.tasks > 0 ? one.pace : pace_;
    seconds += static_cast<double>(tasks) * each * std::chrono::duration<double>(pace.mean).count();
  }
  left.slots = static_cast<uint64_t>(std::llround(slots));
  left.shared = static_cast<uint64_t>(std::llround(shared));
  // Rows may come at any moment: what there is is kept.
  if (adding_ > 0 || asker_.owes()) {
    const uint64_t there = SlotsIn(pool);
    left.tasks = std::max(left.tasks, there);
    left.slots = std::max(left.slots, there);
  }
  if (drained_) left.tasks = left.slots = tasks_.out();
  if (slots > 0) {
    left.mean = std::chrono::duration_cast<Time>(std::chrono::duration<double>(seconds / slots));
  }
  // If all that runs has been running for longer, that.
  if (pace_.tasks > 0 && busy_ > 0 && left.mean > Time{})
    left.mean = std::max(left.mean, now_ - last_end_);
  return left;
}

}  // namespace cq
