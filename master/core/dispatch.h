#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "master/core/run_core.h"

namespace cq {

/// Who gets how many tasks, and who gives some back: the part of the core that looks at the whole.
class Dispatcher {
 public:
  explicit Dispatcher(RunCore& run) : run_(run) {}

  /// Gives ready tasks to the workers that the events since the last call concerned.
  void Give();
  /// When nothing is ready and slots idle: asks the fullest workers for what they have not started.
  void Retract();
  /// The same of what would not end before its worker's time is over.
  void RetractLate();
  /// Those that run for longer than their like took say how long that takes, too: the short ones
  /// end first.
  void CountRunning();
  /// Why this worker has not been given a task that is ready (`open`: its state, if it was tried).
  std::string WhyNot(const Worker& worker, const Work* open, ClassId of);

 private:
  bool IsTimeForAll(Time& last) const;
  uint64_t Surplus(const Worker& worker) const;
  uint64_t Target(const Worker& worker, uint64_t total_slots) const;
  void GiveTo(Worker& worker, uint64_t total_slots);
  void Assign(Worker& worker, AttemptSpan tasks, struct Give& give);
  void Send(Worker& worker, struct Give& give);
  uint64_t Chunk() const;
  uint64_t SpanLength() const;
  AttemptSpan PopFor(Worker& worker, uint64_t most);
  std::optional<TaskId> PopTried(const Worker& worker);
  std::optional<TaskId> PopOfSection(Worker& worker);
  std::optional<uint32_t> PickGroup(Worker& worker);
  std::optional<uint32_t> PickClass(const Worker& worker) const;
  bool RoomFor(const Worker& worker, const Work& open) const;
  bool HasWork(const Worker& worker) const;
  uint64_t RetractFrom(Worker& worker, uint64_t wanted,
                       const std::function<bool(const Work&)>& which);
  bool SomebodyTakes(const Work& open, const std::vector<const Worker*>& idlers);
  bool AnotherMayDoBetter(const Worker& than) const;
  bool MayTryHere(const Worker& worker, const Work& open);

  RunCore& run_;
  /// So many tasks may be started now.
  uint64_t allowed_ = UINT64_MAX;
  /// Workers to whom a task may go that failed elsewhere, by its class; counted once they are asked
  /// for.
  struct Takers {
    std::vector<uint64_t> on;
    uint64_t in_all = 0;
  };
  std::map<ClassId, Takers> takers_;
};

/// How long a task that failed waits for another host than where it failed, if others end well
/// there; and if they do not.
inline constexpr Time kPatience = std::chrono::seconds(10);
inline constexpr Time kLongPatience = std::chrono::minutes(10);

/// Whether the last tasks of this worker could not be started: it gets none while another may do
/// better.
bool OnProbation(const Lane& lane);

/// How many tasks beyond the running one each slot should have at hand so that it never waits:
/// about 50 ms of work, between 1 and kPrefetchMax; 1 while the mean run time is unknown (0).
uint64_t PrefetchPerSlot(std::chrono::nanoseconds mean);

}  // namespace cq
