#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "master/input/row_matching.h"

namespace cq {

/// How long the rows of an earlier run took, for an input that has columns in common with it.
class EarlierCosts {
 public:
  /// Of the run in this directory, for rows of these columns. Throws UsageError if it is none, or
  /// has none of the columns, or no row of it has ended.
  EarlierCosts(const std::string& run_dir, const std::vector<std::string>& columns);

  /// How long the row took that has the same values, in seconds: the mean of those that have, and
  /// were ok or cut off at a limit. Of others it is the mean of all.
  double Of(const std::vector<std::string>& fields);
  /// How many rows were asked for and were known.
  uint64_t known() const { return known_; }

 private:
  struct Sum {
    double seconds = 0;
    uint64_t rows = 0;
  };
  /// Where the columns that both have are in a row that is asked for.
  std::vector<size_t> places_;
  std::map<RowHash, Sum> sums_;
  double mean_ = 0;
  uint64_t known_ = 0;
};

}  // namespace cq
