#pragma once

#include <string>
#include <vector>

#include "cq/run.h"
#include "cq/run_observer.h"

// What is asked of the input of a run as a whole.
namespace cq {

/// What it is called, in the journal and for people.
std::string IdentityOf(const RunOptions& options);

/// What a run that exists is of, and where it is.
struct KnownInput {
  std::string input;
  std::string run_dir;
};
/// `copy` has its rows, and whether those of the input are the same bytes. Throws UsageError.
void RequireSameInput(const KnownInput& known, const RunOptions& options, const std::string& copy,
                      bool same_bytes);

/// For a command that uses no column: a list has no header, and its first row would be missing,
/// unnoticed.
void WarnOfNoHeader(const std::vector<std::string>& columns, RunObserver& observer);

}  // namespace cq
