#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "master/journal/database.h"
#include "master/journal/journal.h"
#include "protocol/messages.h"

namespace cq {

/// What makes a run that run, as its journal keeps it (`meta`, one row each).
struct RunDefinition {
  RunId run = 0;
  std::vector<std::string> command;
  bool shell = false;
  /// Instead of a command.
  std::vector<std::string> program;
  std::string function;
  /// The tasks are calls that a program submits which embeds the master; `rows` is how many there
  /// are so far.
  bool calls = false;
  /// Of the columns, for a program or a function.
  std::vector<ColumnType> types;
  /// Those of integers with one beyond 2^53 in any row so far.
  std::vector<std::string> wide;
  std::map<std::string, std::string> constants;
  std::vector<std::string> columns;
  std::vector<std::pair<std::string, std::string>> env;
  std::string cwd;
  bool parse_json = false;
  uint64_t seed = 0;
  std::vector<std::string> seed_by;
  uint64_t rows = 0;
  /// The first so many rows only; 0: all.
  uint64_t limit = 0;
  std::string input;
  /// The names of the pools that it has had, by the numbers that allocations have.
  std::vector<std::string> pools;
  std::string output;
  /// How much of standard output the result shows; 0: no such column.
  uint64_t stdout_column = 4096;

  bool served() const { return !program.empty() || !function.empty(); }
  uint64_t tasks() const { return limit == 0 ? rows : std::min(limit, rows); }

  std::map<std::string, std::string> ToMeta() const;
};

/// Reads the definition of a run from its open journal. Throws Error.
RunDefinition ReadDefinition(Database& journal);
std::vector<RowRange> ReadRanges(Database& journal);

}  // namespace cq
