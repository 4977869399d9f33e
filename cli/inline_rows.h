#pragma once

#include <boost/program_options.hpp>
#include <string>

#include "base/files.h"
#include "cli/options.h"

namespace cq {

/// The rows of a run that no CSV has: `::: a b c ::: 1 2` behind the command, or the lines of a
/// file (--each-line). They become a CSV in memory whose columns are called 1, 2, … Or there are
/// none yet (--ask), and the command names the columns.
class InlineRows {
 public:
  /// Throws UsageError.
  InlineRows(const CommandLine& line, const boost::program_options::variables_map& values);

  /// Whether there are any.
  bool any() const { return static_cast<bool>(csv_); }
  /// The line that reads them: while this lives.
  const CommandLine& line() const { return line_; }
  /// As RunOptions::input_name.
  const std::string& name() const { return name_; }

 private:
  CommandLine line_;
  std::string name_;
  Fd csv_;
};

}  // namespace cq
