#include "protocol/pushed_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "protocol/row_reader.h"

namespace cq {

RowHash KeyOf(const std::vector<std::string>& fields, const RowForm& form) {
  if (form.key.empty()) return HashOf(fields);
  std::vector<std::string> key;
  for (const size_t column : form.key) key.push_back(fields.at(column));
  return HashOf(key);
}

std::string ReadPushed(std::string_view text, const RowForm& form, std::vector<PushedRow>& rows) {
  return ReadRows(TryParseJson(text), form, rows);
}

std::string TakePushed(TaskResult& result, const RowForm& form, std::vector<PushedRow>& rows) {
  const auto found = std::find_if(result.values.begin(), result.values.end(),
                                  [](const auto& value) { return value.first == kPushName; });
  if (found == result.values.end()) return {};
  const Value value = std::move(found->second);
  result.values.erase(found);
  if (std::holds_alternative<std::monostate>(value)) return {};
  const auto* json = std::get_if<Json>(&value);
  const std::string problem = ReadPushed(json == nullptr ? "" : json->text, form, rows);
  return problem.empty() ? "" : fmt::format("{}: {}", kPushName, problem);
}

}  // namespace cq
