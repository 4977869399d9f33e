#include "protocol/run_text.h"

#include "base/json.h"

namespace cq {
namespace {
constexpr const char* kWideColumns = "wide_columns";
}  // namespace

void SetWideColumns(RunText& text, const std::vector<std::string>& columns) {
  if (columns.empty()) return;
  OrderedJson json = OrderedJson::array();
  for (const std::string& column : columns) json.push_back(JsonOfBytes(column));
  text.extras.emplace_back(kWideColumns, Json{JsonText(json)});
}

std::vector<std::string> WideColumns(const RunText& text) {
  std::vector<std::string> columns;
  for (const auto& [name, value] : text.extras) {
    const auto* json = std::get_if<Json>(&value);
    if (name != kWideColumns || json == nullptr) continue;
    for (const auto& column : ParseJson(json->text)) {
      columns.push_back(BytesOfJson(column));
    }
  }
  return columns;
}

}  // namespace cq
