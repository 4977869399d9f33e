#include "cli/run_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/text.h"
#include "cli/halt_rule.h"
#include "cli/pool_options.h"
#include "cq/error.h"
#include "master/run/output_file.h"
#include "master/run/run_directory.h"
#include "protocol/command.h"
#include "protocol/limits.h"
#include "protocol/pool_file.h"

namespace cq {
namespace {

namespace po = boost::program_options;
using Words = std::vector<std::string>;
using Set = RunOption::Set;

std::pair<std::string, std::string> EnvironmentPair(const std::string& text) {
  if (text.find('=') != std::string::npos) return SplitPair(text, "--env");
  const char* value = getenv(text.c_str());
  if (value == nullptr) {
    throw UsageError(
        fmt::format("--env {}: it is not set here; give it a value: --env {}=VALUE", text, text));
  }
  return {text, value};
}

// ---- how a value becomes a field ----

Set Flag(bool RunOptions::*field) {
  return [field](RunOptions& o, const std::string&, const std::string&) { o.*field = true; };
}

Set Text(std::string RunOptions::*field) {
  return [field](RunOptions& o, const std::string&, const std::string& v) { o.*field = v; };
}

template <class C, class T>
Set Count(T C::*field, uint64_t least) {
  return [field, least](RunOptions& o, const std::string& option, const std::string& v) {
    o.*field = ParseCount(v, option, least);
  };
}

// Of workers, slots and attempts.
template <class C, class T>
Set Count32(T C::*field, uint64_t least) {
  return [field, least](RunOptions& o, const std::string& option, const std::string& v) {
    const uint64_t count = ParseCount(v, option, least);
    if (count > 1'000'000) throw UsageError(fmt::format("{} {}: at most 1000000", option, count));
    o.*field = static_cast<uint32_t>(count);
  };
}

template <class C, class T>
Set Duration(T C::*field) {
  return [field](RunOptions& o, const std::string& option, const std::string& v) {
    o.*field = ParseDuration(v, option);
  };
}

// KEY=VALUE; the last one of a key counts.
Set Pair(std::map<std::string, std::string> RunOptions::*field) {
  return [field](RunOptions& o, const std::string& option, const std::string& v) {
    const auto [key, value] = SplitPair(v, option);
    (o.*field).insert_or_assign(key, value);
  };
}

// One of two words.
void RequireOneOf(const std::string& option, const std::string& value, const char* a,
                  const char* b) {
  if (value == a || value == b) return;
  throw UsageError(fmt::format("{} '{}': there are {} and {}", option, value, a, b));
}

// A program and its arguments, in one text.
Set Program(std::vector<std::string> RunOptions::*field) {
  return [field](RunOptions& o, const std::string& option, const std::string& value) {
    try {
      o.*field = SplitWords(value);
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}: {}", option, error.what()));
    }
    if ((o.*field).empty()) throw UsageError(fmt::format("{}: no word in it", option));
  };
}

void SetParse(RunOptions& o, const std::string& option, const std::string& value) {
  if (value != "json") throw UsageError(fmt::format("{} '{}': only json is known", option, value));
  o.parse_json = true;
}

void SetStdoutColumn(RunOptions& o, const std::string& option, const std::string& value) {
  o.stdout_column = value == "none" ? 0 : ParseSize(value, option);
}

void SetTimeout(RunOptions& o, const std::string& option, const std::string& value) {
  if (value.size() > 2 && value.front() == '{' && value.back() == '}') {
    o.task_timeout_column = value.substr(1, value.size() - 2);
  } else if (value.ends_with('%')) {
    const std::string number = value.substr(0, value.size() - 1);
    const char* end = number.data() + number.size();
    const auto parsed = std::from_chars(number.data(), end, o.task_timeout_percent);
    const bool whole = parsed.ec == std::errc() && parsed.ptr == end;
    if (!whole || o.task_timeout_percent <= 100 || o.task_timeout_percent > 1'000'000) {
      throw UsageError(fmt::format(
          "{} '{}': percent of the median must be a whole number above 100, as in 300%; or a "
          "duration, as in 10m; or a column, as in '{{limit}}'",
          option, value));
    }
  } else {
    o.task_timeout = ParseDuration(value, option);
  }
}

void SetReduce(RunOptions& o, const std::string& option, const std::string& value) {
  Program (&RunOptions::reduce)(o, option, value);
  if (value == "none") o.reduce.clear();
}

void SetDelay(RunOptions& o, const std::string& option, const std::string& value) {
  o.delay = value == "0" ? std::chrono::milliseconds(0) : ParseDuration(value, option);
}

void SetHalt(RunOptions& o, const std::string& option, const std::string& value) {
  o.halt = value == "never" ? std::nullopt : std::optional(ParseHalt(value, option));
}

void SetPool(RunOptions& o, const std::string&, const std::string& value) {
  PoolDirectory(value);
  o.scheduler = "pool:" + value;
}

void SetPriority(RunOptions& o, const std::string& option, const std::string& value) {
  constexpr int64_t kMost = 1'000'000;
  const char* end = value.data() + value.size();
  const auto parsed = std::from_chars(value.data(), end, o.priority);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == end;
  if (whole && o.priority >= -kMost && o.priority <= kMost) return;
  throw UsageError(fmt::format("{} '{}': it must be a whole number from -{} to {}", option, value,
                               kMost, kMost));
}

void SetWorkers(RunOptions& o, const std::string& option, const std::string& value) {
  const WorkerRange range = value == "0" ? WorkerRange{0, {}} : ParseWorkers(value, option);
  o.workers = range.most;
  o.workers_least = range.least;
}

// The last one of a name counts.
void AddPool(RunOptions& o, RunPool pool) {
  const auto known = std::find_if(o.pools.begin(), o.pools.end(),
                                  [&](const RunPool& other) { return other.name == pool.name; });
  if (known != o.pools.end()) {
    *known = std::move(pool);
  } else {
    o.pools.push_back(std::move(pool));
  }
}

bool HasColumn(const std::string& text) { return text.find('{') != std::string::npos; }

// A size, or a text with columns.
void SetMemory(RunOptions& o, const std::string& option, const std::string& value) {
  o.task_memory.clear();
  o.task_memory_bytes = 0;
  if (HasColumn(value)) {
    o.task_memory = value;
  } else {
    o.task_memory_bytes = ParseMemory(value, option);
  }
}

void SetNeed(RunOptions& o, const std::string& option, const std::string& value) {
  const auto [name, count] = SplitPair(value, option);
  if (count.empty()) throw UsageError(fmt::format("{} {}: how much? {}=1", option, value, name));
  o.task_needs.insert_or_assign(name, count);
}

void SetLease(RunOptions& o, const std::string& option, const std::string& value) {
  o.lease = ParseDuration(value, option);
  if (o.lease < std::chrono::seconds(1)) throw UsageError(fmt::format("{}: at least 1s", option));
}

void SetChunk(RunOptions& o, const std::string& option, const std::string& value) {
  o.chunk = ParseCount(value, option, 1);
  if (o.chunk > kHeldMax) throw UsageError(fmt::format("{}: at most {}", option, kHeldMax));
}

constexpr auto kList = RunOption::Kind::kList;
constexpr auto kOneStart = RunOption::Record::kOneStart;
constexpr auto kPath = RunOption::Record::kPath;

std::vector<RunOption> OfResults() {
  return {
      {"output,o",
       "FILE",
       "where the results go ('-': standard output) [RUN-DIR/results.csv]",
       Text(&RunOptions::output),
       {},
       kPath},
      {"keep-order,k",
       nullptr,
       "show what tasks print on standard output, in the order of the rows",
       Flag(&RunOptions::keep_order),
       {},
       kOneStart},
      {"tail", nullptr, "the same of each task as it ends", Flag(&RunOptions::tail), {}, kOneStart},
      {"reduce", "'PROGRAM'",
       "a program beside the master that reads a line of JSON for each row that is ok, in their "
       "order, and makes one thing of all: what it prints is shown at the end, and kept as "
       "RUN-DIR/reduced (split into words as a shell would); none: of a run that goes on, no more",
       SetReduce},
      {"reduce-unordered", nullptr, "it reads them as they come",
       Flag(&RunOptions::reduce_unordered)},
      {"run-dir",
       "DIR",
       "the run's directory [NAME.cq here for NAME.csv]",
       Text(&RunOptions::run_dir),
       {},
       kOneStart},
      {"fresh",
       nullptr,
       "move an existing run directory aside and start anew",
       Flag(&RunOptions::fresh),
       {},
       kOneStart},
  };
}

std::vector<RunOption> OfWorkers() {
  return {
      {"workers,w", "N|MIN:MAX",
       "how many workers, which are replaced when they end; or as many as there is work for, "
       "within "
       "these bounds; 0: none, you start them yourself [1; a scheduler needs it]",
       SetWorkers},
      {"idle-timeout", "DURATION",
       "with --workers MIN:MAX: how long a worker stays without work [5m]",
       Duration(&RunOptions::idle_timeout)},
      {"launch-timeout", "DURATION",
       "how long a scheduler's job may run before its worker connects [10m]",
       Duration(&RunOptions::launch_timeout)},
      {"worker-tasks", "N", "a worker that has run N tasks makes room for a fresh one",
       Count(&RunOptions::worker_tasks, 1)},
      {"pools",
       "FILE",
       "workers of other kinds, as tables [pool.NAME] of a TOML file, with the keys of --pool",
       [](RunOptions& o, const std::string&, const std::string& v) {
         for (RunPool& pool : ReadPools(v)) AddPool(o, std::move(pool));
       },
       {},
       kPath},
      {"pool", "NAME:KEY=VALUE,...",
       "workers of another kind, as in large:workers=0:4,cpus=8,memory=32G,time=17h,gpu=1; more "
       "keys: slots, idle, scheduler, template, set.KEY, worker-init; other names are resources "
       "(repeatable)",
       [](RunOptions& o, const std::string&, const std::string& v) { AddPool(o, ParsePool(v)); },
       kList},
      {"slots", "N",
       "tasks at a time on each worker [1 with --workers or a scheduler, else one for each CPU]",
       Count32(&RunOptions::slots, 1)},
      {"scheduler,s", "local|slurm", "where workers run [local]", Text(&RunOptions::scheduler)},
      {"on", "NAME",
       "borrow the slots of this warm pool ('cq pool start'), as others leave them; at most "
       "--workers N of them",
       SetPool},
      {"priority", "N",
       "on a warm pool: runs with a larger number get all that they want first [0]", SetPriority},
      {"template",
       "FILE",
       "your own submission template",
       Text(&RunOptions::template_file),
       {},
       kPath},
      {"set", "KEY=VALUE", "fill a key of the template, as in --set partition=long (repeatable)",
       Pair(&RunOptions::template_values), kList},
      {"worker-init", "TEXT", "shell text that runs before each worker, as in 'module load R'",
       Text(&RunOptions::worker_init)},
  };
}

std::vector<RunOption> OfTasks() {
  return {
      {"const", "NAME=VALUE", "a constant for {NAME} (repeatable)", Pair(&RunOptions::constants),
       kList},
      {"env", "NAME[=VALUE]",
       "set a variable for the tasks; without =VALUE, pass ours on (repeatable)",
       [](RunOptions& o, const std::string&, const std::string& v) {
         o.env.push_back(EnvironmentPair(v));
       },
       kList},
      {"cwd", "DIR", "the tasks' directory [the current one]", Text(&RunOptions::cwd)},
      {"program", "'COMMAND'",
       "instead of a command: a program that is started once in each slot and answers many rows, "
       "as in 'Rscript model.R' (split into words as a shell would)",
       Program(&RunOptions::program)},
      {"function", "LIB:NAME",
       "instead of a command: a C++ function in a shared library (CQ_FUNCTION)",
       Text(&RunOptions::function)},
      {"types", "COLUMN=TYPE",
       "string, integer, number or boolean, for programs and functions [found out] (repeatable)",
       Pair(&RunOptions::types), kList},
      {"shell", nullptr,
       "COMMAND is one text for /bin/sh -c; values go in single-quoted, so put no quotes around "
       "{column}",
       Flag(&RunOptions::shell)},
      {"parse", "json",
       "the last line of a task's standard output is a JSON object: its names become columns",
       SetParse},
      {"stdout-column", "SIZE|none",
       "how much of standard output the results show in cq_stdout [4K]", SetStdoutColumn},
      {"seed", "N", "base of the tasks' CQ_SEED [drawn and recorded]", Count(&RunOptions::seed, 0)},
      {"seed-by", "COLUMNS",
       "rows with equal values in these columns (comma-separated) get the same seed",
       [](RunOptions& o, const std::string&, const std::string& v) { o.seed_by = SplitCommas(v); }},
      {"limit", "N", "only the first N rows", Count(&RunOptions::limit, 1), {}, kOneStart},
      {"max-tasks", "N",
       "once there are N tasks, rows that tasks push are kept, and not run; and none are asked for "
       "[no limit]",
       Count(&RunOptions::max_tasks, 1)},
      {"propose", nullptr,
       "of a program or function that names rows by the results so far (cq.serve(f, propose=g), "
       "CQ_PROPOSE): one process beside the master does",
       Flag(&RunOptions::propose)},
      {"ask", "'PROGRAM'",
       "a program beside the master that is told of each result and names the next rows; the CSV "
       "has the first ones, or is left out (split into words as a shell would)",
       Program(&RunOptions::ask)},
      {"ask-ahead", "N", "it is asked while fewer than N rows wait for a slot [one for each slot]",
       Count(&RunOptions::ask_ahead, 0)},
      {"each-line",
       "FILE",
       "the rows are the lines of this file (-: of standard input): {1} or {}, or with --separator "
       "their parts {1}, {2}, …",
       nullptr,
       {},
       kOneStart},
      {"separator", "CHAR",
       "what stands between the fields of the input: one character, or tab [, or a tab in .tsv]",
       Text(&RunOptions::separator)},
      {"order", "fifo|lpt", "start rows as they stand, or those that take longest first [fifo]",
       [](RunOptions&, const std::string& option, const std::string& v) {
         RequireOneOf(option, v, "fifo", "lpt");
       }},
      {"shuffle",
       nullptr,
       "start rows in a random order, which follows from --seed",
       Flag(&RunOptions::shuffle),
       {},
       kOneStart},
      {"delay", "DURATION",
       "give out no two tasks sooner after each other than that, as for a server that they all ask "
       "[0]",
       SetDelay},
      {"cost", "COLUMN", "how long rows take, in any unit, for --order lpt",
       Text(&RunOptions::cost_column)},
      {"costs",
       "RUN_DIR",
       "the same from an earlier run: how long its rows took that have the same values",
       [](RunOptions& o, const std::string&, const std::string& v) {
         o.costs_run = AbsolutePath(v);
       },
       {},
       kPath},
      {"group", "COLUMN",
       "the data set that a row needs: slots stay on one as long as they can (CQ_GROUP)",
       Text(&RunOptions::group_column)},
      {"task-cpus", "N|TEXT",
       "how many CPUs a task takes of its worker: a number, or a text with a column, as in "
       "'{cores}' (CQ_CPUS, OMP_NUM_THREADS) [a slot is all it takes]",
       Text(&RunOptions::task_cpus)},
      {"task-time", "DURATION|TEXT",
       "how long a task is thought to take, as in 2h or '{hours}h': it goes to a pool that lives "
       "so "
       "long",
       Text(&RunOptions::task_time)},
      {"kind", "COLUMNS",
       "columns that say how long rows take: those that agree in them are thought to take as long "
       "as their like that have ended [all rows are alike]",
       [](RunOptions& o, const std::string&, const std::string& v) { o.kind = SplitCommas(v); }},
      {"task-need", "NAME=N|TEXT",
       "how much a task takes of a resource of its pool, as in gpu=1 (CUDA_VISIBLE_DEVICES) "
       "(repeatable)",
       SetNeed, kList},
      {"task-pool", "NAME|TEXT",
       "the pool whose workers run a task [the smallest that has what it asks for]",
       Text(&RunOptions::task_pool)},
      {"chunk", "N",
       "give each slot N tasks at a time; 1: nothing waits at a slot [as their durations say]",
       SetChunk},
  };
}

void SetEscalation(RunOptions& options, const std::string& option, const std::string& value) {
  if (value.empty()) throw UsageError(option + ": it must be memory=F, time=F, or both");
  for (const std::string& part : SplitCommas(value)) {
    const auto [name, text] = SplitPair(part, option);
    if (name != "memory" && name != "time") {
      throw UsageError(fmt::format(
          "{} {}: it must be memory=F, time=F, or both, as in memory=2,time=2", option, value));
    }
    double factor = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), factor);
    if (error != std::errc() || end != text.data() + text.size() ||
        !(factor > 1 && factor <= 100)) {
      throw UsageError(fmt::format("{} {}: F is '{}', and must be a number above 1, up to 100",
                                   option, value, text));
    }
    (name == "memory" ? options.escalate_memory : options.escalate_time) = factor;
  }
}

