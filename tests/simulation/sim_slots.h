#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/sim_worker.h"
#include "tests/simulation/timeline.h"
#include "tests/simulation/world.h"

namespace cq::sim {

/// What tasks do in the slots of the workers, and what must never happen there.
class SimSlots {
 public:
  struct Hooks {
    /// A task took its worker with it; something ended; for the trace.
    std::function<void(SimWorker&)> kill;
    std::function<void(SimWorker&)> wake;
    std::function<void(const std::string&)> say;
    /// What the row of a task is.
    std::function<std::string(TaskId)> row;
  };
  SimSlots(const World& world, Random& random, Timeline& timeline,
           const std::vector<std::unique_ptr<SimWorker>>& workers, Hooks hooks)
      : world_(world),
        random_(random),
        timeline_(timeline),
        workers_(workers),
        hooks_(std::move(hooks)) {}

  /// Free slots take what waits.
  void Start(SimWorker& w);
  std::vector<AttemptRef> TakeBack(SimWorker& w, const std::vector<AttemptRef>& attempts);
  void Kill(SimWorker& w, const std::vector<AttemptRef>& attempts);
  bool EndedOk(AttemptId attempt) const { return ended_ok_.contains(attempt); }

 private:
  bool MayTry(SimWorker& w);
  static bool Fits(const SimWorker& w, const Task& task);
  void TakeApart(SimWorker& w);
  Task TakeWork(SimWorker& w);
  void CheckStart(const SimWorker& w, TaskId task, AttemptId attempt);
  static void CheckRoom(const SimWorker& w, const Task& task);
  bool Runs(TaskId task) const;
  bool Calm() const;
  void CheckFirst(TaskId task) const;
  void EndAfter(Time length, SimWorker& w, size_t slot, uint64_t serial);
  void End(SimWorker& w, size_t slot, uint64_t serial);
  void EndSpan(SimWorker& w, size_t slot);
  void EndKilled(SimWorker& w, size_t slot, const Running& running);
  bool HasMost(const Task& task) const;
  void EndTask(SimWorker& w, size_t slot);
  /// The first tasks of a span have returned.
  void Answer(SimWorker& w, size_t slot, const AttemptSpan& span);
  void NoteOk(SimWorker& w, TaskId task, AttemptId attempt);

  const World& world_;
  Random& random_;
  Timeline& timeline_;
  const Time& now_ = timeline_.now();
  const std::vector<std::unique_ptr<SimWorker>>& workers_;
  Hooks hooks_;
  uint64_t serial_ = 0;
  std::set<AttemptId> started_;
  std::set<AttemptId> ended_ok_;
  std::set<TaskId> ended_well_;
};

}  // namespace cq::sim
