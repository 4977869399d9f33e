#include "worker/slots/json_values.h"

#include <fmt/format.h>

#include "base/text.h"
#include "protocol/json_record.h"

namespace cq {

std::variant<NamedValues, std::string> ParseLastLine(std::string_view line) {
  if (line.empty())
    return "--parse json: standard output is empty; its last line must be a JSON object";
  constexpr size_t kShown = 200;
  JsonRecord record;
  const std::string problem = record.Read(line);
  if (problem.empty() && record.is_object()) return std::move(record.members());
  // That it is no JSON at all is seen by whoever looks at it.
  const bool plain = problem.empty() || problem == "it is no JSON";
  return fmt::format("--parse json: the last line of standard output is no JSON object{}: {}",
                     plain ? "" : fmt::format(" ({})", problem), CutText(line, kShown));
}

}  // namespace cq
