#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cq/halt.h"
#include "master/core/ledger.h"
#include "protocol/messages.h"
#include "protocol/pushed_rows.h"
#include "protocol/task_request.h"

namespace cq {

// ---- what is written during a run (JOURNAL.md has the tables) ----

struct ResultRecord {
  TaskResult result;
  uint64_t attempts = 1;
  uint64_t worker = 0;
  /// Rows that it adds to its run, if it is ok.
  std::vector<PushedRow> pushed = {};
  /// The run's proposer is told of it.
  bool told = false;
};
/// Why an attempt was followed, or will be, by another. The numbers are the journal's.
enum class FailureKind : uint8_t {
  kTakenBack = 0,    // it was charged; the cause turned out not to be the task
  kProvisional = 1,  // charged, unless the scheduler soon names a cause
  kCharged = 2,
  kRetried = 3,      // it failed by itself
  kSlotCrashed = 4,  // it took its slot's program with it, and is charged
  kRaised = 5,       // it ended for want of memory or time, and is tried with more
};
struct FailureRecord {
  AttemptRef attempt;
  uint64_t worker = 0;
  FailureKind kind = FailureKind::kCharged;
  std::string reason;
};
/// What a task asks for from now on, and how many thousandths of its time limit it may run.
struct RaisedRecord {
  TaskId task = 0;
  uint64_t memory_bytes = 0;
  uint64_t time_ms = 0;
  uint64_t time_permille = 1000;
};
struct WorkerRecord {
  uint64_t worker = 0;
  WorkerId id{};
  std::string host;
  uint64_t pid = 0;
  uint64_t slots = 0;
  std::string allocation;
};
struct WorkerEndRecord {
  uint64_t worker = 0;
  std::string reason;
};
/// What a worker has been waiting for for long; empty: nothing any more.
struct WorkerWaitsRecord {
  uint64_t worker = 0;
  std::string text;
};
struct AllocationIntent {
  std::string token;
  std::string scheduler;
  /// The place of its pool among those of the run.
  uint64_t pool = 0;
  uint64_t workers = 0;
};
struct AllocationSubmitted {
  std::string token;
  std::string job;
};
struct AllocationEnded {
  std::string token;
};
/// Tasks up to this number may have been given out.
struct MarkRecord {
  TaskId mark = 0;
};
/// What a task that still runs has printed.
struct OutputRecord {
  OutputPart part;
};
/// No worker of ours is to go to this host again.
struct AvoidRecord {
  std::string host;
};
/// The results of this file are in the journal; written after them.
struct SpoolTaken {
  std::string path;
};
/// What a task is, of a program that embeds the master.
struct CallRecord {
  TaskId task = 0;
  std::string function;
  std::string arguments;
};
/// Where the time of this master's tasks went so far.
struct LedgerRecord {
  Epoch epoch = 0;
  Ledger ledger;
};
/// The run is as far as it was to come.
struct HaltedRecord {
  Halt::Of of = Halt::Of::kOk;
};
/// Rows that somebody adds to a run while it goes on.
struct AddRecord {
  uint64_t request = 0;
  std::vector<PushedRow> rows;
  /// Of the run's proposer: what it answered.
  struct Proposed {
    /// The newest ending that it knew; 0: none.
    TaskId told = 0;
    bool done = false;
    /// Of each row the task whose ending led to it; 0: none in particular.
    std::vector<TaskId> parents;
  };
  std::optional<Proposed> proposed = {};
};
using JournalRecord =
    std::variant<ResultRecord, FailureRecord, WorkerRecord, WorkerEndRecord, WorkerWaitsRecord,
                 AllocationIntent, AllocationSubmitted, AllocationEnded, MarkRecord, OutputRecord,
                 AvoidRecord, SpoolTaken, CallRecord, LedgerRecord, RaisedRecord, HaltedRecord,
                 AddRecord>;

/// A row that was pushed and is wanted, as a task of its run.
struct AddedRow {
  TaskId task = 0;
  PushedRow row;
  struct Ended {
    Outcome outcome = Outcome::kOk;
    /// As the journal keeps it.
    std::string returned;
  };
  struct Before {
    std::optional<Ended> ended;
  };
  /// Of one that had been pushed before, and that nobody wanted any more.
  std::optional<Before> before = {};
  /// What it asks for, where rows ask for different things.
  std::optional<TaskRequest> request = {};

  bool back() const { return before.has_value(); }
  const Ended* ended() const { return before && before->ended ? &*before->ended : nullptr; }
};

/// What has become durable, in the order in which it was written.
struct Committed {
  /// Of results, and of failures that workers reported: what they wait to hear of. Not of losses,
  /// since a lost attempt may get an outcome, too.
  std::vector<AttemptSpan> attempts;
  std::vector<uint64_t> workers;
  /// 0: none.
  TaskId mark = 0;
  std::vector<std::string> spool;
  /// New ones have the next numbers.
  std::vector<AddedRow> added = {};
  /// The requests that added some, and how many of theirs are new, or wanted again.
  std::vector<std::pair<uint64_t, size_t>> requests = {};

  /// This record is durable, too.
  void Add(const JournalRecord& record);
};

}  // namespace cq
