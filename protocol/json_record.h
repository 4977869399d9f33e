#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "protocol/value.h"

namespace cq {

/// Reads one JSON value from end to end. What stands inside lists and objects stays as it was
/// written, numbers digit by digit; integers beyond 64 bits stay text (Json). Beside JSON, `NaN`,
/// `Infinity` and `-Infinity` are numbers, as Python and R write them; inside a list they become
/// {"$number": "NaN"}. Half of a surrogate pair becomes U+FFFD. Nesting is bounded
/// (kJsonLevelsMax), names are (kNamesMax). In linear time.
class JsonRecord {
 public:
  /// Empty, or why this is no value that can be kept.
  std::string Read(std::string_view text);

  bool is_object() const { return is_object_; }
  /// Of an object its members, in the order of their first appearance; of a name that comes twice,
  /// the last. Of anything else one member, without a name.
  NamedValues& members() { return members_; }
  /// nullptr if there is none.
  const Value* Find(std::string_view name) const;

 private:
  NamedValues members_;
  bool is_object_ = false;
};

/// Whether this is one JSON value as JsonRecord keeps them inside lists.
bool IsJson(std::string_view text);

}  // namespace cq
