// Why a task has not run, or not ended.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "master/core/dispatch.h"
#include "master/core/onlooker.h"
#include "master/core/reserver.h"

namespace cq {

std::vector<std::string> Onlooker::Explain(TaskId task) {
  if (!run_.tasks_.Exists(task)) return {"there is no such task"};
  if (run_.tasks_.Done(task)) return {"it has ended"};
  const Work* open = run_.tasks_.Containing(task);
  std::vector<std::string> lines;
  if (open != nullptr && open->out()) {
    ExplainOut(task, *open, lines);
  } else if (open != nullptr && open->waiting()) {
    ExplainWaiting(*open, lines);
  } else {
    ExplainReady(task, open, lines);
  }
  return lines;
}

void Onlooker::ExplainOut(TaskId task, const Work& open, std::vector<std::string>& lines) const {
  const Work::Out& out = *open.out();
  const Worker& worker = run_.workers_[out.worker];
  const std::string who = fmt::format("worker {} on {}", worker.number, worker.host);
  const bool runs = out.run && out.run->at == task;
  if (runs) {
    lines.push_back(fmt::format("it runs, attempt {}, on {}, for {:.1f} s as far as is known",
                                open.attempts, who, InSeconds(now_ - out.run->since)));
  } else if (out.run && task < out.run->at) {
    lines.push_back(fmt::format("it ran on {}, and its result is on its way", who));
  } else {
    const uint64_t places = run_.PlacesOf(worker);
    lines.push_back(fmt::format(
        "it was given to {}, which has {} tasks for {} places and has not said that it runs", who,
        run_.lane(worker).held.size(), places));
  }
  if (out.retracting) lines.emplace_back("it was asked back, for a worker that has nothing to do");
  if (!worker.here()) {
    lines.push_back(fmt::format("{} is not heard: if that lasts, its tasks go to others", who));
  }
  const Time estimate = open.past->estimate > Time{} ? open.past->estimate : run_.Estimate(out.of);
  if (runs && estimate > Time{}) {
    lines.push_back(
        fmt::format("such rows take {:.1f} s or less, as it seems", InSeconds(estimate)));
  }
}

void Onlooker::ExplainWaiting(const Work& open, std::vector<std::string>& lines) const {
  const Work::Past& past = *open.past;
  if (past.held_back) lines.emplace_back("it is held back: nobody has asked for it yet");
  if (past.not_before > now_) {
    lines.push_back(
        fmt::format("it was tried {} times, and waits for {:.1f} s before it is tried again",
                    open.attempts, InSeconds(past.not_before - now_)));
  }
  if (run_.MayBeExplained(open)) {
    lines.push_back(fmt::format(
        "{} workers were lost with it: it waits for the scheduler's word about the last of them",
        past.charged.size()));
  }
  if (lines.empty()) lines.emplace_back("it waits to be tried again");
}

void Onlooker::ExplainReady(TaskId task, const Work* open, std::vector<std::string>& lines) {
  const ClassId of = run_.tasks_.ClassOf(task);
  if (run_.drained_) {
    lines.push_back(fmt::format("nothing more is started: {}", *run_.drained_));
    return;
  }
  if (run_.fleet_.awaiting() > 0 && open == nullptr && task <= run_.mark_asked_) {
    lines.push_back(fmt::format("{} workers of an earlier master may run it: they are waited for",
                                run_.fleet_.awaiting()));
    return;
  }
  lines.push_back(fmt::format("it waits for a slot, as do {} others", run_.tasks_.ready() - 1));
  if (!run_.tasks_.ordered() && open == nullptr && task > run_.tasks_.next_fresh()) {
    lines.push_back(fmt::format("{} stand before it", task - run_.tasks_.next_fresh()));
  }
  if (run_.tasks_.several()) {
    std::string homes;
    for (const size_t home : run_.classes_[of].homes) {
      homes += fmt::format("{}'{}'", homes.empty() ? "" : ", ", run_.options_.pools[home].name);
    }
    lines.push_back(fmt::format("it asks for {}, and is work for the pool {}",
                                Describe(run_.classes_[of].request), homes));
  }
  std::map<std::string, uint64_t> reasons;
  Dispatcher dispatcher(run_);
  for (const Worker& worker : run_.workers_.all()) {
    if (!worker.gone()) ++reasons[dispatcher.WhyNot(worker, open, of)];
  }
  if (reasons.empty()) lines.emplace_back("no worker is here");
  for (const auto& [reason, workers] : reasons) {
    lines.push_back(fmt::format("{} worker{}: {}", workers, workers == 1 ? "" : "s", reason));
  }
}

std::string Dispatcher::WhyNot(const Worker& worker, const Work* open, ClassId of) {
  const Lane& lane = run_.lane(worker);
  if (std::string state = Onlooker(run_, run_.now_).StateOf(worker); !state.empty()) return state;
  const TaskRequest& request = run_.classes_[of].request;
  if (!request.pool.empty() && request.pool != run_.options_.pools[*lane.pool].name) {
    return fmt::format("of the pool '{}'", run_.options_.pools[*lane.pool].name);
  }
  if (!worker.has.Holds(request)) {
    return fmt::format("too small for it: has {}", Describe(worker.has));
  }
  if (!run_.Suits(worker, of)) {
    return "its time is too short for it, even if all of it were left";
  }
  if (OnProbation(lane) && AnotherMayDoBetter(worker)) return "tasks could not be started there";
  if (open != nullptr && run_.Refused(*open, worker)) return "its host could not start it";
  const Time estimate =
      open != nullptr && open->past->estimate > Time{} ? open->past->estimate : run_.Estimate(of);
  const bool in_time =
      run_.HasTimeFor(worker, of) && (open == nullptr || run_.HasTimeFor(worker, *open));
  if (!in_time && estimate > Time{}) {
    return fmt::format(
        "its time left is too short: such rows take {:.0f} s, and what it has comes "
        "first",
        InSeconds(estimate));
  }
  if (!in_time) return "less than half of its time is left, and nobody knows what such rows take";
  if (!Reserver(run_).LetsBy(worker, of)) {
    return fmt::format("kept for rows that ask for {} and have waited for long",
                       Describe(run_.classes_[*lane.reserved].request));
  }
  if (lane.suspects > 0) return "it tries a task alone that a worker may have died of";
  if (open != nullptr && open->past->suspect != 0 && !lane.held.empty()) {
    return "has other tasks: this one is tried alone, since a worker may have died of it";
  }
  if (open != nullptr && !open->past->charged.empty() && lane.charged > 0) {
    return "has another task already with which a worker was lost";
  }
  if (open != nullptr && !MayTryHere(worker, *open)) {
    return "it failed there: others are tried first, for a while";
  }
  const uint64_t held = lane.held.size() + lane.stale.size();
  if (run_.RoomFor(worker, of) == Room::kNone || held >= run_.PlacesOf(worker)) {
    return fmt::format("busy: it has {} tasks for {} places", held, run_.PlacesOf(worker));
  }
  return "could take it: it is given out in a moment, or others come first";
}

}  // namespace cq
