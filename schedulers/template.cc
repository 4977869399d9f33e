#include "schedulers/template.h"

#include <fmt/format.h>

#include "base/nearest.h"
#include "base/text.h"
#include "cq/error.h"

namespace cq {
namespace {

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

class Filler {
 public:
  Filler(std::string name, const std::map<std::string, std::string>& values,
         const std::set<std::string>& known, std::string_view directive, std::string_view option)
      : name_(std::move(name)),
        values_(values),
        known_(known),
        directive_(directive),
        option_(option) {}

  void Line(std::string_view line) {
    ++number_;
    std::string filled;
    bool empty_value = false;
    while (true) {
      const size_t open = line.find("{{");
      filled += line.substr(0, open);
      if (open == std::string_view::npos) break;
      const size_t close = line.find("}}", open);
      if (close == std::string_view::npos) Fail("'{{' without '}}'");
      const std::string value = Value(line.substr(open + 2, close - open - 2));
      empty_value = empty_value || value.empty();
      const bool directive = !directive_.empty() && filled.starts_with(directive_);
      filled += directive ? Quoted(value, filled.back()) : value;
      line.remove_prefix(close + 2);
    }
    if (empty_value && !directive_.empty() && filled.starts_with(directive_)) return;
    result_ += filled + "\n";
  }

  const std::set<std::string>& used() const { return used_; }
  std::string Take() { return std::move(result_); }

 private:
  std::string Value(std::string_view inside) {
    const size_t bar = inside.find('|');
    const std::string key(Trim(inside.substr(0, bar)));
    used_.insert(key);
    if (const auto value = values_.find(key); value != values_.end()) return value->second;
    if (bar != std::string_view::npos) return std::string(Trim(inside.substr(bar + 1)));
    if (!known_.contains(key)) {
      const std::string near = Nearest(key, known_);
      Fail(fmt::format("unknown key '{}'{}; known keys: {}", key,
                       near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
                       Joined(known_, ", ")));
    }
    Fail(
        fmt::format("key '{}' has no value: give one with {} {}=VALUE, or a default in the "
                    "template, as in {{{{ {} | VALUE }}}}",
                    key, option_, key, key));
  }

  // In a line that the scheduler reads, not a shell: # and blanks end what is not in quotes.
  // `before` may be a quote of the template's own.
  std::string Quoted(const std::string& value, char before) const {
    if (value.find_first_of("\n\r") != std::string::npos) {
      Fail(fmt::format("a newline in '{}', which no directive can hold", value));
    }
    // What is no value of an option may be several options.
    const bool is_value = before == '=' || before == '"' || before == '\'';
    if (!is_value || value.find_first_of(" \t\"'#\\") == std::string::npos) return value;
    std::string quoted;
    for (const char c : value) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return before == '"' || before == '\'' ? quoted : "\"" + quoted + "\"";
  }

  [[noreturn]] void Fail(const std::string& what) const {
    throw UsageError(fmt::format("{}:{}: {}", name_, number_, what));
  }

  const std::string name_;
  const std::map<std::string, std::string>& values_;
  const std::set<std::string>& known_;
  const std::string_view directive_;
  const std::string_view option_;
  int number_ = 0;
  std::set<std::string> used_;
  std::string result_;
};

}  // namespace

std::string FillTemplate(std::string_view text, const std::string& name,
                         const std::map<std::string, std::string>& values,
                         const std::set<std::string>& known, const std::set<std::string>& user_set,
                         std::string_view directive, std::string_view option) {
  Filler filler(name, values, known, directive, option);
  while (!text.empty()) {
    const size_t end = text.find('\n');
    filler.Line(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  for (const std::string& key : user_set) {
    if (filler.used().contains(key)) continue;
    const std::string near = Nearest(key, filler.used());
    throw UsageError(fmt::format("{} {}: the template '{}' has no key '{}'{}; it has: {}", option,
                                 key, name, key,
                                 near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
                                 Joined(filler.used(), ", ")));
  }
  return filler.Take();
}

}  // namespace cq
