// Workers that are lost, and what their tasks have to answer for (PROTOCOL.md, "Silence").
#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "master/core/core.h"

namespace cq {
namespace {

/// How long a scheduler has to name the cause of a loss.
constexpr Time kExplainWithin = std::chrono::minutes(2);
/// Beyond the end of a lease, until a fenced worker's tasks are surely dead.
constexpr Time kFenceGrace = std::chrono::seconds(5);

}  // namespace

void Core::CheckLeases(Time now) {
  for (Worker& worker : workers_.all()) {
    if (worker.ended) continue;
    if (worker.awaited) {
      // Its end is told by its scheduler, if it has one.
      if (worker.watched || now - started_ <= 2 * options_.lease) continue;
      Lose(now, worker,
           {fmt::format("worker {} on {} did not come back", worker.number, worker.host), {}, {}});
      continue;
    }
    if (worker.job_end && (!worker.connected || now >= worker.job_end->answer_by)) {
      const auto end = *std::exchange(worker.job_end, std::nullopt);
      Lose(now, worker, {end.reason, end.explained ? Blame::kNobody : Blame::kFinal, {}});
      continue;
    }
    if (now - worker.last_heard <= options_.lease) continue;
    actions_.emplace_back(EndJob{worker.allocation});
    Loss loss;
    loss.reason = fmt::format("worker {} on {} was silent for {} s", worker.number, worker.host,
                              std::chrono::ceil<std::chrono::seconds>(options_.lease).count());
    loss.blame = options_.explained_late ? Blame::kProvisional : Blame::kFinal;
    // It counts its lease from something that we heard, so it has ended there, too.
    if (options_.text.fence) loss.release_at = now + options_.lease + kFenceGrace;
    Lose(now, worker, loss);
  }
}

void Core::Lose(Time now, Worker& worker, const Loss& loss) {
  const bool charge = loss.blame != Blame::kNobody && !worker.leaving;
  // Told anew if it comes back so.
  worker.idle.clear();
  // In one slot what started last is what ran: an earlier one has ended, and its result is lost.
  std::map<uint32_t, AttemptId> ran;
  std::vector<Work*> held;
  for (Work* open : worker.held.All()) {
    for (Work* task : tasks_.TakeApart(*open)) held.push_back(task);
  }
  for (const Work* open : held) {
    if (const auto& run = open->out()->run) ran[run->slot] = open->attempt;
  }
  // In slots without a report something may have run all the same, for less than starts take to be
  // reported: the oldest are under suspicion.
  uint64_t unreported = charge ? worker.slots - std::min<uint64_t>(worker.slots, ran.size()) : 0;
  for (Work* task : held) {
    Work& open = *task;
    const auto& run = open.out()->run;
    const bool began = run.has_value();
    const bool was_running = (run && ran[run->slot] == open.attempt) || open.past->suspect != 0;
    if (!began && open.past->suspect == 0 && unreported > 0) {
      --unreported;
      open.past.Edit().suspect = open.attempt;
      ++worker.suspects;
    }
    if (charge && was_running) {
      Charge(now, worker, open.task, open, loss);
    } else {
      if (!began && open.attempts > 0) --open.attempts;
      ReleaseAt(loss.release_at, open.task, open);
    }
  }
  CQ_ASSERT(
      worker.held.empty() && worker.running == 0 && worker.charged == 0 && worker.suspects == 0,
      "worker {} is lost and still holds {} tasks", worker.number, worker.held.size());
  worker.ended = true;
  worker.stale.clear();
  EndAwaiting(worker);
  Disconnect(worker);
  Record(WorkerEndRecord{worker.number, loss.reason});
  const bool harm = !held.empty();
  actions_.emplace_back(Note{
      harm ? Note::Kind::kWarning : Note::Kind::kWorkers,
      harm ? fmt::format("{}; its {} tasks go to others", loss.reason, held.size()) : loss.reason});
}

void Core::Charge(Time now, Worker& worker, TaskId task, Work& open, const Loss& loss) {
  const bool provisional = loss.blame == Blame::kProvisional;
  const AttemptRef ref{task, open.attempt};
  CQ_ASSERT(open.out() && open.out()->worker == worker.index,
            "task {} is charged to worker {} and not out with it", task, worker.number);
  // Before the worker's books lose the task: they count it as what it was when it was given.
  if (open.past->charged.empty()) ++worker.charged;
  open.past.Edit().charged.push_back(open.attempt);
  open.past.Edit().failed_on.push_back(worker.index);
  const auto kind = provisional ? FailureKind::kProvisional : FailureKind::kCharged;
  Record(FailureRecord{ref, worker.number, kind, loss.reason});
  if (provisional) {
    ++open.past.Edit().provisional;
    provisional_.push_back({now + kExplainWithin, worker.index, ref, loss.reason});
  }
  if (open.past->charged.size() < options_.crash_limit) {
    ReleaseAt(loss.release_at, task, open);
  } else if (open.past->provisional == 0) {
    SetAside(task, open, worker.index, loss.reason);
  } else {
    // None is set aside before the scheduler has had its time to explain.
    GiveUp(open);
    open.past.Edit().not_before = loss.release_at;
    if (loss.release_at != Time{}) wake_.emplace(loss.release_at, task);
    tasks_.Suspend(task);
  }
}

void Core::SetAside(TaskId task, Work& open, std::optional<WorkerIndex> worker,
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

void Core::Settle(Time now, const Provisional& charge, bool explained) {
  Work* open = tasks_.Find(charge.ref.task);
  if (open == nullptr || open->past->provisional == 0) return;
  CQ_ASSERT(std::find(open->past->charged.begin(), open->past->charged.end(), charge.ref.attempt) !=
                open->past->charged.end(),
            "attempt {:x} at task {} is settled and not charged", charge.ref.attempt,
            charge.ref.task);
  --open->past.Edit().provisional;
  const auto kind = explained ? FailureKind::kTakenBack : FailureKind::kCharged;
  Record(FailureRecord{charge.ref, workers_[charge.worker].number, kind, charge.reason});
  if (explained) {
    std::erase(open->past.Edit().charged, charge.ref.attempt);
    if (open->past->charged.empty() && open->out()) --workers_[open->out()->worker].charged;
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

void Core::SettleAll(Time now, WorkerIndex worker, bool explained) {
  std::deque<Provisional> settled;
  std::erase_if(provisional_, [&](const Provisional& charge) {
    if (charge.worker != worker) return false;
    settled.push_back(charge);
    return true;
  });
  for (const Provisional& charge : settled) Settle(now, charge, explained);
}

// If the loss of this attempt was charged: it turns out to run on.
void Core::TakeBackCharge(Worker& worker, AttemptRef ref, Work& open) {
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
