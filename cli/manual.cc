// What shells and `man` want to know of the subcommands, from the same tables as their help pages.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "base/text.h"
#include "cli/commands.h"
#include "cq/error.h"
#include "cq/version.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kCompletionHelp = {
    "cq completion bash|zsh|fish",
    "Prints what the shell needs to complete subcommands, options and their words. For bash, in "
    "~/.bashrc:\n"
    "eval \"$(cq completion bash)\"; for zsh the same in ~/.zshrc, after compinit; for fish:\n"
    "cq completion fish > ~/.config/fish/completions/cq.fish",
    "eval \"$(cq completion bash)\""};

constexpr HelpPage kManHelp = {"cq man", "Prints the manual page of cq, with all subcommands.",
                               "cq man | man -l -"};

po::options_description ManualOptions() {
  po::options_description options("options", 100, 60);
  options.add_options()("help,h", "show this page");
  return options;
}

struct OptionLine {
  std::string name;
  /// "-w", or empty.
  std::string letter;
  /// What stands for its value; empty: it is a flag.
  std::string value;
  std::string help;
};

std::vector<OptionLine> LinesOf(const Subcommand& subcommand) {
  std::vector<OptionLine> all;
  const po::options_description options = subcommand.options();
  for (const auto& option : options.options()) {
    OptionLine shown;
    shown.name = "--" + option->long_name();
    const std::string letter =
        option->canonical_display_name(po::command_line_style::allow_dash_for_short);
    if (letter.size() == 2) shown.letter = letter;
    if (option->semantic()->max_tokens() > 0) shown.value = option->format_parameter();
    shown.help = option->description();
    all.push_back(shown);
  }
  return all;
}

// Of a value that is one of a few words, these.
std::vector<std::string> WordsOf(const OptionLine& option) {
  std::vector<std::string> words;
  std::istringstream parts(option.value);
  for (std::string word; std::getline(parts, word, '|');) {
    const bool literal = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
      return std::islower(static_cast<unsigned char>(c)) != 0;
    });
    if (literal) words.push_back(word);
  }
  return words;
}

bool TakesFile(const OptionLine& option) { return option.value == "FILE" || option.value == "DIR"; }

std::string BashScript() {
  std::string script =
      "_cq() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} i words=\n"
      "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
      "    [ \"${COMP_WORDS[i]}\" = -- ] && { COMPREPLY=($(compgen -f -- \"$word\")); return; }\n"
      "  done\n"
      "  case ${COMP_WORDS[1]} in\n";
  std::string names;
  for (const Subcommand* subcommand : Subcommands()) {
    names += fmt::format("{} ", subcommand->name);
    std::string options;
    std::string values;
    for (const OptionLine& option : LinesOf(*subcommand)) {
      options += option.name + " ";
      const std::string either = option.name + (option.letter.empty() ? "" : "|" + option.letter);
      const auto words = WordsOf(option);
      if (!words.empty()) {
        values += fmt::format("        {}) words='{}' ;;\n", either, Joined(words, " "));
      } else if (!option.value.empty() && !TakesFile(option)) {
        values += fmt::format("        {}) return ;;\n", either);
      } else if (!option.value.empty()) {
        values += fmt::format("        {}) ;;\n", either);
      }
    }
    const std::string own = std::string(subcommand->name) == "completion" ? "bash zsh fish" : "";
    script += fmt::format(
        "    {})\n      case $before in\n{}        *) [[ $word == -* ]] && words='{}' || "
        "words='{}' ;;\n"
        "      esac ;;\n",
        subcommand->name, values, options, own);
  }
  script += fmt::format("    *) words='{}' ;;\n  esac\n", names);
  script += "  [ \"$COMP_CWORD\" -gt 1 ] || words='" + names +
            "'\n"
            "  if [ -n \"$words\" ]; then COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
            "  else COMPREPLY=($(compgen -f -- \"$word\")); fi\n"
            "}\n"
            "complete -o filenames -F _cq cq\n";
  return script;
}

// zsh reads bash's.
std::string ZshScript() { return "autoload -U +X bashcompinit && bashcompinit\n" + BashScript(); }

// Within single quotes, for fish.
std::string FishQuoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

std::string FishScript() {
  std::string script;
  for (const Subcommand* subcommand : Subcommands()) {
    script += fmt::format("complete -c cq -n __fish_use_subcommand -a {} -d {}\n", subcommand->name,
                          FishQuoted(subcommand->summary));
    for (const OptionLine& option : LinesOf(*subcommand)) {
      script += fmt::format("complete -c cq -n '__fish_seen_subcommand_from {}' -l {}",
                            subcommand->name, option.name.substr(2));
      if (!option.letter.empty()) script += fmt::format(" -s {}", option.letter.substr(1));
      const auto words = WordsOf(option);
      if (!option.value.empty()) script += TakesFile(option) ? " -r" : " -x";
      if (!words.empty()) script += fmt::format(" -a '{}'", Joined(words, " "));
      script += fmt::format(" -d {}\n", FishQuoted(option.help));
    }
  }
  return script +
         "complete -c cq -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n";
}

// A line of text for roff.
std::string Roff(const std::string& text) {
  std::string roff;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool begins = i == 0 || text[i - 1] == '\n';
    if (begins && (text[i] == '.' || text[i] == '\'')) roff += "\\&";
    text[i] == '\\'  ? void(roff += "\\e")
    : text[i] == '-' ? void(roff += "\\-")
                     : void(roff += text[i]);
  }
  return roff;
}

int CompletionCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kCompletion, values)) return 0;
  const auto words = Positional(values);
  const std::string shell = words.size() == 1 ? words[0] : "";
  if (shell != "bash" && shell != "zsh" && shell != "fish") {
    throw UsageError("usage: cq completion bash|zsh|fish");
  }
  fmt::print("{}", shell == "bash" ? BashScript() : shell == "zsh" ? ZshScript() : FishScript());
  return 0;
}

int ManCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kMan, values)) return 0;
  if (!Positional(values).empty()) throw UsageError("usage: cq man");
  fmt::print(
      ".TH CQ 1 \"\" \"cq {}\" \"User Commands\"\n.SH NAME\ncq \\- many small tasks on persistent "
      "workers\n.SH SYNOPSIS\n",
      kVersion);
  for (const Subcommand* subcommand : Subcommands()) {
    fmt::print(".B {}\n.br\n", Roff(subcommand->help.usage));
  }
  for (const Subcommand* subcommand : Subcommands()) {
    fmt::print(".SH CQ {}\n{}\n.PP\n", Roff(subcommand->name), Roff(subcommand->help.about));
    for (const OptionLine& option : LinesOf(*subcommand)) {
      fmt::print(".TP\n.B {}{}{}{}\n{}\n", Roff(option.letter), option.letter.empty() ? "" : ", ",
                 Roff(option.name), option.value.empty() ? "" : " " + Roff(option.value),
                 Roff(option.help));
    }
    fmt::print(".PP\nExample:\n.PP\n.nf\n    {}\n.fi\n", Roff(subcommand->help.example));
  }
  return 0;
}

}  // namespace

const Subcommand kCompletion = {"completion", "print what a shell needs to complete commands",
                                kCompletionHelp, ManualOptions, CompletionCommandLine};
const Subcommand kMan = {"man", "print the manual page", kManHelp, ManualOptions, ManCommandLine};

}  // namespace cq
