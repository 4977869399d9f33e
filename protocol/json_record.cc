#include "protocol/json_record.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/json.h"
#include "base/json_text.h"
#include "protocol/limits.h"

namespace cq {
namespace {

/// The library's number for a number beyond the largest double.
constexpr int kNumberOverflow = 406;

// The four digits of \uXXXX at `at`.
std::optional<unsigned> EscapeAt(std::string_view text, size_t at) {
  if (text.size() < at + 6 || text[at] != '\\' || text[at + 1] != 'u') return std::nullopt;
  unsigned code = 0;
  const char* first = text.data() + at + 2;
  const auto [end, error] = std::from_chars(first, first + 4, code, 16);
  if (error != std::errc() || end != first + 4) return std::nullopt;
  return code;
}

bool IsHigh(unsigned code) { return code >= 0xd800 && code < 0xdc00; }
bool IsLow(unsigned code) { return code >= 0xdc00 && code < 0xe000; }

// The number that begins here though JSON has none such, or nothing.
std::string_view NonFiniteAt(std::string_view text, size_t at) {
  for (const std::string_view name : {"NaN", "Infinity", "-Infinity"}) {
    if (text.substr(at).starts_with(name)) return name;
  }
  return {};
}

// As the library takes it. Nothing for what is nested too deeply.
std::optional<std::string> Prepared(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') {
      const auto code = EscapeAt(text, i);
      if (!code) {
        clean.append(text.substr(i++, 2));
        continue;
      }
      const auto next = IsHigh(*code) ? EscapeAt(text, i + 6) : std::nullopt;
      if (next && IsLow(*next)) {
        clean.append(text.substr(i, 12));
        i += 11;
      } else {
        clean += IsHigh(*code) || IsLow(*code) ? "\\ufffd" : text.substr(i, 6);
        i += 5;
      }
      continue;
    }
    if (c == '"') quoted = !quoted;
    if (!quoted && (c == 'N' || c == 'I' || c == '-')) {
      const std::string_view name = NonFiniteAt(text, i);
      if (!name.empty()) {
        clean += name == "NaN"        ? R"({"$number":"NaN"})"
                 : name == "Infinity" ? R"({"$number":"Inf"})"
                                      : R"({"$number":"-Inf"})";
        i += name.size() - 1;
        continue;
      }
    }
    if (!quoted && (c == '[' || c == '{') && ++depth > kJsonLevelsMax) return std::nullopt;
    if (!quoted && (c == ']' || c == '}') && depth > 0) --depth;
    clean += c;
  }
  return clean;
}

std::optional<double> NonFinite(std::string_view json) {
  for (const double value :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    if (json == fmt::format(R"({{"$number":"{}"}})", NonFiniteName(value))) return value;
  }
  return std::nullopt;
}

// Digits that are not zero, in a number that became zero.
bool IsUnderflow(double value, std::string_view digits) {
  return value == 0 && digits.substr(0, digits.find_first_of("eE")).find_first_of("123456789") !=
                           std::string_view::npos;
}

class Handler : public nlohmann::json_sax<OrderedJson> {
 public:
  explicit Handler(NamedValues& members) : members_(members) {}

  bool null() override { return Put(std::monostate(), "null"); }
  bool boolean(bool value) override { return Put(value, value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    return Put(int64_t{value}, fmt::format_int(value).str());
  }
  bool number_unsigned(number_unsigned_t value) override {
    const std::string digits = fmt::format_int(value).str();
    if (value > INT64_MAX) return Put(Json{digits}, digits);
    return Put(static_cast<int64_t>(value), digits);
  }
  bool number_float(number_float_t value, const string_t& digits) override {
    if (IsUnderflow(value, digits)) return Fail(fmt::format("{} is too small a number", digits));
    // An integer of many digits.
    if (digits.find_first_of(".eE") == std::string::npos) return Put(Json{digits}, digits);
    return Put(value, digits);
  }
  bool string(string_t& value) override {
    if (depth_ > Base()) {
      Separate();
      AppendJsonText(nested_, value);
      return true;
    }
    return Keep(std::move(value));
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open('{'); }
  bool start_array(size_t) override { return Open('['); }
  bool end_object() override { return Close('}'); }
  bool end_array() override { return Close(']'); }
  bool key(string_t& name) override {
    if (depth_ == 1 && is_object_) {
      name_ = std::move(name);
      return true;
    }
    Separate();
    AppendJsonText(nested_, name);
    nested_ += ':';
    after_name_ = true;
    return true;
  }
  bool parse_error(size_t, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    if (error.id == kNumberOverflow) {
      problem_ = fmt::format("{} is too large a number", token);
    } else {
      problem_ = "it is no JSON";
    }
    return false;
  }

  bool is_object() const { return is_object_; }
  const std::string& problem() const { return problem_; }

 private:
  // Members stand at this depth.
  size_t Base() const { return is_object_ ? 1 : 0; }

  bool Fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  template <class T>
  bool Put(T value, std::string_view text) {
    if (depth_ == Base()) return Keep(std::move(value));
    Separate();
    nested_ += text;
    return true;
  }

  bool Keep(Value value) {
    const auto [found, added] = places_.try_emplace(name_, members_.size());
    if (!added) {
      members_[found->second].second = std::move(value);
      return true;
    }
    if (members_.size() == kNamesMax) {
      return Fail(fmt::format("it has more than {} names", kNamesMax));
    }
    members_.emplace_back(name_, std::move(value));
    return true;
  }

  // A comma before all but the first of a list.
  void Separate() {
    if (std::exchange(after_name_, false)) return;
    if (!nested_.empty() && nested_.back() != '[' && nested_.back() != '{') nested_ += ',';
  }

  bool Open(char bracket) {
    if (depth_ == 0 && bracket == '{') {
      is_object_ = true;
      depth_ = 1;
      return true;
    }
    Separate();
    nested_ += bracket;
    ++depth_;
    return true;
  }

  bool Close(char bracket) {
    --depth_;
    if (depth_ == 0 && is_object_) return true;
    nested_ += bracket;
    if (depth_ > Base()) return true;
    std::string text = std::exchange(nested_, {});
    if (const auto number = NonFinite(text)) return Keep(*number);
    return Keep(Json{std::move(text)});
  }

  NamedValues& members_;
  std::unordered_map<std::string, size_t> places_;
  std::string name_;
  /// The list or object that a member is, as far as it was read.
  std::string nested_;
  std::string problem_;
  size_t depth_ = 0;
  bool is_object_ = false;
  bool after_name_ = false;
};

}  // namespace

std::string JsonRecord::Read(std::string_view text) {
  members_.clear();
  const auto clean = Prepared(text);
  if (!clean) return fmt::format("it is nested more than {} deep", kJsonLevelsMax);
  Handler handler(members_);
  const bool read = OrderedJson::sax_parse(*clean, &handler);
  is_object_ = handler.is_object();
  if (read) return {};
  return handler.problem().empty() ? "it is no JSON" : handler.problem();
}

const Value* JsonRecord::Find(std::string_view name) const {
  for (const auto& [known, value] : members_) {
    if (known == name) return &value;
  }
  return nullptr;
}

bool IsJson(std::string_view text) { return JsonRecord().Read(text).empty(); }

}  // namespace cq
