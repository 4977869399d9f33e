#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/json.h"
#include "base/quantities.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cq/error.h"
#include "master/input/columns.h"
#include "master/input/input.h"
#include "master/run/schedule.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kPlanHelp = {
    "cq plan COSTS.csv --cost COLUMN --deadline DURATION [options]",
    "How many workers each pool needs to be done by a deadline, as rows take what the column says, "
    "the longest first.\n"
    "Shows the time for the numbers around, and the rows that bound it. Costs are numbers "
    "(--cost-unit), or durations\n"
    "such as 90s or 1:30:00; the results.csv of an earlier run says them, too: --cost cq_seconds.\n"
    "Exit status: 0; 1 if the longest row alone misses the deadline.",
    "cq plan packages.csv --cost hours --pool-column gigabytes --deadline 16h"};

po::options_description PlanDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("cost", po::value<std::string>()->value_name("COLUMN"),
                        "how long each row takes")("deadline",
                                                   po::value<std::string>()->value_name("DURATION"),
                                                   "from the start until all is done")(
      "cost-unit", po::value<std::string>()->value_name("s|m|h|d"),
      "of costs that are numbers [as the column's name ends: hours, minutes, seconds, days]")(
      "pool-column", po::value<std::string>()->value_name("COLUMN"),
      "which rows go to the same kind of workers [all]")(
      "slots", po::value<std::string>()->value_name("N"), "rows at a time on each worker [1]")(
      "startup", po::value<std::string>()->value_name("DURATION"),
      "until a worker has its first row [0s]")("json", "one JSON object on standard output")(
      "help,h", "show this page");
  return options;
}

double SecondsOf(const std::string& text, const char* option) {
  return std::chrono::duration<double>(ParseDuration(text, option)).count();
}

