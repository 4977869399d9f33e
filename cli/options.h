#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/quantities.h"

namespace cq {

/// A subcommand's command line: the words before `--`, and those after it.
struct CommandLine {
  /// What stood before the subcommand's name: nothing, or what makes a program that embeds a master
  /// a worker.
  std::vector<std::string> before;
  std::vector<std::string> words;
  std::vector<std::string> command;
  bool has_command = false;
};

/// How a subcommand explains itself.
struct HelpPage {
  const char* usage;
  const char* about;
  const char* example;
};

/// A subcommand of `cq`.
struct Subcommand {
  const char* name;
  /// In one line.
  const char* summary;
  HelpPage help;
  /// As its help page shows them.
  boost::program_options::options_description (*options)();
  /// Returns the exit status of the process.
  int (*run)(const CommandLine&);
};

/// Parses the words; positional ones go to the option "positional". Throws UsageError that suggests
/// the nearest option for a mistyped one. Prints the help page and returns false for --help.
/// `hidden` options are known and not shown.
bool ParseOptions(const CommandLine& line, const Subcommand& subcommand,
                  boost::program_options::variables_map& values,
                  const boost::program_options::options_description& hidden = {});

/// The positional words of a parsed command line.
std::vector<std::string> Positional(const boost::program_options::variables_map& values);

/// "KEY=VALUE" for the option `option`. Throws UsageError.
std::pair<std::string, std::string> SplitPair(const std::string& text, const std::string& option);

}  // namespace cq
