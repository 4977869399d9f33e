#include "master/value_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "protocol/json_text.h"

namespace cq {
namespace {

// Bytes that are no UTF-8 travel as the characters of their numbers: {"$bytes": "ÿþ"}.
constexpr const char* kBytes = "$bytes";

void AppendBytes(std::string& out, std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) text += static_cast<char>(0xC0 | byte >> 6);
    text += static_cast<char>(byte >= 0x80 ? 0x80 | (byte & 0x3F) : byte);
  }
  out += "{\"$bytes\":";
  AppendJsonText(out, text);
  out += '}';
}

std::string BytesOf(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const bool two = lead >= 0x80 && i + 1 < text.size();
    bytes += two ? static_cast<char>((lead & 0x03) << 6 | (text[i + 1] & 0x3F)) : text[i];
    i += two ? 1 : 0;
  }
  return bytes;
}

struct AppendValue {
  std::string& out;
  void operator()(std::monostate) const { out += "null"; }
  void operator()(bool b) const { out += b ? "true" : "false"; }
  void operator()(int64_t i) const {
    std::array<char, 32> buffer;
    out += Digits(i, buffer);
  }
  void operator()(double d) const {
    // JSON has neither.
    if (!std::isfinite(d)) {
      out += std::isnan(d) ? "\"NaN\"" : d > 0 ? "\"Inf\"" : "\"-Inf\"";
    } else {
      AppendJsonNumber(out, d);
    }
  }
  void operator()(const std::string& s) const {
    IsUtf8(s) ? AppendJsonText(out, s) : AppendBytes(out, s);
  }
  void operator()(const Json& j) const { out += j.text; }
};

}  // namespace

void AppendJson(std::string& out, const std::vector<std::pair<std::string, Value>>& values) {
  char before = '{';
  for (const auto& [name, value] : values) {
    out += std::exchange(before, ',');
    AppendJsonText(out, name);
    out += ':';
    std::visit(AppendValue{out}, value);
  }
  if (values.empty()) out += '{';
  out += '}';
}

namespace {

using Cells = std::vector<std::pair<std::string, std::string>>;

// Takes an object of scalars as it is parsed. What holds more stops it.
class ScalarCells final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit ScalarCells(Cells& cells) : cells_(cells) {}

  bool start_object(size_t) override { return std::exchange(outside_, false); }
  bool key(std::string& name) override {
    cells_.emplace_back(std::move(name), std::string());
    return true;
  }
  bool null() override { return !outside_; }
  bool boolean(bool value) override { return Take(value ? "true" : "false"); }
  bool number_integer(int64_t value) override { return Take(fmt::format_int(value).str()); }
  bool number_unsigned(uint64_t value) override { return Take(fmt::format_int(value).str()); }
  bool number_float(double value, const std::string&) override {
    std::array<char, 32> buffer;
    return Take(std::string(Digits(value, buffer)));
  }
  bool string(std::string& value) override { return Take(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return false; }
  bool end_array() override { return false; }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  bool Take(std::string text) {
    if (outside_) return false;
    cells_.back().second = std::move(text);
    return true;
  }

  Cells& cells_;
  bool outside_ = true;
};

Cells NestedCells(std::string_view json) {
  Cells cells;
  const auto object = nlohmann::ordered_json::parse(json, nullptr, false);
  if (!object.is_object()) return cells;
  for (const auto& [name, value] : object.items()) {
    std::string text;
    if (value.is_string()) {
      text = value.get<std::string>();
    } else if (value.is_object() && value.size() == 1 && value.contains(kBytes) &&
               value[kBytes].is_string()) {
      text = BytesOf(value[kBytes].get<std::string>());
    } else if (value.is_number_float()) {
      std::array<char, 32> buffer;
      text = Digits(value.get<double>(), buffer);
    } else if (!value.is_null()) {
      text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    cells.emplace_back(name, std::move(text));
  }
  return cells;
}

}  // namespace

Cells JsonToCells(std::string_view json) {
  Cells cells;
  ScalarCells scalars(cells);
  return nlohmann::json::sax_parse(json, &scalars) ? cells : NestedCells(json);
}

}  // namespace cq
