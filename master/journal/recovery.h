#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "master/core/open_allocation.h"
#include "master/core/recovered.h"
#include "master/journal/database.h"
#include "master/journal/journal.h"
#include "master/journal/run_definition.h"

// What a master finds in the journal of a run that others have worked on.
namespace cq {

/// Throws Error where the journal at `path` has no run in it.
void RequireRun(Database& journal, const std::string& path);

/// Opens the journal of an existing run. Throws Error for one that is damaged or of a newer cq.
Database OpenJournal(const std::string& path);

/// What is lost, for people, if the log beside the journal is gone though the master that wrote it
/// was killed; empty as far as nothing speaks for that. Before the journal is opened.
std::string LossOfLog(const std::string& run_dir);
/// Whether the table has it: that of an older cq may not.
bool HasColumn(Database& journal, const std::string& table, const std::string& column);
/// The JSON of one meta value; empty if there is none.
std::string MetaText(Database& journal, const char* name);

/// Where the rows of a run are: its copy, or what is about to take its place.
std::string RowsOf(Database& journal, const std::string& run_dir);

/// The highest number that a task of this run ever had.
TaskId LastTask(Database& journal, const std::vector<RowRange>& ranges);

/// How many tasks have an outcome.
uint64_t CountResults(Database& journal);

/// What the changes of a resume are, written with the new epoch in one transaction.
struct Restart {
  /// Fresh meta values, by name.
  std::map<std::string, std::string> meta;
  /// Other ranges than before: the CSV was edited.
  std::optional<std::vector<RowRange>> ranges;
  /// Tasks whose rows are gone.
  std::vector<TaskId> removed;
  /// Which outcomes are taken back, so that their tasks run again.
  enum class Rerun { kNothing, kCancelled, kFailed, kAll };
  Rerun rerun = Rerun::kNothing;
};

/// Starts the next epoch and returns its number. Local workers of earlier masters are dead by then.
Epoch StartEpoch(Database& journal, const Restart& restart);

std::vector<OpenAllocation> OpenAllocations(Database& journal);
std::vector<std::string> AvoidedHosts(Database& journal);

/// What the core starts with. `limit`: the first so many rows only; 0: all. `max_tasks`: as
/// CoreOptions.
Recovered Recover(Database& journal, const std::vector<RowRange>& ranges, uint64_t limit,
                  uint64_t max_tasks = 0);

}  // namespace cq
