#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/messages.h"

namespace cq {

/// Appends a JSON object of returned values, as the journal keeps it; doubles in their shortest
/// form that reads back to the same bits. A text that is no UTF-8 is {"$bytes": …}, each byte a
/// character.
void AppendJson(std::string& out, const std::vector<std::pair<std::string, Value>>& values);

/// The same of a value as its program packed it, and the names that it has. Appends nothing for
/// what is none.
void AppendPackedJson(std::string& out, std::string_view packed, std::vector<std::string>& names);

/// Names and texts.
using Cells = std::vector<std::pair<std::string, std::string>>;

/// Fills `cells` with the returned values of one task as a CSV has them: text as it is, null empty,
/// the rest as JSON writes it. In the order of the object.
void JsonToCells(std::string_view json, Cells& cells);

}  // namespace cq
