#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "master/core/requests.h"
#include "protocol/command.h"

namespace cq {

/// What each row asks for, as the options say it: each a value, or a text with columns in it, as in
/// "{gigabytes}G"; empty: nothing.
struct RequestTexts {
  std::string cpus;
  std::string memory;
  std::string time;
  std::string pool;
  std::map<std::string, std::string> needs;
  /// Columns: rows that agree in them are of one kind.
  std::vector<std::string> kind = {};

  bool empty() const {
    return cpus.empty() && memory.empty() && time.empty() && pool.empty() && needs.empty() &&
           kind.empty();
  }
  /// Whether rows may ask for different things.
  bool vary() const;
};

/// Makes the requests of rows from their fields.
class RowRequests {
 public:
  /// Throws UsageError for a name that is no column.
  RowRequests(const RequestTexts& texts, const std::vector<std::string>& columns);

  /// Throws UsageError for what is no such value. Where all columns of a text are empty, the row
  /// asks for nothing of that.
  TaskRequest Of(const std::vector<std::string>& fields) const;

 private:
  struct Text {
    /// The option.
    std::string name;
    CompiledCommand text;
  };
  static std::string Fill(const Text& text, const std::vector<std::string>& fields);

  std::optional<Text> cpus_, memory_, time_, pool_;
  std::map<std::string, Text> needs_;
  std::vector<size_t> kind_;
};

/// Finds the classes of many requests. The first asks for nothing. Memory is taken as it is where
/// there are few sizes of it, else rounded up to two digits, as long as a pool has that; times are
/// rounded up to powers of the root of 2.
class ClassFinder {
 public:
  explicit ClassFinder(std::vector<PoolKind> pools) : pools_(std::move(pools)) {}

  /// Throws UsageError, which says what comes nearest, for what no pool has.
  void Add(TaskId task, const TaskRequest& request);
  /// Throws UsageError if there are too many.
  RequestClasses Take();

 private:
  /// More than so many classes are rounded.
  static constexpr size_t kExactMax = 100;

  TaskRequest Rounded(TaskRequest request) const;
  uint32_t Intern(const TaskRequest& request);

  const std::vector<PoolKind> pools_;
  std::map<TaskRequest, uint32_t> known_{{TaskRequest(), 0}};
  std::vector<uint32_t> of_;
};

}  // namespace cq
