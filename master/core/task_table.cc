#include "master/core/task_table.h"

#include <cassert>

namespace cq {

TaskTable::TaskTable(TaskId last, TaskSet done, uint64_t done_count)
    : last_(last), done_(std::move(done)), done_count_(done_count), ready_(last - done_count) {}

OpenTask* TaskTable::Find(TaskId task) {
  const auto found = open_.find(task);
  return found == open_.end() ? nullptr : &found->second;
}

void TaskTable::SkipTakenFresh() {
  while (next_fresh_ <= last_ && (done_.Contains(next_fresh_) || open_.contains(next_fresh_))) {
    ++next_fresh_;
  }
}

std::optional<TaskId> TaskTable::Pop(std::deque<TaskId>& queue) {
  while (!queue.empty()) {
    const TaskId task = queue.front();
    queue.pop_front();
    const OpenTask* open = Find(task);
    if (open != nullptr && open->attempt == 0) return task;
  }
  return std::nullopt;
}

std::optional<TaskId> TaskTable::PopReady(bool charged_too) {
  if (charged_too) {
    if (const auto task = Pop(charged_)) return task;
  }
  if (const auto task = Pop(returned_)) return task;
  SkipTakenFresh();
  if (next_fresh_ > last_) return std::nullopt;
  return next_fresh_++;
}

OpenTask& TaskTable::Assign(TaskId task, AttemptId attempt, WorkerIndex worker, SessionId session) {
  OpenTask& open = open_[task];
  assert(open.attempt == 0);
  open.attempt = attempt;
  open.worker = worker;
  open.session = session;
  open.running = false;
  open.retracting = false;
  --ready_;
  ++out_;
  return open;
}

void TaskTable::Requeue(TaskId task) {
  OpenTask& open = open_.at(task);
  assert(open.attempt != 0);
  open.attempt = 0;
  --out_;
  ++ready_;
  (open.suspect ? suspects_ : open.charges > 0 ? charged_ : returned_).push_back(task);
}

void TaskTable::Finish(TaskId task) {
  const auto found = open_.find(task);
  if (found != open_.end() && found->second.attempt != 0) {
    --out_;
  } else {
    --ready_;
  }
  if (found != open_.end()) open_.erase(found);
  done_.Insert(task);
  ++done_count_;
}

}  // namespace cq
