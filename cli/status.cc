#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>

#include "base/json.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/efficiency.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/journal/database.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/journal/tally.h"
#include "master/run/master_job.h"
#include "master/run/run_directory.h"
#include "protocol/outcome_name.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kStatusHelp = {
    "cq status [RUN] [options]",
    "Says how far a run is, and while it runs what goes on: how fast it is and how long it takes "
    "still, what would\n"
    "make it faster, its pools, workers and longest rows. RUN is the run's directory; without it, "
    "the only *.cq\n"
    "here, or the newest.\n"
    "Exit status: 0 finished (or halted by --halt), all ok; 1 with failures; 4 running, or queued "
    "(its master "
    "is a job that\n"
    "waits); 5 interrupted.",
    "cq status params.cq --watch"};

/// What people are shown; --json has all.
constexpr size_t kRowsShown = 10;
constexpr size_t kWorkersShown = 20;
constexpr size_t kRowsInJson = 100'000;
constexpr size_t kWorkersInJson = 100'000;
constexpr std::chrono::seconds kWatchEvery{2};
/// That asks a batch system.
constexpr std::chrono::seconds kWatchQueuedEvery{10};

po::options_description StatusDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("json", "as one JSON object, with all rows that run and all workers")(
      "watch", "again every 2 s, until the run ends")(
      "efficiency", "what became of the slots' time and the memory, and what to ask for next time")(
      "overhead", "where the time of tasks went, and how long they should be")("help,h",
                                                                               "show this page");
  return options;
}

std::string ShownTime(double seconds) {
  return DurationText(std::chrono::milliseconds(std::llround(seconds * 1000)));
}

struct Status {
  OrderedJson json;
  /// As the exit status says it.
  int code = 0;
};

// What its master says goes on. It may have ended meanwhile, or be one of an older cq.
OrderedJson LookAt(const std::string& run, size_t rows, size_t workers) {
  try {
    return ParseJson(AskMaster(run, RequestKind::kLook,
                               fmt::format(R"({{"rows": {}, "workers": {}}})", rows, workers)));
  } catch (const std::exception& error) {
    return {{"problem", error.what()}};
  }
}

OrderedJson WaitingWorkers(Database& journal) {
  OrderedJson waits = OrderedJson::array();
  if (!HasColumn(journal, "workers", "waits_for")) return waits;
  auto waiting = journal.Prepare(
      "SELECT worker, host, waits_for FROM workers WHERE ended_us IS NULL AND waits_for != ''"
      " ORDER BY worker");
  while (waiting.Step()) {
    waits.push_back(
        fmt::format("worker {} on {} {}", waiting.Int(0), waiting.Text(1), waiting.Text(2)));
  }
  return waits;
}

Status StatusOf(const std::string& run, bool all) {
  // Before the journal is read: a master that ends in between has written everything by then.
  const bool live = MasterMayLive(run);
  Database journal = OpenToRead(run);
  const RunDefinition definition = ReadDefinition(journal);
  OrderedJson counts = OrderedJson::object();
  const Tally tally = TallyOf(journal, definition);
  for (size_t i = 0; i < tally.outcomes.size(); ++i) {
    if (tally.outcomes[i] > 0) counts[OutcomeName(static_cast<int>(i))] = tally.outcomes[i];
  }
  const uint64_t tasks = tally.tasks;
  const uint64_t done = tally.done();
  std::optional<std::string> job;
  std::string unknown;
  try {
    if (!live) job = MasterJobOf(run);
  } catch (const Error& error) {
    unknown = fmt::format("whether its master is a job that waits is not known: {}", error.what());
  }
  Status status;
  status.code = live || job ? 4 : !tally.ended() ? 5 : tally.ok() ? 0 : 1;
  status.json = {{"run_dir", JsonOfBytes(run)},
                 {"state", live             ? "running"
                           : job            ? "queued"
                           : !tally.ended() ? "interrupted"
                           : done < tasks   ? "halted"
                                            : "finished"},
                 {"tasks", tasks},
                 {"done", done},
                 {"outcomes", counts}};
  if (!live && !tally.problem.empty()) status.json["problem"] = tally.problem;
  if (job) status.json["waits"] = {"its master is a job: " + *job};
  if (!unknown.empty()) status.json["waits"] = {unknown};
  if (!live) return status;
  const OrderedJson waits = WaitingWorkers(journal);
  if (!waits.empty()) status.json["waits"] = waits;
  status.json["live"] =
      LookAt(run, all ? kRowsInJson : kRowsShown, all ? kWorkersInJson : kWorkersShown);
  return status;
}

std::string TextOf(const OrderedJson& value) { return PrintableText(value.get<std::string>()); }

void ShowPool(const OrderedJson& pool) {
  const auto least = pool.at("least").get<uint64_t>();
  const auto most = pool.at("most").get<uint64_t>();
  uint64_t pending = 0;
  std::string reasons;
  for (const auto& [reason, workers] : pool.at("pending").items()) {
    pending += workers.get<uint64_t>();
    reasons += fmt::format("{}{} {}", reasons.empty() ? "" : ", ", workers.get<uint64_t>(), reason);
  }
  if (most == 0) {
    fmt::print("  pool {}: its workers are started {}\n", TextOf(pool.at("pool")),
               TextOf(pool.at("scheduler")));
    return;
  }
  const auto alive = pool.at("alive").get<uint64_t>();
  std::string text = fmt::format("pool {} ({}): {} of {}{} workers", TextOf(pool.at("pool")),
                                 TextOf(pool.at("scheduler")), alive - std::min(alive, pending),
                                 least < most ? fmt::format("{} to ", least) : "", most);
  if (pending > 0) text += fmt::format(", {} pending ({})", pending, reasons);
  if (pool.contains("stopped")) {
    text += fmt::format("; no further one is started: {}", pool.at("stopped").get<std::string>());
  }
  fmt::print("  {}\n", PrintableText(text));
}