std::vector<RunOption> OfFailures() {
  return {
      {"escalate", "memory=F,time=F",
       "a task that ends as memory or timeout is tried again with F times as much memory, or time",
       [](RunOptions& o, const std::string& option, const std::string& v) {
         SetEscalation(o, option, v);
       }},
      {"retries", "N",
       "try a task that ended as error or timeout again so often, after 1, 2, 4, ... s [0]",
       Count32(&RunOptions::retries, 0)},
      {"crash-limit", "N",
       "set a task aside as crashed once it took its worker with it so often [3]",
       Count32(&RunOptions::crash_limit, 1)},
      {"max-failures", "N", "start nothing more once so many tasks did not end ok [no limit]",
       Count(&RunOptions::max_failures, 1)},
      {"halt", "now|soon,WHAT=N[%]",
       "stop once so many tasks, or percent of them, have failed (soon,fail=3), are ok "
       "(now,success=1) or have ended (soon,done=10%); soon: what runs is finished, now: it is "
       "ended; never: of a run that goes on, no more [never]",
       SetHalt},
      {"task-timeout", "DURATION|{COLUMN}|P%",
       "end a task that runs longer (TERM, 5 s, KILL), or as long as its row says; or (KILL) than "
       "P "
       "percent of the median of the last ones that were ok, as in 300%, and 1 s, once 5 were [no "
       "limit]",
       SetTimeout},
      {"task-memory", "SIZE|TEXT",
       "end a task whose processes take more memory in sum, as outcome memory; a text with a "
       "column, as in '{gigabytes}G', says it for each row. Where a pool or a column says memory, "
       "tasks start only where there is so much [no limit]",
       SetMemory},
      {"worker-check", "TEXT", "shell text that must succeed on a worker before its first task",
       Text(&RunOptions::worker_check)},
      {"ports", "FIRST-LAST", "on which workers reach the master [20000-29999]",
       Text(&RunOptions::ports)},
      {"interface", "NAME|ADDRESS", "the network by which workers reach the master, as ib0 [all]",
       Text(&RunOptions::interface)},
      {"lease", "DURATION", "a worker silent for so long is lost [30s]", SetLease},
      {"fence", nullptr,
       "for tasks with side effects: never two attempts at one task at a time, even if a worker is "
       "cut off",
       Flag(&RunOptions::fence)},
      {"on-master-loss", "DURATION",
       "how long a scheduler's idle worker waits for a master that is gone [30m; --on: 1m]",
       Duration(&RunOptions::on_master_loss)},
      {"on-hangup", "stay|stop",
       "what a scheduler's workers do when the terminal closes (SIGHUP): finish what they have and "
       "wait for 'cq resume', or stop; local workers stop [stay]",
       [](RunOptions& o, const std::string& option, const std::string& v) {
         RequireOneOf(option, v, "stay", "stop");
         o.stop_on_hangup = v == "stop";
       }},
  };
}