// In seconds; none if that is not known.
std::optional<double> UnitOf(const std::string& unit) {
  static const std::map<std::string, double> kUnits = {
      {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
  const auto found = kUnits.find(unit);
  return found == kUnits.end() ? std::nullopt : std::optional(found->second);
}

std::optional<double> UnitOfColumn(const std::string& name) {
  for (const auto& [word, unit] : std::map<std::string, double>{
           {"hours", 3600}, {"minutes", 60}, {"seconds", 1}, {"days", 86400}}) {
    if (name.ends_with(word)) return unit;
  }
  return std::nullopt;
}

struct CostedRow {
  double seconds = 0;
  uint64_t row = 0;
  /// Its first fields, for people.
  std::string shown;
};

/// Reads the costs of rows, by pool.
class CostReader {
 public:
  CostReader(const po::variables_map& values) : cost_(Text(values, "cost")) {
    if (values.count("pool-column") > 0) pool_ = Text(values, "pool-column");
    if (values.count("cost-unit") > 0) {
      unit_ = UnitOf(Text(values, "cost-unit"));
      if (!unit_) throw UsageError("--cost-unit: it is s, m, h or d");
    } else {
      unit_ = UnitOfColumn(cost_);
    }
  }

  std::map<std::string, std::vector<CostedRow>> Read(const std::string& path) {
    InputOptions options;
    options.path = path;
    options.look = [this](const std::vector<std::string>& columns) {
      columns_ = columns;
      const size_t cost = ColumnIndex(cost_, "--cost", columns_);
      const auto pool = pool_.empty()
                            ? std::nullopt
                            : std::optional(ColumnIndex(pool_, "--pool-column", columns_));
      return [this, cost, pool](const std::vector<std::string>& fields) {
        ++row_;
        // As in the results of a run that is not over.
        if (fields[cost].empty()) {
          ++without_;
          return;
        }
        CostedRow row{CostOf(fields[cost]), row_, {}};
        for (size_t i = 0; i < std::min<size_t>(fields.size(), 3); ++i) {
          row.shown += fmt::format("{}{}={}", i == 0 ? "" : ", ", columns_[i], fields[i]);
        }
        rows_[pool ? fields[*pool] : ""].push_back(std::move(row));
      };
    };
    ReadInput(options);
    if (without_ > 0) {
      Say(stderr,
          fmt::format("cq: {} of {} rows have no cost, and are left out\n", without_, row_));
    }
    for (auto& [pool, rows] : rows_) {
      std::stable_sort(rows.begin(), rows.end(), [](const CostedRow& a, const CostedRow& b) {
        return a.seconds > b.seconds;
      });
    }
    return std::move(rows_);
  }

 private:
  static std::string Text(const po::variables_map& values, const char* name) {
    return values[name].as<std::string>();
  }

  double CostOf(const std::string& text) const {
    const auto cost = ParseCost(text);
    if (!cost) return SecondsOf(text, "--cost");
    if (*cost < 0 || std::isinf(*cost)) {
      throw UsageError(fmt::format("--cost '{}': no row takes so long", text));
    }
    // A duration says its unit itself.
    const bool number = text.find_first_of(":smhd") == std::string::npos;
    if (!number) return *cost;
    if (!unit_) {
      throw UsageError(fmt::format(
          "--cost '{}': is that seconds, minutes, hours? --cost-unit s, m, h or d", text));
    }
    return *cost * *unit_;
  }

  std::string cost_;
  std::string pool_;
  std::optional<double> unit_;
  std::vector<std::string> columns_;
  uint64_t row_ = 0;
  uint64_t without_ = 0;
  std::map<std::string, std::vector<CostedRow>> rows_;
};

std::string TimeText(double seconds) {
  return DurationText(std::chrono::milliseconds(std::llround(seconds * 1000)));
}

struct PlannedPool {
  std::string name;
  const std::vector<CostedRow>* rows = nullptr;
  double sum = 0;
  Schedule schedule;
};

void Print(const PlannedPool& pool, uint64_t slots, double deadline) {
  const auto& rows = *pool.rows;
  const std::string name = pool.name.empty() ? "" : fmt::format("pool '{}': ", pool.name);
  fmt::print("{}{} rows, {} in all, the longest {} (row {}: {})\n", name, rows.size(),
             TimeText(pool.sum), TimeText(rows[0].seconds), rows[0].row, rows[0].shown);
  const std::string by = slots == 1 ? "" : fmt::format(" of {} slots", slots);
  if (pool.schedule.workers == 0) {
    fmt::print("  no number of workers{} is done by {}: with one slot for each row it takes {}\n",
               by, TimeText(deadline), TimeText(pool.schedule.makespan));
    for (const CostedRow& row : rows) {
      if (pool.schedule.makespan - rows[0].seconds + row.seconds <= deadline) break;
      fmt::print("    row {} alone takes {} ({})\n", row.row, TimeText(row.seconds), row.shown);
    }
    return;
  }
  fmt::print("  {} worker{}{} {} done after {}\n", pool.schedule.workers,
             pool.schedule.workers == 1 ? "" : "s", by, pool.schedule.workers == 1 ? "is" : "are",
             TimeText(pool.schedule.makespan));
  for (const auto& [workers, makespan] : pool.schedule.around) {
    fmt::print("  {:>8}  {}{}\n", workers, TimeText(makespan),
               workers == pool.schedule.workers ? "  *" : "");
  }
}

OrderedJson JsonOf(const PlannedPool& pool) {
  OrderedJson around = OrderedJson::object();
  for (const auto& [workers, makespan] : pool.schedule.around) {
    around[std::to_string(workers)] = makespan;
  }
  const CostedRow& longest = pool.rows->at(0);
  return {{"pool", JsonOfBytes(pool.name)},
          {"rows", pool.rows->size()},
          {"seconds", pool.sum},
          {"longest_row", longest.row},
          {"longest_seconds", longest.seconds},
          {"workers", pool.schedule.workers},
          {"makespan_seconds", pool.schedule.makespan},
          {"around", around}};
}

int Plan(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kPlan, values)) return 0;
  const auto positional = Positional(values);
  if (positional.size() != 1 || values.count("cost") == 0 || values.count("deadline") == 0) {
    throw UsageError("cq plan COSTS.csv --cost COLUMN --deadline DURATION");
  }
  const double deadline = SecondsOf(values["deadline"].as<std::string>(), "--deadline");
  const double startup = values.count("startup") == 0
                             ? 0
                             : SecondsOf(values["startup"].as<std::string>(), "--startup");
  const uint64_t slots =
      values.count("slots") == 0 ? 1 : ParseCount(values["slots"].as<std::string>(), "--slots", 1);
  const auto pools = CostReader(values).Read(positional[0]);
  if (pools.empty()) throw UsageError(fmt::format("'{}' has no rows", positional[0]));
  OrderedJson json = OrderedJson::array();
  bool possible = true;
  for (const auto& [name, rows] : pools) {
    std::vector<double> costs;
    for (const CostedRow& row : rows) costs.push_back(row.seconds);
    PlannedPool pool{name, &rows, std::accumulate(costs.begin(), costs.end(), 0.0),
                     PlanSchedule(costs, slots, startup, deadline)};
    possible = possible && pool.schedule.workers > 0;
    values.count("json") > 0 ? json.push_back(JsonOf(pool)) : Print(pool, slots, deadline);
  }
  if (values.count("json") > 0) {
    Say(stdout, JsonText({{"deadline_seconds", deadline}, {"pools", json}}) + "\n");
  }
  return possible ? 0 : 1;
}

}  // namespace

const Subcommand kPlan = {"plan", "how many workers a deadline needs", kPlanHelp, PlanDescription,
                          Plan};

}  // namespace cq
