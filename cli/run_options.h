#pragma once

#include <boost/program_options.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cq/run.h"

namespace cq {

/// N, or MIN:MAX.
struct WorkerRange {
  unsigned most = 1;
  std::optional<unsigned> least;
};
WorkerRange ParseWorkers(const std::string& value, const std::string& option);

/// An option of `cq run` and `cq resume`: all that is known of it.
struct RunOption {
  /// Sets the field from a value (empty for a flag). `option` is what messages name: "--lease".
  /// Throws UsageError.
  using Set =
      std::function<void(RunOptions& options, const std::string& option, const std::string& value)>;
  enum class Kind { kOnce, kList };
  /// What the run's directory keeps of it for a resume.
  enum class Record { kAsItIs, kPath, kOneStart };

  /// "long" or "long,s".
  const char* name;
  /// What stands for its value; nullptr: it is a flag.
  const char* value;
  const char* help;
  /// None for what is no field of RunOptions.
  Set set;
  /// A list may be given several times, and a resume adds to it.
  Kind kind = Kind::kOnce;
  /// A path is recorded as an absolute one; what is of one start is none of the next one's
  /// business.
  Record record = Record::kAsItIs;

  std::string long_name() const;
};

/// All of them, in the order of the help page.
const std::vector<RunOption>& RunOptionTable();
/// nullptr: there is none.
const RunOption* FindRunOption(const std::string& long_name);

/// As help pages show them.
boost::program_options::options_description RunOptionsDescription();

/// Those of the table, for the help page of another subcommand that takes them, too.
void AddRunOptions(boost::program_options::options_description& options,
                   const std::function<bool(const RunOption&)>& which);
/// Sets the fields of all options of the table that are given. Throws UsageError.
void SetRunOptions(RunOptions& options, const boost::program_options::variables_map& values);

/// What a parsed command line asks for. Throws UsageError.
RunOptions TranslateRunOptions(const CommandLine& line,
                               const boost::program_options::variables_map& values);

}  // namespace cq
