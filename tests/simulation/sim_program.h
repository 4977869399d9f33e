#pragma once

#include <map>
#include <optional>
#include <set>

#include "tests/simulation/sim_journal.h"

namespace cq::sim {

/// The program of a world whose tasks are calls: it submits call 1, 2, … to each master anew, as
/// the engine of an embedding program does.
class SimProgram {
 public:
  explicit SimProgram(uint64_t calls) : calls_(calls) {}

  /// A new master: what it starts with, and its highest number.
  TaskId Start(SimJournal& journal, Recovered& recovered);

  struct Submission {
    TaskId task = 0;
    /// An earlier master knew it; otherwise it has the next number.
    bool known = false;
    uint64_t call = 0;
  };
  /// The next call; none once all have been submitted to this master.
  std::optional<Submission> Next();
  /// Whether this master was asked for the task.
  bool Wants(TaskId task) const { return submitted_.contains(task); }

 private:
  const uint64_t calls_;
  std::map<uint64_t, TaskId> known_;
  std::set<TaskId> submitted_;
  uint64_t next_ = 1;
  TaskId last_ = 0;
};

}  // namespace cq::sim
