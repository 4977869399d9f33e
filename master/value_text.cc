#include "master/value_text.h"

#include <fmt/format.h>

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

struct AppendValue {
  std::string& out;
  void operator()(std::monostate) const { out += "null"; }
  void operator()(bool b) const { out += b ? "true" : "false"; }
  void operator()(int64_t i) const { fmt::format_to(std::back_inserter(out), "{}", i); }
  void operator()(double d) const { out += nlohmann::json(d).dump(); }
  void operator()(const std::string& s) const { AppendQuoted(out, s); }
  void operator()(const Json& j) const { out += j.text; }
};

}  // namespace

std::string ValuesToJson(const std::vector<std::pair<std::string, Value>>& values) {
  std::string out = "{";
  for (const auto& [name, value] : values) {
    if (out.size() > 1) out += ',';
    AppendQuoted(out, name);
    out += ':';
    std::visit(AppendValue{out}, value);
  }
  return out + "}";
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
