#include "protocol/run_text.h"

#include <nlohmann/json.hpp>

#include "protocol/json_bytes.h"

namespace cq {
namespace {
constexpr const char* kWideColumns = "wide_columns";
}  // namespace

void SetWideColumns(RunText& text, const std::vector<std::string>& columns) {
  if (columns.empty()) return;
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const std::string& column : columns) json.push_back(JsonOfBytes(column));
  text.extras.emplace_back(kWideColumns, Json{json.dump()});
}

std::vector<std::string> WideColumns(const RunText& text) {
  std::vector<std::string> columns;
  for (const auto& [name, value] : text.extras) {
    const auto* json = std::get_if<Json>(&value);
    if (name != kWideColumns || json == nullptr) continue;
    for (const auto& column : nlohmann::ordered_json::parse(json->text)) {
      columns.push_back(BytesOfJson(column));
    }
  }
  return columns;
}

}  // namespace cq
