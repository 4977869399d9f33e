#include "cli/halt_rule.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>

#include "base/text.h"
#include "cq/error.h"

namespace cq {

Halt ParseHalt(const std::string& text, const std::string& option) {
  static const std::map<std::string, Halt::Of> kOf = {
      {"fail", Halt::Of::kFailed}, {"success", Halt::Of::kOk}, {"done", Halt::Of::kDone}};
  const size_t comma = text.find(',');
  const size_t equals = text.find('=');
  const std::string when = text.substr(0, comma);
  const bool whole = comma != std::string::npos && equals != std::string::npos && comma < equals;
  const auto of = kOf.find(whole ? text.substr(comma + 1, equals - comma - 1) : "");
  std::string number = whole ? text.substr(equals + 1) : "";
  Halt halt;
  halt.percent = number.ends_with('%');
  if (halt.percent) number.pop_back();
  const char* end = number.data() + number.size();
  const auto parsed = std::from_chars(number.data(), end, halt.count);
  const bool is_number =
      parsed.ec == std::errc() && parsed.ptr == end && halt.count > 0 &&
      (halt.percent ? halt.count <= 100 : halt.count >= 1 && std::floor(halt.count) == halt.count);
  if ((when != "now" && when != "soon") || of == kOf.end() || !is_number) {
    throw UsageError(fmt::format(
        "{} '{}': it must be now or soon, a comma, and fail, success or done with how many tasks, "
        "or percent of them, as in now,success=1, soon,fail=3, soon,done=10%; or never",
        option, text));
  }
  halt.of = of->second;
  halt.now = when == "now";
  halt.text = option + " " + text;
  return halt;
}

}  // namespace cq
