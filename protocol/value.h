#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

// What travels as a value in messages.
namespace cq {

/// JSON text: an array, an object, or an integer beyond 64 bits.
struct Json {
  std::string text;
  bool operator==(const Json&) const = default;
};

/// A returned value; monostate is null.
using Value = std::variant<std::monostate, bool, int64_t, double, std::string, Json>;

using NamedValues = std::vector<std::pair<std::string, Value>>;

/// What a later release adds and an older one may ignore, unless the name begins with '!'.
using Extras = std::vector<std::pair<std::string, Value>>;

}  // namespace cq
