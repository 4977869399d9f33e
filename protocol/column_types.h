#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/messages.h"

namespace cq {

/// "string", "integer", "number" or "boolean".
const char* NameOf(ColumnType type);

/// What all fields of one column could be, found out in one pass. An integer is canonical (no
/// leading zero or plus) and fits 64 bits; `NaN`, `Inf` and `-Inf` in any case are numbers; digits
/// alone that no double has exactly are text; true, false, TRUE, FALSE, True and False are
/// Booleans; empty and NA are missing.
class TypeFinder {
 public:
  void Add(std::string_view field);
  /// Of a column in which everything is missing: text.
  ColumnType type() const;
  /// Of integers, one of which is beyond 2^53.
  bool wide() const { return type() == ColumnType::kInteger && wide_; }

 private:
  bool integer_ = true;
  bool number_ = true;
  bool boolean_ = true;
  bool inexact_ = false;
  bool wide_ = false;
  bool some_ = false;
};

/// The type of that name. Throws UsageError that names `option`.
ColumnType ParseColumnType(const std::string& name, const std::string& option);

/// Whether a field of a typed column is missing.
bool IsMissing(std::string_view field);

/// A field of a column of that type; missing is null. A field that is not of the type is text.
Value TypedValue(std::string_view field, ColumnType type);

/// Whether a field can stand in a column of that type.
bool IsOfType(std::string_view field, ColumnType type);

/// The type of a single value, such as a constant.
ColumnType TypeOf(std::string_view field);

}  // namespace cq
