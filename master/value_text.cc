#include "master/value_text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace cq {
namespace {

// nlohmann's writer refuses bytes that are not UTF-8; a returned text passes through whatever it
// holds.
void AppendQuoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

template <class Number>
std::string_view Digits(Number number, std::array<char, 32>& buffer) {
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  return {buffer.data(), static_cast<size_t>(end - buffer.data())};
}

struct AppendValue {
  std::string& out;
  void operator()(std::monostate) const { out += "null"; }
  void operator()(bool b) const { out += b ? "true" : "false"; }
  void operator()(int64_t i) const {
    std::array<char, 32> buffer;
    out += Digits(i, buffer);
  }
  // A whole number keeps a point, so that it reads back as what it was.
  void operator()(double d) const {
    std::array<char, 32> buffer;
    const std::string_view digits = std::isfinite(d) ? Digits(d, buffer) : "null";
    out += digits;
    if (digits.find_first_of(".en") == digits.npos) out += ".0";
  }
  void operator()(const std::string& s) const { AppendQuoted(out, s); }
  void operator()(const Json& j) const { out += j.text; }
};

}  // namespace

void AppendJson(std::string& out, const std::vector<std::pair<std::string, Value>>& values) {
  char before = '{';
  for (const auto& [name, value] : values) {
    out += std::exchange(before, ',');
    AppendQuoted(out, name);
    out += ':';
    std::visit(AppendValue{out}, value);
  }
  if (values.empty()) out += '{';
  out += '}';
}

std::vector<std::pair<std::string, std::string>> JsonToCells(std::string_view json) {
  std::vector<std::pair<std::string, std::string>> cells;
  const auto object = nlohmann::ordered_json::parse(json, nullptr, false);
  if (!object.is_object()) return cells;
  for (const auto& [name, value] : object.items()) {
    std::string text;
    if (value.is_string()) {
      text = value.get<std::string>();
    } else if (!value.is_null()) {
      text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    cells.emplace_back(name, std::move(text));
  }
  return cells;
}

}  // namespace cq
