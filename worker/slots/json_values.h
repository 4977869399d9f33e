#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "protocol/messages.h"

namespace cq {

/// The values of the JSON object that is the last line of a command's standard output (`--parse
/// json`), or why it is none.
std::variant<NamedValues, std::string> ParseLastLine(std::string_view line);

}  // namespace cq
