#include "cli/options.h"

#include <fmt/format.h>

#include <iostream>
#include <set>
#include <sstream>

#include "base/nearest.h"
#include "cq/error.h"

namespace cq {
namespace {

namespace po = boost::program_options;

[[noreturn]] void UnknownOption(const std::string& name, const po::options_description& shown) {
  std::set<std::string> known;
  for (const auto& option : shown.options()) known.insert("--" + option->long_name());
  const std::string near = Nearest(name, known);
  throw UsageError(fmt::format("unknown option '{}'{}; --help lists the options", name,
                               near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

}  // namespace

bool ParseOptions(const CommandLine& line, const Subcommand& subcommand, po::variables_map& values,
                  const po::options_description& hidden) {
  const po::options_description shown = subcommand.options();
  po::options_description all;
  all.add(shown).add(hidden).add_options()("positional", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("positional", -1);
  try {
    namespace style = po::command_line_style;
    // Without guessing: an abbreviation that works today would change its meaning with the next
    // option.
    po::store(po::command_line_parser(line.words)
                  .options(all)
                  .positional(positional)
                  .style(style::unix_style & ~style::allow_guessing)
                  .run(),
              values);
    po::notify(values);
  } catch (const po::unknown_option& error) {
    UnknownOption(error.get_option_name(), shown);
  } catch (const po::error& error) {
    throw UsageError(error.what());
  }
  if (values.count("help") == 0) return true;
  std::ostringstream options;
  options << shown;
  const HelpPage& help = subcommand.help;
  fmt::print("usage: {}\n\n{}\n\n{}\nexample:\n  {}\n", help.usage, help.about, options.str(),
             help.example);
  return false;
}

std::vector<std::string> Positional(const po::variables_map& values) {
  if (values.count("positional") == 0) return {};
  return values["positional"].as<std::vector<std::string>>();
}

std::pair<std::string, std::string> SplitPair(const std::string& text, const std::string& option) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError(fmt::format("{} '{}': it must be NAME=VALUE", option, text));
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace cq