std::vector<RunOption> OfResume() {
  return {
      {"depends", "FILE",
       "a file that results depend on, besides the program and arguments that name files "
       "(repeatable)",
       [](RunOptions& o, const std::string&, const std::string& v) {
         o.depends.push_back(AbsolutePath(v));
       },
       kList, kPath},
      {"failed",
       nullptr,
       "of a run that exists: run again every row that did not end ok",
       Flag(&RunOptions::failed),
       {},
       kOneStart},
      {"keep",
       nullptr,
       "of a run whose program or input files changed: keep the older results",
       Flag(&RunOptions::keep),
       {},
       kOneStart},
      {"rerun",
       nullptr,
       "of a run that exists: run all rows again",
       Flag(&RunOptions::rerun),
       {},
       kOneStart},
      {"trust-owner",
       "USER",
       "of a run that exists in a directory of this other user: run what it says",
       Text(&RunOptions::trust_owner),
       {},
       kOneStart},
      {"take-over",
       nullptr,
       "of a run that exists: though a master on another host seems to hold it",
       Flag(&RunOptions::take_over),
       {},
       kOneStart},
      {"quiet", nullptr, "no progress; errors still", nullptr, {}, kOneStart},
      {"json", nullptr, "one JSON object on standard output at the end", nullptr, {}, kOneStart},
      {"detach",
       nullptr,
       "return once the run has started; it goes on without this terminal (cq attach, cq wait)",
       nullptr,
       {},
       kOneStart},
      {"master-job",
       nullptr,
       "the master is a job of the batch system itself, and this one returns (cq attach, cq wait)",
       nullptr,
       {},
       kOneStart},
      {"set-master", "KEY=VALUE",
       "fill a key of that job's template, as in --set-master time=2-00:00 (repeatable)",
       Pair(&RunOptions::master_values), kList, kOneStart},
      {"on-finish", "COMMAND",
       "shell text that is run at the end, at the first failure, and when nothing moves for long; "
       "CQ_EVENT (end, failure, stall), CQ_RUN_DIR, CQ_STATUS, … say of what",
       nullptr},
      {"stall-after", "DURATION", "for --on-finish: for how long nothing has moved then [1h]",
       nullptr},
      {"dry-run",
       nullptr,
       "show the first 3 commands, the counts, the filled template; start nothing",
       nullptr,
       {},
       kOneStart},
  };
}

