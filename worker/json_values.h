#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "protocol/messages.h"

namespace cq {

using NamedValues = std::vector<std::pair<std::string, Value>>;

/// The values of the JSON object that is the last line of a command's standard output (`--parse
/// json`), or why it is none.
std::variant<NamedValues, std::string> ParseLastLine(std::string_view line);

}  // namespace cq
