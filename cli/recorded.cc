#include "cli/recorded.h"

#include <fmt/format.h>

#include <set>

#include "base/json.h"
#include "cli/control.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

namespace po = boost::program_options;
using Words = std::vector<std::string>;

po::parsed_options ParseWords(const Words& words, const po::options_description& shown) {
  po::options_description all;
  all.add(shown).add_options()("positional", po::value<Words>());
  po::positional_options_description positional;
  positional.add("positional", -1);
  namespace style = po::command_line_style;
  return po::command_line_parser(words)
      .options(all)
      .positional(positional)
      .style(style::unix_style & ~style::allow_guessing)
      .run();
}

bool Repeatable(const std::string& name) {
  const RunOption* option = FindRunOption(name);
  return option != nullptr && option->kind == RunOption::Kind::kList;
}

void Append(Words& words, const po::option& option) {
  if (option.value.empty()) words.push_back("--" + option.string_key);
  for (const std::string& value : option.value) {
    words.push_back(fmt::format("--{}={}", option.string_key, value));
  }
}

bool IsPositional(const po::option& option) {
  return option.position_key >= 0 || option.string_key == "positional";
}

std::string AsRecorded(const RunOption& option, const std::string& value) {
  const bool path = option.record == RunOption::Record::kPath && value != "-" && !value.empty();
  return path ? AbsolutePath(value) : value;
}

}  // namespace

std::string RecordOf(const CommandLine& line, const RunOptions& options) {
  Words words;
  for (const po::option& option : ParseWords(line.words, RunOptionsDescription()).options) {
    const RunOption* known = FindRunOption(option.string_key);
    if (known == nullptr || known->record == RunOption::Record::kOneStart) continue;
    // As they are here and now.
    if (option.string_key == "env" || option.string_key == "cwd") continue;
    po::option kept = option;
    for (std::string& value : kept.value) value = AsRecorded(*known, value);
    Append(words, kept);
  }
  for (const auto& [name, value] : options.env)
    words.push_back(fmt::format("--env={}={}", name, value));
  words.push_back("--cwd=" + AbsolutePath(options.cwd.empty() ? "." : options.cwd));
  const std::string& input = options.input;
  OrderedJson record;
  record["options"] = JsonOfList(words);
  record["input"] = JsonOfList({input.empty() ? "-" : InputIdentity(input)});
  record["command"] = JsonOfList(line.command);
  return JsonText(record);
}

CommandLine WithRecorded(const std::string& run_dir, const CommandLine& line,
                         const po::options_description& options) {
  Words words;
  Words input;
  Words command;
  const auto given = ParseWords(line.words, options);
  std::string trusted;
  for (const po::option& option : given.options) {
    if (option.string_key == "trust-owner" && !option.value.empty()) trusted = option.value[0];
  }
  RequireOwn(run_dir, trusted);
  try {
    // Of a loss the run itself tells.
    Database journal = OpenToRead(run_dir, false);
    const auto record = ParseJson(MetaText(journal, "record"));
    if (ReadDefinition(journal).calls) {
      throw UsageError(fmt::format(
          "the tasks of '{}' are calls of a program: it goes on with them when it is started again",
          run_dir));
    }
    if (record.is_null()) return line;
    words = ListOfJson(record.at("options"));
    input = ListOfJson(record.at("input"));
    command = ListOfJson(record.at("command"));
  } catch (const OrderedJson::exception& error) {
    throw Error(
        fmt::format("'{}' does not tell how its run was started: {}", run_dir, error.what()));
  }
  std::set<std::string> again;
  bool has_input = false;
  for (const po::option& option : given.options) {
    again.insert(option.string_key);
    has_input = has_input || IsPositional(option);
  }
  // What the tasks are is said in one of three ways: the one given now stands for itself.
  const bool others = line.has_command || again.contains("program") || again.contains("function");
  if (others) again.insert({"program", "function"});
  // Where workers run, too: what was said of others is not theirs.
  std::set<std::string> dropped;
  if (again.contains("on")) {
    dropped = {"scheduler", "workers", "slots", "template", "set", "worker-init"};
  } else if (again.contains("scheduler")) {
    dropped = {"on", "priority"};
  }
  CommandLine merged = line;
  if (!others) merged.command = std::move(command);
  merged.has_command = !merged.command.empty();
  merged.words.clear();
  for (const po::option& option : ParseWords(words, options).options) {
    if (dropped.contains(option.string_key)) continue;
    if (Repeatable(option.string_key) || !again.contains(option.string_key)) {
      Append(merged.words, option);
    }
  }
  merged.words.insert(merged.words.end(), line.words.begin(), line.words.end());
  if (!has_input) merged.words.insert(merged.words.end(), input.begin(), input.end());
  return merged;
}

Words OptionsOf(const CommandLine& line, const po::options_description& options) {
  Words words;
  for (const po::option& option : ParseWords(line.words, options).options) {
    if (!IsPositional(option)) Append(words, option);
  }
  return words;
}

std::optional<std::string> RecordedOption(Database& journal, const std::string& name) {
  const OrderedJson record = TryParseJson(MetaText(journal, "record"));
  if (!record.is_object() || !record.contains("options")) return std::nullopt;
  const std::string prefix = fmt::format("--{}=", name);
  std::optional<std::string> value;
  for (const std::string& word : ListOfJson(record["options"])) {
    if (word.starts_with(prefix)) value = word.substr(prefix.size());
  }
  return value;
}

}  // namespace cq
