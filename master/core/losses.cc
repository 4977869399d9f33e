// Workers that are lost, and what their tasks have to answer for (PROTOCOL.md, "Silence").
#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "master/core/run_core.h"

namespace cq {

uint64_t RunCore::OnLost(Time now, Worker& worker, const Loss& loss) {
  Lane& l = lane(worker);
  // Its time was over, whatever its scheduler says later.
  const bool wall = IsAtItsWall(worker);
  const bool charge = loss.blame != Blame::kNobody && !worker.leaving && !wall;
  const bool memory = charge && loss.blame == Blame::kMemory && !l.had_memory;
  const Time release_at = options_.text.fence ? loss.runs_until : Time{};
  // Told anew if it comes back so.
  l.idle.clear();
  // In one slot what started last is what ran: an earlier one has ended, and its result is lost.
  std::map<uint32_t, AttemptId> ran;
  std::vector<Work*> held;
  for (Work* open : l.held.All()) {
    for (Work* task : tasks_.TakeApart(*open)) held.push_back(task);
  }
  for (const Work* open : held) {
    if (const auto& run = open->out()->run) ran[run->slot] = open->attempt;
  }
  const bool alone = held.size() == 1 && l.stale.empty() && !l.had_memory;
  // In slots without a report something may have run all the same, for less than starts take to be
  // reported: the oldest are under suspicion.
  uint64_t unreported = charge ? l.places - std::min<uint64_t>(l.places, ran.size()) : 0;
  for (Work* task : held) {
    Work& open = *task;
    if (wall && EndsAtWall(worker, open)) continue;
    if (memory && alone) {
      OnMemory(open, open.attempt, worker, loss.reason);
      continue;
    }
    const auto& run = open.out()->run;
    const bool began = run.has_value();
    const bool was_running = (run && ran[run->slot] == open.attempt) || open.past->suspect != 0;
    if (run && was_running) spent_.lost += now - run->since;
    // Of several that may have taken the memory each is tried alone, and none is charged.
    const bool unknown = !began && unreported > 0;
    if (open.past->suspect == 0 && (unknown || (memory && was_running))) {
      if (unknown) --unreported;
      open.past.Edit().suspect = open.attempt;
      ++l.suspects;
    }
    if (charge && was_running && !memory) {
      Charge(now, worker, open, loss, release_at, alone);
    } else {
      if (!began && open.attempts > 0) --open.attempts;
      ReleaseAt(release_at, open.task, open);
    }
  }
  CQ_ASSERT(l.held.empty() && l.running == 0 && l.charged == 0 && l.suspects == 0,
            "worker {} is lost and still holds {} tasks", worker.number, l.held.size());
  l.stale.clear();
  CountVacant();
  idle_ -= std::exchange(l.idle_slots, 0);
  l.reserved.reset();
  return held.size();
}

void RunCore::Charge(Time now, Worker& worker, Work& open, const Loss& loss, Time release_at,
                     bool alone) {
  const TaskId task = open.task;
  const bool provisional = loss.blame == Blame::kProvisional;
  const AttemptRef ref{task, open.attempt};
  CQ_ASSERT(open.out() && open.out()->worker == worker.index,
            "task {} is charged to worker {} and not out with it", task, worker.number);
  // Before the worker's books lose the task: they count it as what it was when it was given.
  if (open.past->charged.empty()) ++lane(worker).charged;
  open.past.Edit().charged.push_back(open.attempt);
  open.past.Edit().failed_on.push_back(worker.ref());
  const auto kind = provisional ? FailureKind::kProvisional : FailureKind::kCharged;
  Record(FailureRecord{ref, worker.number, kind, loss.reason});
  if (provisional) {
    ++open.past.Edit().provisional;
    provisional_.push_back({now + kExplainWithin, worker.ref(), ref, loss.reason, alone});
  }
  if (open.past->charged.size() < options_.crash_limit) {
    ReleaseAt(release_at, task, open);
  } else if (open.past->provisional == 0) {
    SetAside(task, open, worker.ref(), loss.reason);
  } else {
    // None is set aside before the scheduler has had its time to explain.
    GiveUp(open);
    open.past.Edit().not_before = release_at;
    if (release_at != Time{}) wake_.emplace(release_at, task);
    tasks_.Suspend(task);
  }
}

// It ran alone where the memory went.
void RunCore::OnMemory(Work& open, AttemptId attempt, const Worker& worker,
                       const std::string& reason) {
  TaskResult result;
  result.task = open.task;
  result.attempt = attempt;
  result.outcome = Outcome::kMemory;
  result.details.Edit().exit = -9;  // as far as is known: it went with its worker
  result.details.Edit().error =
      fmt::format("its worker's memory was not enough, and it ran alone there: {}", reason);
  if (TryWithMore(&worker, result, open, worker.has.memory_bytes.value_or(0))) return;
  Finish(std::move(result), worker.ref(), std::max<uint64_t>(open.attempts, 1));
}

void RunCore::SetAside(TaskId task, Work& open, std::optional<WorkerRef> worker,
                       const std::string& reason) {
  CQ_ASSERT(open.past->charged.size() >= options_.crash_limit && open.past->provisional == 0,
            "task {} is set aside with {} charges", task, open.past->charged.size());
  TaskResult result;
  result.task = task;
  result.attempt = open.out() ? open.attempt : open.past->charged.back();
  result.outcome = Outcome::kCrashed;
  result.details.Edit().exit = -9;  // as far as is known: it went with its worker
  result.details.Edit().error =
      fmt::format("its worker was lost {} times while it ran; the last time: {}",
                  open.past->charged.size(), reason);
  Finish(std::move(result), worker, open.attempts);
}

void RunCore::Settle(Time now, const Provisional& charge, bool explained) {
  Work* open = tasks_.Find(charge.ref.task);
  if (open == nullptr || open->past->provisional == 0) return;
  CQ_ASSERT(std::find(open->past->charged.begin(), open->past->charged.end(), charge.ref.attempt) !=
                open->past->charged.end(),
            "attempt {:x} at task {} is settled and not charged", charge.ref.attempt,
            charge.ref.task);
  --open->past.Edit().provisional;
  const auto kind = explained ? FailureKind::kTakenBack : FailureKind::kCharged;
  Record(FailureRecord{charge.ref, charge.worker.number, kind, charge.reason});
  if (explained) {
    std::erase(open->past.Edit().charged, charge.ref.attempt);
    if (open->past->charged.empty() && open->out()) --lane(workers_[open->out()->worker]).charged;
  }
  if (open->waiting() && open->past->charged.size() < options_.crash_limit) {
    if (open->past->not_before <= now) tasks_.Wake(charge.ref.task);
  } else if (open->waiting() && open->past->provisional == 0) {
    SetAside(charge.ref.task, *open, charge.worker, charge.reason);
    return;
  } else {
    tasks_.Reclassify(charge.ref.task);
  }
  all_dirty_ = true;
}

void RunCore::OnExplained(Time now, const Worker& worker, Blame blame) {
  std::deque<Provisional> settled;
  std::erase_if(provisional_, [&](const Provisional& charge) {
    if (charge.worker.number != worker.number) return false;
    settled.push_back(charge);
    return true;
  });
  const bool memory = blame == Blame::kMemory;
  for (const Provisional& charge : settled) {
    // As where that is known at once: of several each is tried alone.
    Work* open = tasks_.Find(charge.ref.task);
    if (memory && !charge.alone && open != nullptr && !open->out()) {
      open->past.Edit().suspect = charge.ref.attempt;
    }
    Settle(now, charge, memory || blame == Blame::kNobody);
    open = tasks_.Find(charge.ref.task);
    if (memory && charge.alone && open != nullptr) {
      OnMemory(*open, charge.ref.attempt, worker, charge.reason);
    }
  }
}

// It was out of reach, and nothing more: of whatever it dies later, that is no proof against what
// it held then.
void RunCore::AcquitOfMemory(const Worker& worker) {
  for (Provisional& charge : provisional_) {
    if (charge.worker.number == worker.number) charge.alone = false;
  }
}

// If the loss of this attempt was charged: it turns out to run on.
void RunCore::TakeBackCharge(Worker& worker, AttemptRef ref, Work& open) {
  if (std::erase(open.past.Edit().charged, ref.attempt) == 0) return;
  const auto pending = std::find_if(provisional_.begin(), provisional_.end(),
                                    [&](const Provisional& p) { return p.ref == ref; });
  if (pending != provisional_.end()) {
    CQ_ASSERT(open.past->provisional > 0, "task {} has no charge to be explained", ref.task);
    provisional_.erase(pending);
    --open.past.Edit().provisional;
  }
  Record(FailureRecord{ref, worker.number, FailureKind::kTakenBack, "its worker came back"});
}

}  // namespace cq
