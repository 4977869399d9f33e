// Tasks that ended for want of memory or time: they are tried again where there is more.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "master/core/run_core.h"

namespace cq {

// Of a class that may be new.
void RunCore::SetClass(TaskId task, ClassId of) {
  while (tasks_.classes() < classes_.size()) tasks_.AddClass();
  tasks_.SetClass(task, of);
}

void RunCore::MoveTo(ClassId of, TaskId task) {
  SetClass(task, of);
  const TaskClass& one = classes_[of];
  Record(RaisedRecord{task, one.request.memory_bytes, one.request.time_ms, one.time_permille});
}

// It ended for want of something; false: nobody has more of it.
bool RunCore::TryWithMore(const Worker* worker, const TaskResult& result, Work& open,
                          uint64_t had_memory) {
  // It may be to have more already, as its scheduler said late of an earlier attempt.
  const ClassId now = tasks_.ClassOf(result.task);
  const bool current = open.out() && open.IsOut({result.task, result.attempt});
  const ClassId of = current ? open.out()->of : now;
  const bool memory = result.outcome == Outcome::kMemory;
  const auto more = of != now ? now
                    : memory  ? classes_.WithMoreMemory(of, had_memory)
                              : classes_.WithMoreTime(of);
  if (classes_.full() && !std::exchange(told_full_, true)) {
    out_.Tell(Note::Kind::kWarning,
              fmt::format("rows ask for {} different things, and no more can be told apart: others "
                          "that end for want of something are not tried with more",
                          classes_.size()));
  }
  if (!more) return false;
  const TaskClass& one = classes_[*more];
  const std::string with = memory ? Describe(one.request)
                                  : fmt::format("{:g} times its time limit",
                                                static_cast<double>(one.time_permille) / 1000);
  const uint64_t number = worker != nullptr ? worker->number
                          : open.out()      ? workers_[open.out()->worker].number
                                            : 0;
  open.past.Edit().over = std::max(open.past->over, result.attempt);
  uncommitted_.Add({result.task, result.attempt}, std::nullopt, now_);
  Record(FailureRecord{{result.task, result.attempt},
                       number,
                       FailureKind::kRaised,
                       fmt::format("{}: {}; tried again with {}", memory ? "memory" : "timeout",
                                   result.details->error, with)});
  // What its scheduler said late is of an attempt that was given up: another may be under way.
  const bool newest =
      open.out() ? open.IsOut({result.task, result.attempt}) : result.attempt > open.past->given_up;
  if (newest) TryAgain({}, result.attempt, open);
  MoveTo(*more, result.task);
  return true;
}

// What an earlier master found out; more counts that is asked for now.
void RunCore::Recover(const RaisedRecord& raised) {
  if (!tasks_.several() || tasks_.Done(raised.task) || !tasks_.Exists(raised.task)) return;
  TaskRequest request = classes_[tasks_.ClassOf(raised.task)].request;
  request.memory_bytes = std::max(request.memory_bytes, raised.memory_bytes);
  request.time_ms = std::max(request.time_ms, raised.time_ms);
  if (const auto of = classes_.Find(request, raised.time_permille)) SetClass(raised.task, *of);
}

}  // namespace cq
