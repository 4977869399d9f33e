#pragma once

#include <string>
#include <variant>
#include <vector>

#include "master/core/records.h"
#include "master/core/worker_table.h"
#include "protocol/messages.h"

// What the core asks the event loop to do, in this order.
namespace cq {

/// Send `message` in `session` (0: none). The loop numbers the messages of a session.
struct Send {
  ConnectionId to = 0;
  SessionId session = 0;
  ToWorker message;
};

/// Send these tasks as `assign`, with the rows that the loop reads, in as many frames as they need.
struct Give {
  /// Several together are fresh.
  struct Grant {
    AttemptSpan span;
    uint64_t attempt_number = 1;
    /// A worker may have died of it.
    bool dangerous = false;
    /// What it asks for, unless that is what all ask for (the run's text).
    ClassId of = 0;
  };
  ConnectionId to = 0;
  SessionId session = 0;
  std::vector<Grant> grants;
};

/// Write these to the journal.
struct Write {
  std::vector<JournalRecord> records;
};

/// Say this to the user; a change of the workers, or something that went wrong.
struct Note {
  enum class Kind { kWorkers, kWarning };
  Kind kind = Kind::kWorkers;
  std::string text;
};

/// The worker of this allocation is lost by its silence: end it if its job is ours to replace.
struct EndJob {
  std::string allocation;
};

/// Tasks cannot be started on this host though they can elsewhere: no worker is to go there again.
struct AvoidHost {
  std::string host;
};

/// Nothing is left to do: every task has a durable outcome, or the run is drained or stopped.
struct Finished {};

using Action = std::variant<Send, Give, Write, Note, EndJob, AvoidHost, Finished>;

}  // namespace cq
