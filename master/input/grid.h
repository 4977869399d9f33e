#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cq {

/// Some columns and their values, in memory.
struct Table {
  /// Where it comes from, for messages.
  std::string name;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

/// Throws UsageError for what is no valid CSV.
Table ReadTable(const std::string& path);

/// All combinations of the rows of several tables: the first changes slowest.
class Grid {
 public:
  /// Each row so far with each of these. Throws UsageError for a column that is there already.
  void Times(Table table);
  /// The rows of the last table, each with the row of this one that stands where it stands. Throws
  /// UsageError if they are not as many.
  void Zip(const Table& table);

  std::vector<std::string> columns() const;
  /// Throws UsageError if nobody could count them.
  uint64_t rows() const;
  /// Calls `take` with each row.
  void Each(const std::function<void(const std::vector<std::string>& fields)>& take) const;

 private:
  void RequireNew(const Table& table) const;

  std::vector<Table> axes_;
};

}  // namespace cq
