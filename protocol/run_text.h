#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "protocol/ids.h"
#include "protocol/value.h"

// What the tasks of a run have in common, as a worker is told it.
namespace cq {

/// A part of a command's argument: literal text, or a signed number that stands for a value
/// (`command.h` has the meaning of the numbers).
using CommandPart = std::variant<std::string, int64_t>;
using CommandArgument = std::vector<CommandPart>;

/// What the fields of a column are, over all rows, but for missing ones.
enum class ColumnType : uint8_t { kText = 0, kInteger = 1, kNumber = 2, kBool = 3 };

/// A program that is started once for each slot and answers many tasks (SLOT_PROTOCOL.md). With
/// neither words nor a function, each task is a process of its own.
struct Program {
  std::vector<std::string> words;
  /// LIBRARY:NAME of a C++ function.
  std::string function;
  /// The program embeds the master, and its tasks are calls of its own functions: their values are
  /// a function's name and its packed arguments, the constants are packed, and so is the result.
  bool calls = false;
  std::vector<std::string> columns;
  std::vector<ColumnType> types;
  std::vector<std::pair<std::string, std::string>> constants;

  bool empty() const { return words.empty() && function.empty(); }
  bool operator==(const Program&) const = default;
};

enum class Parse : uint8_t { kNothing = 0, kJson = 1 };

struct RunText {
  RunId run = 0;
  std::string run_dir;
  std::string cwd;
  std::vector<std::pair<std::string, std::string>> env;
  std::vector<CommandArgument> command;
  Parse parse = Parse::kNothing;
  uint64_t cpus = 1;
  /// Shell text that must succeed before a worker takes its first task; empty: none.
  std::string check;
  /// What a task may take; 0: no limit.
  uint64_t timeout_ms = 0;
  uint64_t memory_bytes = 0;
  /// Kill what runs at the end of the lease.
  bool fence = false;
  /// How long an idle worker waits for a silent master.
  uint64_t on_master_loss_ms = 1'800'000;
  /// Tasks that a slot is given at a time; 0: as many as their measured durations say.
  uint64_t chunk = 0;
  /// How many were to be run when the master started; 0: not known. No worker starts more programs
  /// than that ahead of their tasks.
  uint64_t tasks = 0;
  Program program;
  Extras extras;
  bool operator==(const RunText&) const = default;
};

/// Columns of integers with one beyond 2^53 in some row, which a language without 64-bit integers
/// takes as something else in all rows. The extra `wide_columns`, a JSON list.
void SetWideColumns(RunText& text, const std::vector<std::string>& columns);
std::vector<std::string> WideColumns(const RunText& text);

}  // namespace cq
