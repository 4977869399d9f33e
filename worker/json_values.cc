#include "worker/json_values.h"

#include <fmt/format.h>

#include "protocol/json_record.h"
#include "protocol/text.h"

namespace cq {

std::variant<NamedValues, std::string> ParseLastLine(std::string_view line) {
  if (line.empty())
    return "--parse json: standard output is empty; its last line must be a JSON object";
  JsonRecord record;
  std::string problem = record.Read(line);
  if (problem.empty() && !record.is_object()) problem = "it is no JSON object";
  if (problem.empty()) return std::move(record.members());
  constexpr size_t kShown = 200;
  return fmt::format(
      "--parse json: the last line of standard output must be a JSON object, and {}: {}", problem,
      CutText(line, kShown));
}

}  // namespace cq
