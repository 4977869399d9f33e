#pragma once

#include <string>
#include <vector>

namespace cq {

/// The run directory that RUN, the only word of `words`, names; without it the only `*.cq` here, or
/// the newest, named on standard error. Throws UsageError if there is none, if two of them are
/// live, or if there are more words.
/// `own`: what is not named must be this user's (its command is about to be run).
std::string FindRun(const std::vector<std::string>& words, bool own = false);

}  // namespace cq
