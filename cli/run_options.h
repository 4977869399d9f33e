#pragma once

#include <boost/program_options.hpp>

#include "cli/options.h"
#include "cq/run.h"

namespace cq {

/// The options of `cq run` and `cq resume`, as their help pages show them.
boost::program_options::options_description RunOptionsDescription();

/// What a parsed command line asks for. Throws UsageError.
RunOptions TranslateRunOptions(const CommandLine& line,
                               const boost::program_options::variables_map& values);

}  // namespace cq
