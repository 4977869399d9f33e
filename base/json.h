#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace cq {

/// JSON whose members keep their order. Text becomes JSON, and JSON text, by the functions below:
/// in each file that did so itself, parse() and dump() would cost seconds of compilation and 100
/// kB.
using OrderedJson = nlohmann::ordered_json;

/// Throws OrderedJson::exception for what is no JSON.
OrderedJson ParseJson(std::string_view text);
/// Discarded (is_discarded()) for what is no JSON.
OrderedJson TryParseJson(std::string_view text);
/// As text, of one line or indented by so many spaces. Throws OrderedJson::exception for bytes that
/// are no UTF-8.
std::string JsonText(const OrderedJson& json, int indent = -1);
/// The same, in which they are replaced.
std::string ShownJson(const OrderedJson& json);

/// Bytes as characters of their numbers, and back: JSON holds Unicode, paths and arguments hold any
/// bytes.
std::string LatinOf(std::string_view bytes);
std::string BytesOfLatin(std::string_view text);

/// Text as it is; bytes that are no UTF-8 as {"bytes": "ÿþ"}.
OrderedJson JsonOfBytes(const std::string& bytes);
/// What that was made of. Throws OrderedJson::exception for what is neither.
std::string BytesOfJson(const OrderedJson& json);

/// The same for lists.
OrderedJson JsonOfList(const std::vector<std::string>& list);
std::vector<std::string> ListOfJson(const OrderedJson& json);

}  // namespace cq
