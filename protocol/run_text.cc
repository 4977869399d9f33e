#include "protocol/run_text.h"

#include "base/json.h"

namespace cq {
namespace {
constexpr const char* kWideColumns = "wide_columns";
}  // namespace

void SetWideColumns(RunText& text, const std::vector<std::string>& columns) {
  if (columns.empty()) return;
  text.extras.emplace_back(kWideColumns, Json{JsonText(JsonOfList(columns))});
}

std::vector<std::string> WideColumns(const RunText& text) {
  for (const auto& [name, value] : text.extras) {
    const auto* json = std::get_if<Json>(&value);
    if (name == kWideColumns && json != nullptr) return ListOfJson(ParseJson(json->text));
  }
  return {};
}

}  // namespace cq