void ShowWorker(const OrderedJson& worker) {
  std::string text =
      fmt::format("worker {} on {} ({}): {} of {} slots busy, {} tasks",
                  worker.at("worker").get<uint64_t>(), worker.at("host").get<std::string>(),
                  worker.at("allocation").get<std::string>(), worker.at("busy").get<uint64_t>(),
                  worker.at("slots").get<uint64_t>(), worker.at("tasks").get<uint64_t>());
  if (worker.contains("seconds_left")) {
    text += fmt::format(", {} left", ShownTime(worker.at("seconds_left").get<double>()));
  }
  if (worker.contains("state")) text += "; " + worker.at("state").get<std::string>();
  fmt::print("  {}\n", PrintableText(text));
}

void ShowLive(const OrderedJson& live) {
  if (live.contains("problem")) {
    fmt::print("  {}\n", TextOf(live.at("problem")));
    return;
  }
  if (live.contains("rate")) {
    const auto rate = live.at("rate").get<double>();
    std::string text = fmt::format("{:.{}f} tasks/s", rate, rate < 10 ? 2 : 0);
    if (live.contains("left")) {
      text += fmt::format(", {} to {} left if the rows to come are as the last ones",
                          ShownTime(live.at("left").at(0).get<double>()),
                          ShownTime(live.at("left").at(1).get<double>()));
    }
    fmt::print("  {}\n", text);
  }
  if (!live.at("bound").get<std::string>().empty()) {
    fmt::print("  waits for {}\n", TextOf(live.at("bound")));
  }
  if (live.contains("proposer")) fmt::print("  the proposer {}\n", TextOf(live.at("proposer")));
  for (const OrderedJson& pool : live.at("pools")) ShowPool(pool);
  for (const OrderedJson& worker : live.at("workers")) ShowWorker(worker);
  const auto workers = live.at("workers_here").get<uint64_t>();
  if (workers > live.at("workers").size()) {
    fmt::print("  and {} other workers\n", workers - live.at("workers").size());
  }
  for (const OrderedJson& row : live.at("rows")) {
    fmt::print("  task {} runs for {} on {} (worker {})\n", row.at("task").get<uint64_t>(),
               ShownTime(row.at("seconds").get<double>()), TextOf(row.at("host")),
               row.at("worker").get<uint64_t>());
  }
  const auto running = live.at("running").get<uint64_t>();
  if (running > live.at("rows").size()) {
    fmt::print("  and {} other tasks run\n", running - live.at("rows").size());
  }
}

void Show(const std::string& run, const OrderedJson& status) {
  const auto tasks = status.at("tasks").get<uint64_t>();
  const auto done = status.at("done").get<uint64_t>();
  fmt::print("{}: {}, {} of {} tasks done\n", run, status.at("state").get<std::string>(), done,
             tasks);
  for (const auto& [name, count] : status.at("outcomes").items()) {
    fmt::print("  {:<10} {}\n", name, count.get<uint64_t>());
  }
  if (done < tasks) fmt::print("  {:<10} {}\n", "pending", tasks - done);
  for (const auto& text : status.value("waits", OrderedJson::array())) {
    fmt::print("  {}\n", TextOf(text));
  }
  if (status.contains("problem")) fmt::print("  {}\n", TextOf(status.at("problem")));
  if (status.contains("live")) ShowLive(status.at("live"));
}

int StatusCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kStatus, values)) return 0;
  const std::string run = FindRun(Positional(values));
  const bool json = values.count("json") > 0;
  if (values.count("overhead") > 0 || values.count("efficiency") > 0) {
    if (values.count("watch") + values.count("overhead") + values.count("efficiency") > 1) {
      throw UsageError("--watch, --overhead and --efficiency: choose one");
    }
    Database journal = OpenToRead(run);
    return values.count("overhead") > 0 ? ShowOverhead(journal, run, json)
                                        : ShowEfficiency(journal, run, json);
  }
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  for (;;) {
    const Status status = StatusOf(run, json);
    const bool again = values.count("watch") > 0 && status.code == 4;
    if (json) {
      fmt::print("{}\n", ShownJson(status.json));
    } else {
      if (values.count("watch") > 0 && terminal) fmt::print("\033[H\033[J");
      Show(run, status.json);
      if (again && !terminal) fmt::print("\n");
    }
    std::fflush(stdout);
    if (!again) return status.code;
    const bool queued = status.json.at("state") == "queued";
    std::this_thread::sleep_for(queued ? kWatchQueuedEvery : kWatchEvery);
  }
}

}  // namespace

const Subcommand kStatus = {"status", "say how far a run is, and what goes on", kStatusHelp,
                            StatusDescription, StatusCommandLine};

}  // namespace cq
