#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "protocol/messages.h"

namespace cq {

/// The values of the JSON object that is the last line of a command's standard output (`--parse
/// json`), or why it is none.
std::variant<NamedValues, std::string> ParseLastLine(std::string_view line);

/// The members of an object, or the value itself under the name `result`. {"$number": "NaN"}, "Inf"
/// and "-Inf" are numbers.
NamedValues NamedValuesOf(const nlohmann::ordered_json& json);

/// Parses JSON of at most kJsonLevelsMax levels; a discarded value for anything else. (The library
/// writes nested values by recursion, which deeper ones would end with the stack.)
nlohmann::ordered_json ParseJson(std::string_view text);

}  // namespace cq
