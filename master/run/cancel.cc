#include "master/run/cancel.h"

#include <fmt/format.h>

#include "cq/error.h"
#include "master/journal/recovery.h"
#include "master/pools/pool.h"
#include "master/run/run_directory.h"

namespace cq {

std::vector<std::string> CancelAllocations(Database& journal, const std::string& run_dir,
                                           const std::set<std::string>& kept,
                                           const SayWaiting& say) {
  std::vector<std::string> cancelled;
  for (const OpenAllocation& open : OpenAllocations(journal)) {
    if (kept.contains(open.scheduler)) continue;
    bool there = false;
    try {
      there = CancelAllocation(open, run_dir, say);
    } catch (const Error& error) {
      if (!open.job.empty()) throw;
      // Most likely it never came: it stays open for whoever asks again.
      say(fmt::format("whether {} has jobs of an earlier submission is not known: {}",
                      open.scheduler, error.what()));
      continue;
    }
    if (there) {
      cancelled.push_back(open.scheduler + " " + (open.job.empty() ? open.token : open.job));
    }
    journal.Prepare("UPDATE allocations SET ended_us = unixepoch() * 1000000 WHERE token = ?1")
        .BindText(1, open.token)
        .Run();
  }
  return cancelled;
}

std::vector<std::string> CancelLeftJobs(const std::string& run_dir, const SayWaiting& say) {
  const RunDirectory directory = RunDirectory::Open(run_dir, false);
  Database journal = OpenJournal(directory.File("journal.db"));
  return CancelAllocations(journal, directory.path(), {}, say);
}

}  // namespace cq
