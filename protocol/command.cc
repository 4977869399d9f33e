#include "protocol/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "cq/error.h"
#include "protocol/limits.h"

namespace cq {
namespace {

bool LooksLikeName(std::string_view text) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto later = [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-';
  };
  return !text.empty() && letter(text[0]) && std::all_of(text.begin() + 1, text.end(), later);
}

class Compiler {
 public:
  Compiler(const std::vector<std::string>& columns,
           const std::map<std::string, std::string>& constants, bool shell)
      : columns_(columns), constants_(constants), shell_(shell) {}

  void Add(std::string_view argument) {
    parts_.clear();
    size_t at = 0;
    while (at < argument.size()) {
      if (argument[at] != '{') {
        const size_t next = std::min(argument.find('{', at), argument.size());
        Literal(argument.substr(at, next - at));
        at = next;
        continue;
      }
      at += Brace(argument, at);
    }
    result_.arguments.push_back(std::move(parts_));
  }

  CompiledCommand Take() { return std::move(result_); }

 private:
  // Handles the brace at `at` and returns how many bytes it took.
  size_t Brace(std::string_view argument, size_t at) {
    const std::string_view rest = argument.substr(at);
    if (rest.starts_with("{{")) {
      const size_t close = rest.find("}}", 2);
      if (close != std::string_view::npos && IsPlaceholderLike(rest.substr(2, close - 2))) {
        Literal(rest.substr(1, close));
        return close + 2;
      }
    }
    // The longest-standing rule of shells: what follows a dollar is theirs (${HOME}).
    const bool after_dollar = at > 0 && argument[at - 1] == '$';
    const auto name = KnownName(rest);
    if (name && !after_dollar) {
      Placeholder(*name);
      return name->size() + 2;
    }
    const size_t close = rest.find('}');
    if (close != std::string_view::npos && !after_dollar &&
        LooksLikeName(rest.substr(1, close - 1))) {
      Unknown(rest.substr(1, close - 1), argument);
    }
    Literal("{");
    return 1;
  }

  bool IsPlaceholderLike(std::string_view name) const {
    return LooksLikeName(name) || Column(name) || name == "#" ||
           constants_.contains(std::string(name));
  }

  // The name in `{NAME}` at the start of `rest`, if it is exactly a known one. Columns may hold any
  // bytes, braces among them, so each closing brace is tried.
  std::optional<std::string_view> KnownName(std::string_view rest) const {
    for (size_t close = rest.find('}'); close != std::string_view::npos;
         close = rest.find('}', close + 1)) {
      const std::string_view name = rest.substr(1, close - 1);
      if (name == "#" || constants_.contains(std::string(name)) || Column(name)) return name;
      if (name.size() > longest_name_) break;
    }
    return std::nullopt;
  }

  std::optional<size_t> Column(std::string_view name) const {
    const auto found = std::find(columns_.begin(), columns_.end(), name);
    if (found == columns_.end()) return std::nullopt;
    return static_cast<size_t>(found - columns_.begin());
  }

  void Placeholder(std::string_view name) {
    if (const auto constant = constants_.find(std::string(name)); constant != constants_.end()) {
      Literal(shell_ ? ShellQuote(constant->second) : constant->second);
      return;
    }
    if (const auto column = Column(name)) {
      auto& used = result_.columns;
      auto found = std::find(used.begin(), used.end(), *column);
      if (found == used.end()) found = used.insert(used.end(), *column);
      const int64_t value = found - used.begin();
      parts_.emplace_back(shell_ ? QuotedPart(value) : value);
      return;
    }
    parts_.emplace_back(kTaskNumberPart);
  }

  void Literal(std::string_view text) {
    if (parts_.empty() || !std::holds_alternative<std::string>(parts_.back())) {
      parts_.emplace_back(std::string());
    }
    std::get<std::string>(parts_.back()).append(text);
  }

  [[noreturn]] void Unknown(std::string_view name, std::string_view argument) const {
    throw UsageError(fmt::format(
        "unknown placeholder {{{}}} in '{}'; the columns are: {}{}; to pass it on literally, write "
        "{{{{{}}}}}",
        name, argument.substr(0, 200), Joined(columns_, ", "), ConstantsText(), name));
  }

  std::string ConstantsText() const {
    std::string text;
    for (const auto& [name, value] : constants_) {
      text += (text.empty() ? "; the constants: " : ", ") + name;
    }
    return text;
  }

  static size_t LongestName(const std::vector<std::string>& columns,
                            const std::map<std::string, std::string>& constants) {
    size_t longest = 1;
    for (const auto& column : columns) longest = std::max(longest, column.size());
    for (const auto& [name, value] : constants) longest = std::max(longest, name.size());
    return longest;
  }

  const std::vector<std::string>& columns_;
  const std::map<std::string, std::string>& constants_;
  const bool shell_;
  const size_t longest_name_ = LongestName(columns_, constants_);
  CommandArgument parts_;
  CompiledCommand result_;
};

}  // namespace

CompiledCommand CompileCommand(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& columns,
                               const std::map<std::string, std::string>& constants, bool shell) {
  Compiler compiler(columns, constants, shell);
  if (shell) {
    compiler.Add(arguments.at(0));
    CompiledCommand text = compiler.Take();
    text.arguments.insert(text.arguments.begin(), {{"/bin/sh"}, {"-c"}});
    return text;
  }
  for (const auto& argument : arguments) compiler.Add(argument);
  return compiler.Take();
}

std::variant<std::vector<std::string>, std::string> RenderCommand(
    const std::vector<CommandArgument>& command, const std::vector<std::string>& values,
    TaskId task) {
  std::vector<std::string> rendered;
  rendered.reserve(command.size());
  for (const CommandArgument& argument : command) {
    std::string& text = rendered.emplace_back();
    for (const CommandPart& part : argument) {
      if (const auto* literal = std::get_if<std::string>(&part)) {
        text += *literal;
        continue;
      }
      const int64_t number = std::get<int64_t>(part);
      if (number == kTaskNumberPart) {
        text += std::to_string(task);
        continue;
      }
      const auto index = static_cast<size_t>(number >= 0 ? number : -2 - number);
      if (index >= values.size()) return "the task came without a value that its command names";
      text += number >= 0 ? values[index] : ShellQuote(values[index]);
    }
    if (text.find('\0') != std::string::npos) {
      return fmt::format("argument {} holds a NUL byte, which no argument of a program can hold",
                         rendered.size());
    }
    if (text.size() > kFieldBytesMax) {
      return fmt::format("argument {} has {} bytes; Linux takes at most {} for one argument",
                         rendered.size(), text.size(), kFieldBytesMax);
    }
  }
  return rendered;
}

std::vector<std::string> SplitWords(std::string_view text) {
  std::vector<std::string> words;
  std::optional<std::string> word;
  char quote = '\0';
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool last = i + 1 == text.size();
    if (quote == '\0' && (c == ' ' || c == '\t' || c == '\n')) {
      if (word) words.push_back(*std::exchange(word, std::nullopt));
      continue;
    }
    if (!word) word.emplace();
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == '\\' && quote != '\'' && !last &&
               (quote == '\0' || std::string_view("$`\"\\").find(text[i + 1]) != text.npos)) {
      *word += text[++i];
    } else {
      *word += c;
    }
  }
  if (quote != '\0') throw UsageError(fmt::format("{} is not closed in: {}", quote, text));
  if (word) words.push_back(*word);
  return words;
}

std::string ShellQuote(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

}  // namespace cq
