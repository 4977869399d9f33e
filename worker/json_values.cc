#include "worker/json_values.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace cq {
namespace {

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
      return Json{json.dump()};
  }
}

}  // namespace

std::variant<NamedValues, std::string> ParseLastLine(std::string_view line) {
  if (line.empty())
    return "--parse json: standard output is empty; its last line must be a JSON object";
  const auto json = nlohmann::ordered_json::parse(line, nullptr, false);
  if (!json.is_object()) {
    return fmt::format("--parse json: the last line of standard output is no JSON object: {}",
                       line.substr(0, 200));
  }
  NamedValues values;
  for (const auto& [name, value] : json.items()) values.emplace_back(name, ValueOf(value));
  return values;
}

}  // namespace cq
