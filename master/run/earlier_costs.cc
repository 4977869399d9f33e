#include "master/run/earlier_costs.h"

#include <fmt/format.h>

#include <algorithm>

#include "cq/error.h"
#include "master/input/csv_reader.h"
#include "master/input/input.h"
#include "master/journal/database.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"

namespace cq {
namespace {

RowHash HashAt(const std::vector<std::string>& fields, const std::vector<size_t>& places) {
  std::vector<std::string> values;
  values.reserve(places.size());
  for (const size_t place : places) values.push_back(fields.at(place));
  return HashOf(values);
}

}  // namespace

EarlierCosts::EarlierCosts(const std::string& run_dir, const std::vector<std::string>& columns) {
  const std::string path = run_dir + "/journal.db";
  const auto refuse = [&](const std::string& why) {
    throw UsageError(fmt::format("--costs {}: {}", run_dir, why));
  };
  try {
    Database journal(path, Database::Mode::kRead);
    RequireRun(journal, path);
    const RunDefinition definition = ReadDefinition(journal);
    std::vector<size_t> earlier;
    for (size_t i = 0; i < columns.size(); ++i) {
      const auto& names = definition.columns;
      const auto found = std::find(names.begin(), names.end(), columns[i]);
      if (found == names.end()) continue;
      places_.push_back(i);
      earlier.push_back(static_cast<size_t>(found - names.begin()));
    }
    if (places_.empty()) refuse("that run has none of the columns of this input");
    auto took = journal.Prepare(
        "SELECT wall_us FROM results WHERE task = ?1 AND wall_us > 0 AND outcome IN (0, 3, 4)");
    const std::string rows = RowsOf(journal, run_dir);
    CsvReader reader(OpenRows(rows), rows);
    CsvRow row;
    reader.Next(row);
    reader.set_single_column(row.fields.size() == 1);
    Sum all;
    for (const RowRange& range : ReadRanges(journal)) {
      for (uint64_t i = 0; i < range.rows && reader.Next(row); ++i) {
        took.Reset();
        took.Bind(1, static_cast<int64_t>(range.task + i));
        if (!took.Step()) continue;
        const double seconds = static_cast<double>(took.Int(0)) / 1e6;
        for (Sum* sum : {&all, &sums_[HashAt(row.fields, earlier)]}) {
          sum->seconds += seconds;
          ++sum->rows;
        }
      }
    }
    if (all.rows == 0) refuse("no row of that run has ended");
    mean_ = all.seconds / static_cast<double>(all.rows);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    refuse(fmt::format("it must be the directory of a run over rows: {}", error.what()));
  }
}

double EarlierCosts::Of(const std::vector<std::string>& fields) {
  const auto sum = sums_.find(HashAt(fields, places_));
  if (sum == sums_.end()) return mean_;
  ++known_;
  return sum->second.seconds / static_cast<double>(sum->second.rows);
}

}  // namespace cq
