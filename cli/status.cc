#include <fmt/format.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/journal/database.h"
#include "master/journal/run_definition.h"
#include "master/run/export.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kStatusHelp = {
    "cq status [RUN] [options]",
    "Says how far a run is. RUN is the run's directory; without it, the only *.cq here, or the "
    "newest.\n"
    "Exit status: 0 finished, all ok; 1 finished with failures; 4 running; 5 interrupted.",
    "cq status params.cq"};

}  // namespace

namespace {

std::string ShownMicroseconds(double us) {
  if (us < 1e3) return fmt::format("{:.1f} µs", us);
  if (us < 1e6) return fmt::format("{:.2f} ms", us / 1e3);
  return fmt::format("{:.2f} s", us / 1e6);
}

struct Stage {
  const char* name;
  double us;
  const char* about;
};

// What a task costs beside its own time is what its slot does meanwhile: starting and ending it,
// and waiting for the next one. The rest goes on beside the slots.
int ShowOverhead(Database& journal, const std::string& run, bool json) {
  auto row = journal.Prepare(
      "SELECT sum(tasks), sum(idle_us), sum(queue_us), sum(spawn_us), sum(run_us), sum(wire_us),"
      " sum(record_us) FROM ledgers");
  row.Step();
  const auto tasks = static_cast<double>(row.Int(0));
  if (tasks == 0) {
    throw UsageError(fmt::format("'{}': no task has ended yet that could be accounted for", run));
  }
  const auto mean = [&](int column) { return static_cast<double>(row.Int(column)) / tasks; };
  const Stage stages[] = {
      {"queue", mean(2), "at its worker, while the slots there are busy"},
      {"wire", mean(5), "on its way to the worker, and its result's way back"},
      {"spawn", mean(3), "its slot starts and ends its process, or calls its program"},
      {"run", mean(4), "its own time"},
      {"record", mean(6), "until its result is durable"},
      {"idle", mean(1), "a slot without a task"},
  };
  const double overhead = mean(3) + mean(1);
  const double efficient = 19 * overhead;
  const double efficiency = mean(4) / (mean(4) + overhead);
  if (json) {
    OrderedJson out = {{"tasks", row.Int(0)}};
    for (const Stage& stage : stages) out[fmt::format("{}_us", stage.name)] = stage.us;
    out["efficiency"] = efficiency;
    out["efficient_from_us"] = efficient;
    fmt::print("{}\n", JsonText(out));
    return 0;
  }
  fmt::print("{}: means over {} tasks\n", run, row.Int(0));
  for (const Stage& stage : stages) {
    // The sign for micro takes two bytes, and one column.
    const std::string shown = ShownMicroseconds(stage.us);
    const size_t width = 12 + (shown.find("µ") != std::string::npos ? 1 : 0);
    fmt::print("  {:<7}{:>{}}  {}\n", stage.name, shown, width, stage.about);
  }
  fmt::print(
      "slots spent {:.1f} % of their time on the tasks themselves; with {} of overhead a task, "
      "they "
      "spend 95 % from {} a task on\n",
      100 * efficiency, ShownMicroseconds(overhead), ShownMicroseconds(efficient));
  return 0;
}

po::options_description StatusDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("json", "as one JSON object")(
      "overhead", "where the time of tasks went, and how long they should be")("help,h",
                                                                               "show this page");
  return options;
}

int StatusCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kStatus, values)) return 0;
  const std::string run = FindRun(Positional(values));

  // Before the journal is read: a master that ends in between has written everything by then.
  const bool live = HeldByMaster(run);
  Database journal = OpenToRead(run);
  if (values.count("overhead") > 0) return ShowOverhead(journal, run, values.count("json") > 0);
  const RunDefinition definition = ReadDefinition(journal);
  OrderedJson counts;
  uint64_t done = 0;
  uint64_t ok = 0;
  auto rows = journal.Prepare("SELECT outcome, count(*) FROM results GROUP BY outcome ORDER BY 1");
  while (rows.Step()) {
    const auto count = static_cast<uint64_t>(rows.Int(1));
    counts[OutcomeName(static_cast<int>(rows.Int(0)))] = count;
    done += count;
    if (rows.Int(0) == 0) ok = count;
  }
  const uint64_t tasks = definition.tasks();
  const int status = live ? 4 : done < tasks ? 5 : ok < tasks ? 1 : 0;
  const char* state = live ? "running" : done < tasks ? "interrupted" : "finished";
  OrderedJson waits = OrderedJson::array();
  // One of an older cq has no such column.
  const bool tells = journal
                         .Prepare(
                             "SELECT 1 FROM pragma_table_info('workers') WHERE name ="
                             " 'waits_for'")
                         .Step();
  auto waiting = journal.Prepare(
      !tells
          ? "SELECT 0, '', '' WHERE 0"
          : "SELECT worker, host, waits_for FROM workers WHERE ended_us IS NULL AND waits_for != ''"
            " ORDER BY worker");
  while (live && waiting.Step()) {
    waits.push_back(
        fmt::format("worker {} on {} {}", waiting.Int(0), waiting.Text(1), waiting.Text(2)));
  }
  if (values.count("json") > 0) {
    OrderedJson json = {{"run_dir", JsonOfBytes(run)},
                        {"state", state},
                        {"tasks", tasks},
                        {"done", done},
                        {"outcomes", counts}};
    if (!waits.empty()) json["waits"] = waits;
    fmt::print("{}\n", ShownJson(json));
    return status;
  }
  fmt::print("{}: {}, {} of {} tasks done\n", run, state, done, tasks);
  for (const auto& [name, count] : counts.items()) {
    fmt::print("  {:<10} {}\n", name, count.get<uint64_t>());
  }
  if (done < tasks) fmt::print("  {:<10} {}\n", "pending", tasks - done);
  for (const auto& text : waits) fmt::print("  {}\n", PrintableText(text.get<std::string>()));
  return status;
}

}  // namespace

const Subcommand kStatus = {"status", "say how far a run is", kStatusHelp, StatusDescription,
                            StatusCommandLine};

}  // namespace cq
