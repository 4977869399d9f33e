#include "protocol/column_types.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "cq/error.h"

namespace cq {
namespace {

bool SameLetters(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if ((a[i] | 0x20) != lower[i]) return false;
  }
  return true;
}

std::optional<int64_t> Integer(std::string_view field) {
  const size_t first = !field.empty() && field[0] == '-' ? 1 : 0;
  const bool leading_zero = field.size() > first + 1 && field[first] == '0';
  if (leading_zero || field == "-0") return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size()) return std::nullopt;
  return value;
}

// Whether there is a double of that value.
bool IsExact(int64_t whole) {
  constexpr double kTwoTo63 = 9223372036854775808.0;
  const auto rounded = static_cast<double>(whole);
  return rounded < kTwoTo63 && static_cast<int64_t>(rounded) == whole;
}

std::optional<double> Number(std::string_view field) {
  if (field.empty()) return std::nullopt;
  const char last = static_cast<char>(field.back() | 0x20);
  if (last == 'n' || last == 'f' || last == 'y') {
    if (SameLetters(field, "nan")) return std::numeric_limits<double>::quiet_NaN();
    if (SameLetters(field, "inf")) return std::numeric_limits<double>::infinity();
    if (SameLetters(field, "-inf")) return -std::numeric_limits<double>::infinity();
    return std::nullopt;
  }
  // As with integers: 007 is a name.
  const size_t first = field[0] == '-' ? 1 : 0;
  if (field.size() > first + 1 && field[first] == '0' && field[first + 1] >= '0' &&
      field[first + 1] <= '9') {
    return std::nullopt;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (end != field.data() + field.size()) return std::nullopt;
  // Beyond the largest or below the least double: not to be had exactly, so text.
  if (error != std::errc()) return std::nullopt;
  // Digits and nothing else may be a name, such as an id, and must not be rounded.
  if (field.find_first_not_of("0123456789", first) != std::string_view::npos) return value;
  const auto whole = Integer(field);
  const bool minus_zero = field == "-0";
  if (!minus_zero && !(whole && IsExact(*whole))) return std::nullopt;
  return value;
}

std::optional<bool> Boolean(std::string_view field) {
  if (field == "true" || field == "TRUE" || field == "True") return true;
  if (field == "false" || field == "FALSE" || field == "False") return false;
  return std::nullopt;
}

}  // namespace

const char* NameOf(ColumnType type) {
  constexpr const char* kNames[] = {"string", "integer", "number", "boolean"};
  return kNames[static_cast<size_t>(type)];
}

ColumnType ParseColumnType(const std::string& name, const std::string& option) {
  for (const ColumnType type :
       {ColumnType::kText, ColumnType::kInteger, ColumnType::kNumber, ColumnType::kBool}) {
    if (name == NameOf(type)) return type;
  }
  throw UsageError(fmt::format(
      "{}: there is no type '{}'; there are: string, integer, number, boolean", option, name));
}

bool IsMissing(std::string_view field) { return field.empty() || field == "NA"; }

void TypeFinder::Add(std::string_view field) {
  if (!(integer_ || number_ || boolean_) || IsMissing(field)) return;
  some_ = true;
  if (integer_) {
    const auto whole = Integer(field);
    integer_ = whole.has_value();
    // What is an integer is a number, too, but for those that no double has.
    if (whole) inexact_ = inexact_ || !IsExact(*whole);
    constexpr int64_t kMost = int64_t{1} << 53;
    if (whole) wide_ = wide_ || *whole > kMost || *whole < -kMost;
  }
  if (!integer_) number_ = number_ && !inexact_ && Number(field);
  boolean_ = boolean_ && Boolean(field);
}

ColumnType TypeFinder::type() const {
  if (!some_) return ColumnType::kText;
  return integer_   ? ColumnType::kInteger
         : number_  ? ColumnType::kNumber
         : boolean_ ? ColumnType::kBool
                    : ColumnType::kText;
}

Value TypedValue(std::string_view field, ColumnType type) {
  if (type != ColumnType::kText && IsMissing(field)) return std::monostate{};
  if (type == ColumnType::kInteger) {
    if (const auto value = Integer(field)) return *value;
  } else if (type == ColumnType::kNumber) {
    if (const auto value = Number(field)) return *value;
  } else if (type == ColumnType::kBool) {
    if (const auto value = Boolean(field)) return *value;
  }
  return std::string(field);
}

bool IsOfType(std::string_view field, ColumnType type) {
  return type == ColumnType::kText || IsMissing(field) ||
         !std::holds_alternative<std::string>(TypedValue(field, type));
}

ColumnType TypeOf(std::string_view field) {
  TypeFinder finder;
  finder.Add(field);
  return finder.type();
}

}  // namespace cq
