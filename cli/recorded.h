#pragma once

#include <boost/program_options.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cq/run.h"
#include "master/journal/database.h"

// The command line of a run, as its journal keeps it for whoever goes on with the run.
namespace cq {

/// The words of `line` that a later start takes over, as JSON: paths made absolute, variables with
/// their values; without what is for one start only (--limit, --fresh, --failed, --json, …).
std::string RecordOf(const CommandLine& line, const RunOptions& options);

/// The line with everything recorded in the run's journal that it does not give itself. Options
/// that may be repeated are put together, what is given now last.
CommandLine WithRecorded(const std::string& run_dir, const CommandLine& line,
                         const boost::program_options::options_description& options);

/// The words of a line that are options, without the positional ones.
std::vector<std::string> OptionsOf(const CommandLine& line,
                                   const boost::program_options::options_description& options);

/// The value of an option as the run's journal recorded it last, if it was given.
std::optional<std::string> RecordedOption(Database& journal, const std::string& name);

}  // namespace cq
