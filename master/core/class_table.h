#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "master/core/core_options.h"
#include "master/core/requests.h"
#include "master/core/task_class.h"

namespace cq {

/// What tasks ask for, one class for each different thing, and for which pools it is work. Classes
/// may come while a run goes on: what ended for want of something is tried again where there is
/// more.
class ClassTable {
 public:
  /// Both are its owner's, who may learn more of the pools (FindHomes).
  ClassTable(const std::vector<PoolKind>& pools, const Escalation& by) : pools_(pools), by_(by) {}

  /// Those of the rows.
  void Open(std::vector<TaskRequest> requests);
  /// Anew, for all classes.
  void FindHomes();
  /// No further worker of this pool will come; or some may again.
  void SetClosed(size_t pool, bool closed);
  bool closed(size_t pool) const { return closed_[pool]; }

  TaskClass& operator[](ClassId of) { return classes_[of]; }
  const TaskClass& operator[](ClassId of) const { return classes_[of]; }
  size_t size() const { return classes_.size(); }
  /// Each task is of one class; only so many have room in what counts them.
  bool full() const { return classes_.size() >= kClassesInAll; }
  /// In a worker of this pool such a task takes so many slots.
  double SlotsOf(const TaskClass& one, std::optional<size_t> pool) const;

  bool several() const { return classes_.size() > 1 || MayGrow(); }
  /// Whether classes may come.
  bool MayGrow() const;
  /// The class of such tasks, made if it is new; none: no pool has what they ask for, or it is
  /// full.
  std::optional<ClassId> Find(const TaskRequest& request, uint64_t time_permille);
  /// Like this one, with more memory than `had` (or than it asks for), with a longer time limit, or
  /// for pools whose workers live longer; none: nobody has more.
  std::optional<ClassId> WithMoreMemory(ClassId of, uint64_t had);
  std::optional<ClassId> WithMoreTime(ClassId of);
  std::optional<ClassId> WithLongerLife(ClassId of);

 private:
  static constexpr size_t kClassesInAll = 60'000;

  const std::vector<PoolKind>& pools_;
  const Escalation& by_;
  std::vector<TaskClass> classes_;
  /// By what they ask for and their time limit, those that Find has seen.
  std::map<std::pair<TaskRequest, uint64_t>, ClassId> class_of_;
  std::vector<bool> closed_;
};

}  // namespace cq