// Of standard output.
void RequireOneWriter(const RunOptions& options, bool json) {
  std::vector<std::string> writers;
  if (options.output == "-") writers.emplace_back("--output -");
  if (json) writers.emplace_back("--json");
  if (options.keep_order) writers.emplace_back("--keep-order");
  if (options.tail) writers.emplace_back("--tail");
  if (writers.size() < 2) return;
  throw UsageError(
      fmt::format("{} and {} both write to standard output: choose one", writers[0], writers[1]));
}

}  // namespace

WorkerRange ParseWorkers(const std::string& value, const std::string& option) {
  constexpr uint64_t kMost = 1'000'000;
  const size_t colon = value.find(':');
  const bool range = colon != std::string::npos;
  uint64_t most = 0;
  uint64_t least = 0;
  try {
    most = ParseCount(range ? value.substr(colon + 1) : value, option, 1);
    if (range) least = ParseCount(value.substr(0, colon), option, 0);
  } catch (const UsageError&) {
    throw UsageError(
        fmt::format("{} '{}': it must be N, or MIN:MAX, as in 20 or 0:50, and N and MAX at least 1",
                    option, value));
  }
  if (most > kMost) throw UsageError(fmt::format("{} {}: at most {}", option, value, kMost));
  if (least > most) throw UsageError(fmt::format("{} {}: MIN is more than MAX", option, value));
  WorkerRange workers;
  workers.most = static_cast<unsigned>(most);
  if (range) workers.least = static_cast<unsigned>(least);
  return workers;
}

