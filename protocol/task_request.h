#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "protocol/value.h"

// What tasks ask of workers, and what workers have.
namespace cq {

/// What a task asks for. Of what it does not ask for nobody keeps a book.
struct TaskRequest {
  uint64_t cpus = 0;
  uint64_t memory_bytes = 0;
  /// Named resources: "gpu", and those of a site.
  std::map<std::string, uint64_t> needs = {};
  /// How long it is thought to take; 0: nobody knows.
  uint64_t time_ms = 0;
  /// The pool that it goes to; empty: any that it fits.
  std::string pool = {};
  /// Tasks of one kind take about as long; empty: of none. Nobody who has to give anything asks.
  std::string kind = {};

  auto operator<=>(const TaskRequest&) const = default;
  /// It takes nothing from a worker but a slot.
  bool TakesNothing() const { return cpus == 0 && memory_bytes == 0 && needs.empty(); }
};

/// What a worker has for its tasks. What is not known bounds nothing, but a named resource that is
/// not there is not there.
struct Capacity {
  std::optional<uint64_t> cpus = {};
  std::optional<uint64_t> memory_bytes = {};
  std::map<std::string, uint64_t> needs = {};
  /// What a task is given that does not say how many CPUs, or how much memory, it takes; 0: of that
  /// nobody keeps a book.
  uint64_t cpus_of_task = 0;
  uint64_t memory_of_task = 0;

  bool operator==(const Capacity&) const = default;
  /// What such a task takes here.
  TaskRequest Share(TaskRequest request) const {
    if (request.cpus == 0) request.cpus = cpus_of_task;
    if (request.memory_bytes == 0) request.memory_bytes = memory_of_task;
    return request;
  }
  bool Holds(const TaskRequest& request) const { return Places(request, 1) == 1; }
  /// How many such tasks run at a time in so many slots.
  uint64_t Places(const TaskRequest& request, uint64_t slots) const;
};

/// The sum of what tasks take, each its share (Capacity::Share).
class Commitment {
 public:
  /// So many of them come; go.
  void Add(const TaskRequest& share, uint64_t tasks = 1);
  void Remove(const TaskRequest& share, uint64_t tasks = 1);
  /// Whether one more fits beside them.
  bool Leaves(const Capacity& capacity, const TaskRequest& share) const;
  bool operator==(const Commitment&) const = default;

 private:
  uint64_t cpus_ = 0;
  uint64_t memory_bytes_ = 0;
  std::map<std::string, uint64_t> needs_;
};

/// As people read it: "2 CPUs, 16G, gpu 1".
std::string Describe(const TaskRequest& request);
std::string Describe(const Capacity& capacity);

/// The extra of a run's text in which tasks ask for something: who does not know it would not keep
/// to it.
inline constexpr const char* kRequests = "!requests";
/// The extra of a run's text in which some tasks ask for GPUs: those that ask for none see none.
inline constexpr const char* kGpusAsked = "gpus asked";

/// As extras of a run's text, and of a task's details: what it takes of a worker.
void PutRequest(Extras& extras, const TaskRequest& request);
/// None if none was put.
std::optional<TaskRequest> TakenBy(const Extras& extras);

/// As extras of a hello.
void PutCapacity(Extras& extras, const Capacity& capacity, const std::string& pool);
Capacity CapacityOf(const Extras& extras);
/// Of which pool the worker is, as it was started.
std::string PoolOf(const Extras& extras);

}  // namespace cq
