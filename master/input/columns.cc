#include "master/input/columns.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cq/error.h"

namespace cq {

size_t ColumnIndex(const std::string& name, const std::string& option,
                   const std::vector<std::string>& columns) {
  const auto found = std::find(columns.begin(), columns.end(), name);
  if (found != columns.end()) return static_cast<size_t>(found - columns.begin());
  throw UsageError(fmt::format("{}: there is no column '{}'; the columns are: {}", option, name,
                               Joined(columns, ", ")));
}

std::vector<size_t> ColumnIndices(const std::vector<std::string>& names, const std::string& option,
                                  const std::vector<std::string>& columns) {
  std::vector<size_t> indices;
  indices.reserve(names.size());
  for (const std::string& name : names) indices.push_back(ColumnIndex(name, option, columns));
  return indices;
}

}  // namespace cq
