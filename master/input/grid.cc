#include "master/input/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cq/error.h"
#include "master/input/input.h"

namespace cq {

Table ReadTable(const std::string& path) {
  Table table;
  table.name = path;
  InputOptions options;
  options.path = path;
  options.look = [&table](const std::vector<std::string>& columns) {
    table.columns = columns;
    return [&table](const std::vector<std::string>& fields) { table.rows.push_back(fields); };
  };
  ReadInput(options);
  return table;
}

void Grid::RequireNew(const Table& table) const {
  for (const std::string& column : table.columns) {
    for (const Table& axis : axes_) {
      if (std::find(axis.columns.begin(), axis.columns.end(), column) == axis.columns.end()) {
        continue;
      }
      throw UsageError(fmt::format("the column '{}' is in {} and in {}: rename one of them", column,
                                   axis.name, table.name));
    }
  }
}

void Grid::Times(Table table) {
  RequireNew(table);
  axes_.push_back(std::move(table));
}

void Grid::Zip(const Table& table) {
  RequireNew(table);
  Table& last = axes_.back();
  if (table.rows.size() != last.rows.size()) {
    throw UsageError(fmt::format("{} has {} rows, and {}, beside which they would stand, has {}",
                                 table.name, table.rows.size(), last.name, last.rows.size()));
  }
  last.name += " and " + table.name;
  last.columns.insert(last.columns.end(), table.columns.begin(), table.columns.end());
  for (size_t i = 0; i < last.rows.size(); ++i) {
    last.rows[i].insert(last.rows[i].end(), table.rows[i].begin(), table.rows[i].end());
  }
}

std::vector<std::string> Grid::columns() const {
  std::vector<std::string> columns;
  for (const Table& axis : axes_) {
    columns.insert(columns.end(), axis.columns.begin(), axis.columns.end());
  }
  return columns;
}

uint64_t Grid::rows() const {
  constexpr uint64_t kMost = 1'000'000'000'000;
  uint64_t rows = 1;
  for (const Table& axis : axes_) {
    const uint64_t count = axis.rows.size();
    if (count > 0 && rows > kMost / count) {
      throw UsageError(fmt::format("that would be more than {} rows", kMost));
    }
    rows *= count;
  }
  return rows;
}

void Grid::Each(const std::function<void(const std::vector<std::string>& fields)>& take) const {
  std::vector<std::string> fields;
  for (uint64_t row = 0, all = rows(); row < all; ++row) {
    fields.clear();
    uint64_t below = all;
    for (const Table& axis : axes_) {
      below /= axis.rows.size();
      const auto& part = axis.rows[row / below % axis.rows.size()];
      fields.insert(fields.end(), part.begin(), part.end());
    }
    take(fields);
  }
}

}  // namespace cq
