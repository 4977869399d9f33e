#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace cq {

/// Where columns of these names stand. Throws UsageError, which names the option, for a name that
/// is none.
size_t ColumnIndex(const std::string& name, const std::string& option,
                   const std::vector<std::string>& columns);
std::vector<size_t> ColumnIndices(const std::vector<std::string>& names, const std::string& option,
                                  const std::vector<std::string>& columns);

}  // namespace cq
