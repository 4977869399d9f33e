#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "cq/halt.h"
#include "master/core/asker.h"
#include "master/core/requests.h"
#include "master/core/start_order.h"
#include "protocol/messages.h"
#include "protocol/pushed_rows.h"

namespace cq {

/// So many times as much a task is tried with that ended for want of memory or time; 1: it is not.
struct Escalation {
  double memory = 1;
  double time = 1;
};

/// What a core starts with.
struct CoreOptions {
  Epoch epoch = 1;
  /// What a worker needs to know of the run; its `run` is the run's id.
  RunText text;
  /// The highest number of a task.
  uint64_t tasks = 0;
  StartOrder order;
  RequestClasses requests;
  /// At least one.
  std::vector<PoolKind> pools{PoolKind()};
  /// What rows are that tasks push.
  RowForm form;
  /// They stay in the results of their tasks, as far as they could be rows, and add nothing.
  bool keeps_pushed = false;
  /// Once there are so many tasks, rows that are pushed are kept, and not run; 0: no limit.
  uint64_t max_tasks = 0;
  /// The program beside the master that names rows, and how many of them are to wait for a slot.
  Asker::Kind proposer = Asker::Kind::kNone;
  std::optional<uint64_t> ask_ahead;
  /// More tasks may come (OnAdded), until OnClosed.
  bool open = false;
  std::chrono::milliseconds lease{30'000};
  /// For how long a worker that is gone may still be asked for: longer than a scheduler takes to
  /// tell of its job's end.
  std::chrono::nanoseconds remembered = std::chrono::hours(1);
  /// After so many charged losses a task is set aside as `crashed`.
  uint32_t crash_limit = 3;
  /// How often a task that ended as `error` or `timeout` is tried again.
  uint32_t retries = 0;
  Escalation escalation;
  /// A task is ended once it runs so many percent of the median of the last ones; 0: it is not.
  uint64_t timeout_percent = 0;
  /// The least time between the starts of two tasks.
  std::chrono::milliseconds delay{};
  /// When it stops before its tasks have ended.
  std::vector<Halt> halts;
  /// A scheduler may name the cause of a loss after it: charges are provisional for a while.
  bool explained_late = false;
  /// The slots that the pools are about to bring: the first worker to come does not take
  /// everything.
  uint64_t expected_slots = 1;
  /// Acknowledgements wait so long for company: nobody waits for one, and each alone costs its
  /// worker a wake-up.
  std::chrono::milliseconds gather_acks{100};
  /// How far ahead of what was given out the journal's mark is kept, in tasks.
  uint64_t mark_stride = 16'384;
  /// Fresh tasks go out in spans that take about so long, as far as durations are known; zero: each
  /// by itself.
  std::chrono::nanoseconds span_time{};
};

/// What a progress line shows.
struct Counts {
  uint64_t tasks = 0;
  uint64_t done = 0;
  std::array<uint64_t, kOutcomes> outcomes{};
  uint64_t out = 0;
  uint64_t running = 0;
  uint64_t workers = 0;
  /// Rows that were pushed and are not run (CoreOptions::max_tasks).
  uint64_t beyond = 0;
  /// Reports that were dropped, since they came late or again.
  uint64_t dropped = 0;
  /// Reports of attempts that no master of this run ever gave out.
  uint64_t rejected = 0;
  /// Workers of an earlier master that are waited for.
  uint64_t awaited = 0;
};

}  // namespace cq
