#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "master/core/worker_table.h"

namespace cq {

inline double InSeconds(Time time) { return std::chrono::duration<double>(time).count(); }

/// What goes on in a run at a moment, for people.
struct RunView {
  /// A task that runs, as far as its worker has said so.
  struct Row {
    TaskId task = 0;
    uint64_t worker = 0;
    WorkerIndex index = 0;
    std::string host;
    Time running{};
  };
  struct Member {
    uint64_t worker = 0;
    std::string host;
    std::string pool;
    std::string allocation;
    uint64_t slots = 0;
    /// Slots with something to do, as far as the master knows; and tasks that it has been given.
    uint64_t busy = 0;
    uint64_t held = 0;
    /// Until its allocation ends, if that is known.
    std::optional<Time> left;
    /// Why it takes nothing, or is not heard; empty: it works.
    std::string state;
  };
  /// Those that have been running for longest, the longest first; and how many run in all.
  std::vector<Row> rows;
  uint64_t running = 0;
  /// As many of them as were asked for, of so many.
  std::vector<Member> workers;
  uint64_t members = 0;
  /// Tasks that could go out, that must not yet, that are with workers.
  uint64_t ready = 0;
  uint64_t waiting = 0;
  uint64_t out = 0;
  uint64_t slots = 0;
  uint64_t idle = 0;
  /// Tasks that ended a second, over the last minutes; none: it is too early to tell.
  std::optional<double> rate;
  /// Until the end, if the rows that are left are as the last ones were and the workers stay as
  /// they are: at least and, more likely than not, at most. None: nobody can tell.
  std::optional<std::pair<Time, Time>> left;
  /// What the run would have to have, or waits for, to end sooner.
  std::string bound;
  /// What its proposer does; empty: it has none.
  std::string proposer;
};

/// How many tasks ended by when: the last five minutes of it.
class Tempo {
 public:
  void Note(Time now, uint64_t done);
  /// A second; none: nothing was noted a while ago.
  std::optional<double> Rate(Time now, uint64_t done) const;

 private:
  std::vector<std::pair<Time, uint64_t>> notes_;
};

}  // namespace cq
