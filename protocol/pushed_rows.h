#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/messages.h"
#include "protocol/row_hash.h"

// Rows that a task adds to its own run.
namespace cq {

/// The name under which a result carries them, a JSON list of objects.
inline constexpr const char* kPushName = "cq_push";
/// How many rows one task may push.
inline constexpr size_t kPushedMax = 100'000;

/// What the rows of a run are.
struct RowForm {
  std::vector<std::string> columns;
  /// What they hold; empty: texts, whatever they look like.
  std::vector<ColumnType> types;
  /// The places of those by which a row is known; empty: all.
  std::vector<size_t> key;
};

/// A row that was not in the input: the text of each column, the same for equal values.
struct PushedRow {
  RowHash key;
  std::vector<std::string> fields;
  bool operator==(const PushedRow&) const = default;
};

/// By which a row with these fields is known.
RowHash KeyOf(const std::vector<std::string>& fields, const RowForm& form);

/// The rows of a JSON list of objects. Empty, or why they cannot be rows of this run.
std::string ReadPushed(std::string_view text, const RowForm& form, std::vector<PushedRow>& rows);

/// Takes what the result pushes out of its values. Empty, or why it cannot be rows of this run.
std::string TakePushed(TaskResult& result, const RowForm& form, std::vector<PushedRow>& rows);

}  // namespace cq
