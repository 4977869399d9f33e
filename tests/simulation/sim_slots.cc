#include "tests/simulation/sim_slots.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "protocol/pushed_rows.h"
#include "protocol/spans.h"
#include "tests/simulation/truth.h"

namespace cq::sim {

using std::chrono::milliseconds;

void SimSlots::Start(SimWorker& w) {
  if (!w.alive || !w.prepared) return;
  for (size_t slot = 0; slot < w.slots.size(); ++slot) {
    if (w.slots[slot] || w.queue.empty() || now_ > w.start_until || !MayTry(w)) continue;
    if (!Fits(w, w.queue.front())) return;
    TakeApart(w);
    Running running{TakeWork(w), now_, {}, ++serial_};
    const AttemptSpan attempts = running.work;
    for (uint64_t i = 0; i < attempts.count; ++i) {
      CheckStart(w, attempts.task + i, attempts.attempt + i);
      CheckRoom(w, running.work);
    }
    const uint64_t serial = running.serial;
    w.slots[slot] = std::move(running);
    EndAfter(w.bad_host ? milliseconds(1) : random_.Within(world_.longest_task), w, slot, serial);
  }
}

// As Slots has it: the next one waits until there is what it asks for.
bool SimSlots::Fits(const SimWorker& w, const Task& task) {
  const auto asked = TakenBy(task.details->extras);
  if (!asked) return true;
  Commitment taken;
  for (const auto& running : w.slots) {
    if (!running) continue;
    if (const auto takes = TakenBy(running->work.details->extras)) taken.Add(*takes);
  }
  return taken == Commitment() || taken.Leaves(w.has, *asked);
}

// As worker/trial_lock.h has it.
bool SimSlots::MayTry(SimWorker& w) {
  const auto& extras = w.queue.front().details->extras;
  const bool dangerous = std::any_of(extras.begin(), extras.end(),
                                     [](const auto& extra) { return extra.first == kDangerous; });
  if (!dangerous || w.machine == nullptr) return true;
  if (w.machine->trial == nullptr) w.machine->trial = &w;
  if (w.machine->trial == &w) return true;
  timeline_.At(now_ + milliseconds(50), [this, &w] { Start(w); });
  return false;
}

// A span in which something will happen is not run as one from there on.
void SimSlots::TakeApart(SimWorker& w) {
  Task& next = w.queue.front();
  if (next.rows.empty()) return;
  uint64_t good = 0;
  const auto is_good = [&](TaskId task) {
    return FateOf(world_, task) == Fate::kOk && ChildrenOf(world_, hooks_.row(task)).empty();
  };
  while (good < next.count && is_good(next.task + good)) ++good;
  if (w.bad_host || random_.Chance(100)) good = 0;
  if (good == next.count) return;
  std::optional<Task> front;
  if (good > 0) front = CutFront(next, good);
  std::vector<Task> rest = Apart(std::move(next));
  // By itself each has its own fate.
  for (Task& task : rest) task.rows.clear();
  w.queue.pop_front();
  w.queue.insert(w.queue.begin(), rest.begin(), rest.end());
  if (front) w.queue.push_front(std::move(*front));
}

// A slot may leave a part of a span to others.
Task SimSlots::TakeWork(SimWorker& w) {
  Task& front = w.queue.front();
  if (!front.rows.empty() && random_.Chance(300)) {
    const uint64_t some = 1 + random_.Below(front.count);
    if (some < front.count) return CutFront(front, some);
  }
  Task work = std::move(front);
  w.queue.pop_front();
  return work;
}

void SimSlots::CheckStart(const SimWorker& w, TaskId task, AttemptId attempt) {
  if (!started_.insert(attempt).second) throw Broken{fmt::format("attempt {} ran twice", attempt)};
  if (world_.fence && Runs(task))
    throw Broken{fmt::format("task {} runs twice at a time despite the fence", task)};
  if (world_.witness || (Calm() && !world_.failing && !world_.flaky)) CheckFirst(task);
  hooks_.say(fmt::format("worker {} starts task {} attempt {:x}", w.number, task, attempt));
}

void SimSlots::CheckRoom(const SimWorker& w, const Task& task) {
  const auto asked = TakenBy(task.details->extras);
  if (!asked || w.has.Holds(*asked)) return;
  throw Broken{fmt::format("task {} asks for {}, and worker {} has {}", task.task, Describe(*asked),
                           w.number, Describe(w.has))};
}

bool SimSlots::Runs(TaskId task) const {
  for (const auto& other : workers_) {
    for (const auto& r : other->slots) {
      if (other->alive && r && Has(r->work, task)) return true;
    }
  }
  return false;
}

// Only masters die in this world.
bool SimSlots::Calm() const {
  return world_.drop + world_.repeat + world_.delay + world_.cut + world_.partition +
                 world_.kill_worker + world_.stop_worker + world_.tell_worker + world_.stop_master +
                 world_.deadly + world_.lethal + world_.cancel + world_.rerun + world_.kill_host +
                 world_.mute + world_.meddle ==

             0 &&
         !world_.black_hole && world_.scheduled && world_.life == Time{} &&
         // What nobody wants any more may be wanted again.
         !(world_.growing && world_.edit > 0);
}

// What a live worker runs, or ran well, is not run a second time.
void SimSlots::CheckFirst(TaskId task) const {
  if (ended_well_.contains(task))
    throw Broken{fmt::format("task {} runs again after it ended ok", task)};
  if (Runs(task)) throw Broken{fmt::format("task {} runs twice, though its worker lives", task)};
}

void SimSlots::EndAfter(Time length, SimWorker& w, size_t slot, uint64_t serial) {
  timeline_.At(now_ + length, [this, &w, slot, serial] { End(w, slot, serial); });
}

void SimSlots::End(SimWorker& w, size_t slot, uint64_t serial) {
  if (!w.alive || !w.slots[slot] || w.slots[slot]->serial != serial) return;
  if (!w.slots[slot]->work.rows.empty()) {
    EndSpan(w, slot);
  } else {
    EndTask(w, slot);
  }
  if (!w.alive) return;
  Start(w);
  hooks_.wake(w);
}

// Its answers come all together, or as far as they are there.
void SimSlots::EndSpan(SimWorker& w, size_t slot) {
  Running running = std::move(*w.slots[slot]);
  w.slots[slot].reset();
  if (!running.killed.empty()) {
    EndKilled(w, slot, running);
    return;
  }
  Task& span = running.work;
  const uint64_t some = random_.Chance(300) ? 1 + random_.Below(span.count) : span.count;
  Answer(w, slot, CutFront(span, some));
  if (span.count == 0) return;
  const uint64_t next = ++serial_;
  w.slots[slot] = Running{std::move(span), now_, {}, next};
  EndAfter(random_.Within(world_.longest_task), w, slot, next);
}

// Those that were to be killed end so; the others are run by a fresh program, which nobody notices.
void SimSlots::EndKilled(SimWorker& w, size_t slot, const Running& running) {
  AttemptSpan span = running.work;
  while (span.count > 0) {
    const AttemptSpan one = CutFront(span, 1);
    if (!running.killed.contains(one.attempt)) {
      Answer(w, slot, one);
      continue;
    }
    TaskResult result;
    result.task = one.task;
    result.attempt = one.attempt;
    result.slot = slot;
    result.outcome = Outcome::kError;
    result.details.Edit().exit = -9;
    w.ended.emplace_back(std::move(result), true);
  }
}

void SimSlots::Answer(SimWorker& w, size_t slot, const AttemptSpan& span) {
  auto results = For<TaskResult>(span);
  results.slot = slot;
  results.wall_us = span.count * 1000;
  for (uint64_t i = 0; i < span.count; ++i) {
    NoteOk(w, span.task + i, span.attempt + i);
    AppendAnswer(results.answers, 1000, PackedValueOf(span.task + i));
  }
  w.ended.emplace_back(std::move(results), false);
}

void SimSlots::NoteOk(SimWorker& w, TaskId task, AttemptId attempt) {
  ended_ok_.insert(attempt);
  ended_well_.insert(task);
  w.unacknowledged.emplace(attempt, now_);
}

// It asks for all that the largest worker has.
bool SimSlots::HasMost(const Task& task) const {
  const auto request = TakenBy(task.details->extras);
  return request && request->memory_bytes >= world_.classes - 1;
}

void SimSlots::EndTask(SimWorker& w, size_t slot) {
  const Running running = std::move(*w.slots[slot]);
  const Task& task = running.work;
  const bool killed = !running.killed.empty();
  const Fate fate = FateOf(world_, task.task);
  if (fate == Fate::kDeadly && !killed && !w.bad_host) {
    hooks_.say(fmt::format("task {} takes worker {} with it", task.task, w.number));
    hooks_.kill(w);
    return;
  }
  w.slots[slot].reset();
  if (w.machine != nullptr && w.machine->trial == &w) w.machine->trial = nullptr;
  TaskResult result;
  result.task = task.task;
  result.attempt = task.attempt;
  result.slot = slot;
  result.wall_us = static_cast<uint64_t>((now_ - running.started) / std::chrono::microseconds(1));
  const bool fails = fate == Fate::kFails || (fate == Fate::kFlaky && task.attempt_number == 1);
  const auto rows = ChildrenOf(world_, hooks_.row(result.task));
  if (w.bad_host) {
    result.unstartable = true;
    result.outcome = Outcome::kError;
    result.details.Edit().exit = 127;
  } else if (killed) {
    result.details.Edit().exit = -9;
    result.outcome = Outcome::kError;
  } else if (fate == Fate::kLethal) {
    result.outcome = Outcome::kCrashed;
    result.details.Edit().exit = -11;
    result.details.Edit().error = "its program is gone";
  } else if (fails) {
    result.outcome = Outcome::kError;
    result.details.Edit().exit = 1;
    result.details.Edit().error = "no";
    // They do not count.
    if (!rows.empty()) result.values.emplace_back(kPushName, PushedText(rows));
  } else if (fate == Fate::kGreedy && !HasMost(task)) {
    result.outcome = Outcome::kMemory;
    result.details.Edit().exit = -9;
    result.details.Edit().error = "more";
  } else {
    NoteOk(w, result.task, result.attempt);
    result.values = {{"y", ValueOf(result.task)}};
    if (!rows.empty()) result.values.emplace_back(kPushName, PushedText(rows));
  }
  w.ended.emplace_back(std::move(result), killed);
}

std::vector<AttemptRef> SimSlots::TakeBack(SimWorker& w, const std::vector<AttemptRef>& attempts) {
  const std::set<AttemptRef> wanted(attempts.begin(), attempts.end());
  std::vector<AttemptRef> taken;
  std::deque<Task> left;
  for (Task& work : w.queue) {
    const AttemptSpan all = work;
    std::vector<AttemptRef> hit;
    for (uint64_t i = 0; i < all.count; ++i) {
      const AttemptRef ref{all.task + i, all.attempt + i};
      if (wanted.contains(ref)) hit.push_back(ref);
    }
    taken.insert(taken.end(), hit.begin(), hit.end());
    if (hit.empty()) {
      left.push_back(std::move(work));
    } else {
      for (Task& one : Apart(std::move(work))) {
        if (!wanted.contains(one.first())) left.push_back(std::move(one));
      }
    }
  }
  w.queue = std::move(left);
  return taken;
}

void SimSlots::Kill(SimWorker& w, const std::vector<AttemptRef>& attempts) {
  for (size_t i = 0; i < w.slots.size(); ++i) {
    auto& slot = w.slots[i];
    if (!slot) continue;
    const AttemptSpan all = slot->work;
    const bool before = !slot->killed.empty();
    for (const AttemptRef& ref : attempts) {
      const bool here = Has(all, ref.task) && ref.attempt == all.attempt + (ref.task - all.task);
      if (here) slot->killed.insert(ref.attempt);
    }
    if (!before && !slot->killed.empty()) EndAfter(milliseconds(1), w, i, slot->serial);
  }
}

}  // namespace cq::sim
