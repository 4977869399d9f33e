// Every fact that stands in two books, compared; and what nobody would ever look at again.
#include <set>

#include "worker/core/worker_core.h"

namespace cq {

void WorkerCore::CheckInvariants() {
  const std::set<AttemptId> unsent(unsent_.begin(), unsent_.end());
  const std::set<AttemptId> unreported(unreported_.begin(), unreported_.end());
  uint64_t held_tasks = 0;
  uint64_t running = 0;
  uint64_t finished = 0;
  for (const AttemptId end : held_.Ends()) {
    const HeldTask& held = *held_.EndingAt(end);
    const uint64_t task = held.task;
    held_tasks += held.count;
    CQ_ASSERT(held.last().attempt == end, "task {} goes by another's number", task);
    if (const held::Running* run = held.running()) {
      ++running;
      CQ_ASSERT(run->reported || unreported.contains(run->at), "task {} runs, and nobody says so",
                task);
    } else if (const held::Finished* done = held.finished()) {
      finished += held.count;
      CQ_ASSERT(done->result != nullptr && done->result->count == held.count,
                "task {} has finished with a result that is not its own, or none", task);
      CQ_ASSERT(done->sent || unsent.contains(end),
                "task {} has finished, and nobody sends its result", task);
    }
  }
  CQ_ASSERT(held_tasks == held_.size(), "{} tasks are held, counted are {}", held_tasks,
            held_.size());
  CQ_ASSERT(running == running_ && finished == finished_,
            "{} run and {} have finished, counted are {} and {}", running, finished, running_,
            finished_);
}

}  // namespace cq
