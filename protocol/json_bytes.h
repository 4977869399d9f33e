#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace cq {

/// Bytes as characters of their numbers, and back: JSON holds Unicode, paths and arguments hold any
/// bytes.
std::string LatinOf(std::string_view bytes);
std::string BytesOfLatin(std::string_view text);

/// Text as it is; bytes that are no UTF-8 as {"bytes": "ÿþ"}.
nlohmann::ordered_json JsonOfBytes(const std::string& bytes);
/// What that was made of. Throws nlohmann's exception for what is neither.
std::string BytesOfJson(const nlohmann::ordered_json& json);

}  // namespace cq
