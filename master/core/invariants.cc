// Every fact that stands in two books, compared; and what nobody would ever look at again.
#include <map>
#include <set>

#include "base/assert.h"
#include "master/core/fleet.h"
#include "master/core/run_core.h"

namespace cq {
namespace {

bool IsChoosy(const Work& open, bool several) {
  using Queue = Work::Ready::Queue;
  const Queue queue = open.queue();
  return queue == Queue::kRefused || queue == Queue::kRetries || queue == Queue::kCharged ||
         (queue == Queue::kReturned && several);
}

}  // namespace

void TaskTable::CheckInvariants() {
  std::array<std::set<TaskId>, 6> queued;
  for (size_t i = 0; i < queues_.size(); ++i) queued[i] = {queues_[i].begin(), queues_[i].end()};
  uint64_t out = 0;
  uint64_t waiting = 0;
  uint64_t choosy = 0;
  for (const Work* open : Open()) {
    CQ_ASSERT(open->task + open->count - 1 <= highest_opened_, "task {}, the highest is {}",
              open->task, highest_opened_);
    for (TaskId task = open->task; task < open->task + open->count; ++task) {
      CQ_ASSERT(Exists(task), "task {} is open, and the last is {}", task, last_);
      CQ_ASSERT(!Done(task), "task {} is open and has an outcome", task);
      CQ_ASSERT(Containing(task) == open, "task {} is open twice", task);
    }
    choosy += IsChoosy(*open, several()) ? 1 : 0;
    CQ_ASSERT((open->attempt != 0) == (open->out() != nullptr), "task {} has attempt {:x} and {}",
              open->task, open->attempt, open->out() ? "is out" : "is not out");
    if (open->out()) {
      CQ_ASSERT(open->count == 1 || open->past.fresh(), "a span from {} has a past", open->task);
      out += open->count;
      continue;
    }
    CQ_ASSERT(open->count == 1, "{} tasks from {} are not out and together", open->count,
              open->task);
    CQ_ASSERT(!open->past->held_back || open->waiting(), "task {} is held back and ready",
              open->task);
    waiting += open->waiting() ? 1 : 0;
    CQ_ASSERT(open->waiting() || withheld_ ||
                  queued[static_cast<size_t>(open->queue())].contains(open->task),
              "task {} is ready, and in no queue", open->task);
  }
  CQ_ASSERT(out == out_, "{} tasks are out, counted are {}", out, out_);
  CQ_ASSERT(waiting == waiting_, "{} tasks wait, counted are {}", waiting, waiting_);
  CQ_ASSERT(choosy == choosy_, "{} tasks may go to some workers only, counted are {}", choosy,
            choosy_);
  std::vector<uint64_t> ready_of(classes());
  std::vector<uint64_t> left_of(classes());
  for (TaskId task = 1; several() && task <= last_; ++task) {
    if (Done(task)) continue;
    const Work* open = Containing(task);
    ++left_of[ClassOf(task)];
    if (open == nullptr || open->ready()) ++ready_of[ClassOf(task)];
  }
  CQ_ASSERT(!several() || (ready_of == ready_of_ && left_of == left_of_),
            "ready, or left, are other tasks of {} classes than are counted", classes());
  CQ_ASSERT(ready_ + waiting_ + out_ + done_count_ == last_,
            "{} tasks are ready, {} wait, {} are out, {} are done, of {}", ready_, waiting_, out_,
            done_count_, last_);
}

void WorkerTable::CheckInvariants() const {
  uint64_t here = 0;
  uint64_t named = 0;
  const uint64_t known = workers_.size() - free_.size();
  CQ_ASSERT(by_id_.size() == known && by_number_.size() == known,
            "{} workers, {} by id, {} by number", known, by_id_.size(), by_number_.size());
  for (const WorkerIndex index : free_) {
    CQ_ASSERT(workers_[index].number == 0 && workers_[index].gone(), "worker {} has a free place",
              workers_[index].number);
  }
  for (const auto& [connection, peer] : peers_) {
    const Worker& worker = workers_[peer.worker];
    CQ_ASSERT(peer.session == 0 || (worker.here() && worker.here()->connection == connection),
              "worker {} has session {:x} and is not here", worker.number, peer.session);
  }
  for (const Worker& worker : workers_) {
    if (worker.number == 0) continue;
    named += worker.allocation.empty() ? 0 : 1;
    CQ_ASSERT(by_id_.at(worker.id) == worker.index && by_number_.at(worker.number) == worker.index,
              "worker {} goes by another's id or number", worker.number);
    CQ_ASSERT(hosts_.empty() || hosts_[worker.host_index].name == worker.host,
              "worker {} is on {}, its host is {}", worker.number, worker.host,
              hosts_[worker.host_index].name);
    here += worker.here() ? 1 : 0;
    if (!worker.here()) continue;
    const auto peer = peers_.find(worker.here()->connection);
    CQ_ASSERT(peer != peers_.end() && peer->second.session == worker.session &&
                  peer->second.worker == worker.index,
              "worker {} has a connection that is another's", worker.number);
  }
  CQ_ASSERT(by_allocation_.size() == named, "{} workers have allocations, by these are {}", named,
            by_allocation_.size());
  CQ_ASSERT(here == here_, "{} workers are here, counted are {}", here, here_);
}

void Fleet::CheckInvariants() const {
  workers_.CheckInvariants();
  uint64_t awaited = 0;
  for (const Worker& worker : workers_.all()) awaited += worker.awaited() ? 1 : 0;
  CQ_ASSERT(awaited == awaiting_, "{} workers are awaited, counted are {}", awaited, awaiting_);
}

void RunCore::CheckInvariants() {
  tasks_.CheckInvariants();
  CheckHeld();
  CheckWaiting();
  CheckReports();
}

// What is out against what workers hold.
void RunCore::CheckHeld() {
  uint64_t held = 0;
  uint64_t busy = 0;
  uint64_t idle = 0;
  for (const Worker& worker : workers_.all()) {
    const uint64_t places = PlacesOf(worker);
    const uint64_t at_work = std::min<uint64_t>(places, lane(worker).held.size());
    busy += at_work;
    // Of one that has not said hello nothing is known.
    idle += worker.gone() || worker.session == 0 ? 0 : places - at_work;
    CQ_ASSERT(!worker.gone() || lane(worker).held.empty(), "worker {} is gone and holds {} tasks",
              worker.number, lane(worker).held.size());
    uint64_t tasks = 0;
    uint64_t running = 0;
    uint64_t retracting = 0;
    uint64_t charged = 0;
    uint64_t suspects = 0;
    std::map<uint32_t, uint64_t> of_group;
    std::map<ClassId, uint64_t> of_class;
    Commitment committed;
    for (const Work* open : lane(worker).held.All()) {
      CQ_ASSERT(tasks_.Containing(open->task) == open && open->out() &&
                    open->out()->worker == worker.index,
                "worker {} holds task {}, which is not out with it", worker.number, open->task);
      tasks += open->count;
      running += open->runs() ? 1 : 0;
      retracting += open->out()->retracting ? open->count : 0;
      charged += open->past->charged.empty() ? 0 : 1;
      suspects += open->past->suspect != 0 ? 1 : 0;
      if (open->group != kNoGroup) ++of_group[open->group];
      if (!tasks_.several()) continue;
      of_class[open->out()->of] += open->count;
      committed.Add(worker.has.Share(classes_[open->out()->of].request), open->count);
    }
    CQ_ASSERT(of_class == lane(worker).held_of_class && committed == lane(worker).committed,
              "worker {} holds tasks of other classes than are counted", worker.number);
    CQ_ASSERT(tasks == lane(worker).held.size() && running == lane(worker).running &&
                  retracting == lane(worker).retracting && charged == lane(worker).charged,
              "worker {} holds {} tasks, {} of them run, {} are asked back, {} were charged; "
              "counted are {}, {}, {}, {}",
              worker.number, tasks, running, retracting, charged, lane(worker).held.size(),
              lane(worker).running, lane(worker).retracting, lane(worker).charged);
    CQ_ASSERT(suspects == lane(worker).suspects, "worker {} holds {} suspects, counted are {}",
              worker.number, suspects, lane(worker).suspects);
    CQ_ASSERT(of_group == lane(worker).held_of_group,
              "worker {} holds other groups than are counted", worker.number);
    held += tasks;
  }
  CQ_ASSERT(held == tasks_.out(), "workers hold {} tasks, {} are out", held, tasks_.out());
  CQ_ASSERT(busy == busy_ && idle == idle_, "{} slots are busy and {} idle, counted are {} and {}",
            busy, idle, busy_, idle_);
}

// Whatever waits is waited for by somebody who wakes it.
void RunCore::CheckWaiting() {
  std::set<TaskId> to_wake;
  for (const auto& [when, task] : wake_) to_wake.insert(task);
  std::map<TaskId, uint64_t> provisional;
  for (const Provisional& charge : provisional_) ++provisional[charge.ref.task];
  for (const Work* open : tasks_.Open()) {
    const TaskId task = open->task;
    const uint64_t pending = provisional.contains(task) ? provisional[task] : 0;
    CQ_ASSERT(open->past->provisional == pending,
              "{} charges of task {} are provisional, counted are {}", pending, task,
              open->past->provisional);
    CQ_ASSERT(open->past->charged.size() >= pending, "task {} has {} charges, {} are provisional",
              task, open->past->charged.size(), pending);
    CQ_ASSERT(!open->waiting() || open->past->held_back || pending > 0 || to_wake.contains(task),
              "task {} waits, and nobody will wake it", task);
  }
  for (const auto& [task, result] : refused_) {
    CQ_ASSERT(!tasks_.Done(task) && result.task == task, "task {} was refused and has an outcome",
              task);
  }
  if (all_dirty_) return;
  const std::set<WorkerIndex> dirty(dirty_.begin(), dirty_.end());
  for (const Worker& worker : workers_.all()) {
    CQ_ASSERT(!lane(worker).dirty || dirty.contains(worker.index),
              "worker {} may take tasks, and nobody looks at it", worker.number);
  }
}

// What was reported, until it is durable and acknowledged.
void RunCore::CheckReports() {
  uint64_t uncommitted = 0;
  for (const auto& [last, entry] : uncommitted_.entries()) {
    uncommitted += entry.attempts.count;
    for (uint64_t i = 0; i < entry.attempts.count; ++i) {
      const TaskId task = entry.attempts.task + i;
      const Work* open = tasks_.Containing(task);
      CQ_ASSERT(tasks_.Done(task) ||
                    (open != nullptr && !open->IsOut({task, entry.attempts.attempt + i})),
                "attempt {:x} at task {} waits for its commit, and is out",
                entry.attempts.attempt + i, task);
    }
  }
  CQ_ASSERT(uncommitted == uncommitted_.tasks(), "{} tasks wait for their commit, counted are {}",
            uncommitted, uncommitted_.tasks());
  const std::set<WorkerIndex> acknowledged(acknowledged_.begin(), acknowledged_.end());
  for (const Worker& worker : workers_.all()) {
    uint64_t acked = 0;
    for (const AttemptSpan& span : lane(worker).acks) acked += span.count;
    CQ_ASSERT(acked == lane(worker).acked, "{} tasks of worker {} are acknowledged, counted are {}",
              acked, worker.number, lane(worker).acked);
    CQ_ASSERT(lane(worker).acks.empty() || acknowledged.contains(worker.index),
              "worker {} has acknowledgements, and nobody sends them", worker.number);
  }
  uint64_t outcomes = 0;
  for (const uint64_t count : counts_.outcomes) outcomes += count;
  CQ_ASSERT(outcomes == tasks_.done_count() - left_out_, "{} outcomes of {} finished tasks",
            outcomes, tasks_.done_count() - left_out_);
  CQ_ASSERT(counts_.tasks == tasks_.last() - left_out_, "{} tasks of {}, without {}", counts_.tasks,
            tasks_.last(), left_out_);
}

}  // namespace cq
