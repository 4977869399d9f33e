#include "worker/json_values.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "protocol/json_text.h"

namespace cq {
namespace {

std::optional<double> NonFinite(const nlohmann::ordered_json& json) {
  if (!json.is_object() || json.size() != 1 || !json.contains("$number")) return std::nullopt;
  const auto& name = json["$number"];
  for (const double value :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    if (name == NonFiniteName(value)) return value;
  }
  return std::nullopt;
}

Value ValueOf(const nlohmann::ordered_json& json) {
  switch (json.type()) {
    case nlohmann::json::value_t::null:
      return std::monostate{};
    case nlohmann::json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::json::value_t::number_integer:
      return json.get<int64_t>();
    case nlohmann::json::value_t::number_unsigned:
      if (json.get<uint64_t>() > INT64_MAX) return Json{json.dump()};
      return json.get<int64_t>();
    case nlohmann::json::value_t::number_float:
      return json.get<double>();
    case nlohmann::json::value_t::string:
      return json.get<std::string>();
    default:
      if (const auto number = NonFinite(json)) return *number;
      return Json{json.dump()};
  }
}

}  // namespace

nlohmann::ordered_json ParseJson(std::string_view text) {
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') ++i;
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '[' || c == '{') ++depth;
    if ((c == ']' || c == '}') && depth > 0) --depth;
    if (depth > kJsonLevelsMax) return nlohmann::ordered_json(nlohmann::json::value_t::discarded);
  }
  return nlohmann::ordered_json::parse(text, nullptr, false);
}

NamedValues NamedValuesOf(const nlohmann::ordered_json& json) {
  NamedValues values;
  if (!json.is_object() || NonFinite(json)) {
    values.emplace_back("result", ValueOf(json));
    return values;
  }
  for (const auto& [name, value] : json.items()) values.emplace_back(name, ValueOf(value));
  return values;
}

std::variant<NamedValues, std::string> ParseLastLine(std::string_view line) {
  if (line.empty())
    return "--parse json: standard output is empty; its last line must be a JSON object";
  const auto json = ParseJson(line);
  if (!json.is_object()) {
    return fmt::format("--parse json: the last line of standard output is no JSON object: {}",
                       line.substr(0, 200));
  }
  return NamedValuesOf(json);
}

}  // namespace cq