std::string RunOption::long_name() const {
  const std::string all = name;
  return all.substr(0, all.find(','));
}

const std::vector<RunOption>& RunOptionTable() {
  static const std::vector<RunOption> kAll = [] {
    std::vector<RunOption> all;
    for (auto&& part : {OfResults(), OfWorkers(), OfTasks(), OfFailures(), OfResume()}) {
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }();
  return kAll;
}

const RunOption* FindRunOption(const std::string& long_name) {
  const auto& all = RunOptionTable();
  const auto found = std::find_if(all.begin(), all.end(), [&](const RunOption& option) {
    return option.long_name() == long_name;
  });
  return found == all.end() ? nullptr : &*found;
}

po::options_description RunOptionsDescription() {
  po::options_description options("options", 100, 60);
  AddRunOptions(options, [](const RunOption&) { return true; });
  options.add_options()("help,h", "show this page");
  return options;
}

void AddRunOptions(po::options_description& options,
                   const std::function<bool(const RunOption&)>& which) {
  for (const RunOption& option : RunOptionTable()) {
    if (!which(option)) continue;
    if (option.value == nullptr) {
      options.add_options()(option.name, option.help);
      continue;
    }
    const bool list = option.kind == RunOption::Kind::kList;
    const po::value_semantic* value =
        list ? static_cast<po::value_semantic*>(
                   po::value<Words>()->composing()->value_name(option.value))
             : po::value<std::string>()->value_name(option.value);
    options.add_options()(option.name, value, option.help);
  }
}

void SetRunOptions(RunOptions& options, const po::variables_map& values) {
  if (values.count("on") > 0 && values.count("scheduler") > 0) {
    throw UsageError("--on and --scheduler both say where workers run: choose one");
  }
  for (const RunOption& option : RunOptionTable()) {
    const std::string name = option.long_name();
    if (values.count(name) == 0 || option.set == nullptr) continue;
    const Words given = option.value == nullptr ? Words{""}
                        : option.kind == RunOption::Kind::kList
                            ? values[name].as<Words>()
                            : Words{values[name].as<std::string>()};
    for (const std::string& value : given) option.set(options, "--" + name, value);
  }
}

RunOptions TranslateRunOptions(const CommandLine& line, const po::variables_map& values) {
  RunOptions options;
  const Words positional = Positional(values);
  if (positional.empty()) {
    throw UsageError("no input: cq run PARAMS.csv [options] -- COMMAND [ARG ...]");
  }
  if (positional.size() > 1) {
    throw UsageError(
        fmt::format("unexpected '{}': options come before '--', the command after it: "
                    "cq run {} [options] -- COMMAND [ARG ...]",
                    positional[1], positional[0]));
  }
  const bool served = values.count("program") + values.count("function") > 0;
  if (!served && (!line.has_command || line.command.empty())) {
    throw UsageError("no command: cq run PARAMS.csv [options] -- COMMAND [ARG ...]");
  }
  options.input = positional[0];
  options.command = line.command;
  SetRunOptions(options, values);
  // It was for the lines.
  if (values.count("each-line") > 0) options.separator.clear();
  const bool lpt = values.count("order") > 0 && values["order"].as<std::string>() == "lpt";
  if (!options.cost_column.empty() && !options.costs_run.empty()) {
    throw UsageError("--cost COLUMN and --costs RUN_DIR say the same: choose one");
  }
  if (lpt != (!options.cost_column.empty() || !options.costs_run.empty())) {
    throw UsageError("--order lpt and --cost COLUMN, or --costs RUN_DIR, go together");
  }
  if (options.reduce_unordered && options.reduce.empty() && values.count("reduce") == 0) {
    throw UsageError("--reduce-unordered is for --reduce 'PROGRAM'");
  }
  if (options.shuffle && values.count("order") > 0) {
    throw UsageError("--shuffle and --order both say in which order rows start: choose one");
  }
  const bool json = values.count("json") > 0;
  RequireOneWriter(options, json);
  options.show_reduced = !json && options.output != "-";
  if (json) CheckStandardOutput("--json");
  return options;
}

}  // namespace cq
