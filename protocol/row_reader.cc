#include "protocol/row_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <variant>

#include "base/json_text.h"
#include "base/nearest.h"
#include "base/text.h"
#include "protocol/column_types.h"

namespace cq {
namespace {

/// Why a row cannot be one.
struct Unfit {
  std::string why;
};

constexpr double kTwoTo53 = 9007199254740992.0;
constexpr double kTwoTo63 = 9223372036854775808.0;

std::string TextOfNumber(double value) {
  if (!std::isfinite(value)) return NonFiniteName(value);
  // Whole ones as whoever wants an integer takes them; -0 is 0.
  if (std::trunc(value) == value && std::abs(value) <= kTwoTo53) {
    return fmt::format_int(static_cast<int64_t>(value)).str();
  }
  std::array<char, 32> buffer;
  return std::string(Digits(value, buffer));
}

// JSON has no NaN: {"$number": "NaN"}.
std::optional<double> NonFinite(const OrderedJson& json) {
  if (!json.is_object() || json.size() != 1 || !json.contains("$number")) return std::nullopt;
  const auto& name = json.front();
  for (const double value :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    if (name == NonFiniteName(value)) return value;
  }
  return std::nullopt;
}

Value ValueOf(const OrderedJson& json) {
  if (json.is_null()) return std::monostate();
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX) {
    throw Unfit{"is an integer beyond 64 bits: push it as text"};
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number_float()) {
    const double value = json.get<double>();
    // The digits of an integer are lost by then.
    if (std::abs(value) >= kTwoTo63 && std::trunc(value) == value && std::abs(value) < 1e22) {
      throw Unfit{"is an integer beyond 64 bits: push it as text"};
    }
    return value;
  }
  if (const auto number = NonFinite(json)) return *number;
  throw Unfit{"is a list or an object: a field of a row is one value"};
}

// As the column's programs take it, or text.
std::string TextOf(const Value& value, ColumnType type) {
  if (std::holds_alternative<std::monostate>(value)) return {};
  const auto* text = std::get_if<std::string>(&value);
  const auto unfit = [&](const std::string& shown) {
    return Unfit{fmt::format("is {}, and the column is {}: a fresh run with --types says otherwise",
                             CutText(shown, 100), NameOf(type))};
  };
  if (text != nullptr) {
    if (type == ColumnType::kText) return *text;
    if (IsMissing(*text)) return {};
    const Value typed = TypedValue(*text, type);
    if (std::holds_alternative<std::string>(typed)) throw unfit(fmt::format("'{}'", *text));
    return TextOf(typed, type);
  }
  if (const auto* truth = std::get_if<bool>(&value)) {
    const char* name = *truth ? "true" : "false";
    if (type == ColumnType::kBool || type == ColumnType::kText) return name;
    throw unfit(name);
  }
  if (const auto* whole = std::get_if<int64_t>(&value)) {
    const std::string digits = fmt::format_int(*whole).str();
    if (type == ColumnType::kBool) throw unfit(digits);
    if (type == ColumnType::kNumber) {
      if (!IsOfType(digits, type)) throw unfit(digits);
      return TextOfNumber(static_cast<double>(*whole));
    }
    return digits;
  }
  const double number = std::get<double>(value);
  if (type == ColumnType::kBool) throw unfit(TextOfNumber(number));
  if (type == ColumnType::kInteger) {
    if (std::trunc(number) != number || std::abs(number) > kTwoTo53) {
      throw unfit(TextOfNumber(number));
    }
  }
  return TextOfNumber(number);
}

std::vector<std::string> FieldsOf(const OrderedJson& row, const RowForm& form) {
  if (!row.is_object()) throw Unfit{"it must be a list of objects, one for each row"};
  std::vector<std::string> fields(form.columns.size());
  for (const auto& [name, value] : row.items()) {
    const auto found = std::find(form.columns.begin(), form.columns.end(), name);
    if (found == form.columns.end()) {
      const std::string near = Nearest(name, {form.columns.begin(), form.columns.end()});
      throw Unfit{fmt::format("the input has no column '{}'{}", CutText(name, 100),
                              near.empty() ? fmt::format("; its columns are {}",
                                                         CutText(Joined(form.columns, ", "), 200))
                                           : fmt::format("; did you mean '{}'?", near))};
    }
    const auto place = static_cast<size_t>(found - form.columns.begin());
    try {
      fields[place] =
          TextOf(ValueOf(value), form.types.empty() ? ColumnType::kText : form.types[place]);
    } catch (const Unfit& unfit) {
      throw Unfit{fmt::format("'{}' {}", name, unfit.why)};
    }
  }
  return fields;
}

}  // namespace

std::string ReadRows(const OrderedJson& json, const RowForm& form, std::vector<PushedRow>& rows) {
  try {
    if (!json.is_array()) throw Unfit{"it must be a list of objects, one for each row"};
    if (json.size() > kPushedMax) {
      throw Unfit{fmt::format("{} rows; there may be {} at a time", json.size(), kPushedMax)};
    }
    for (const OrderedJson& row : json) {
      PushedRow pushed;
      pushed.fields = FieldsOf(row, form);
      pushed.key = KeyOf(pushed.fields, form);
      rows.push_back(std::move(pushed));
    }
  } catch (const Unfit& unfit) {
    rows.clear();
    return unfit.why;
  }
  return {};
}

}  // namespace cq
