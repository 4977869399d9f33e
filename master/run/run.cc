#include "cq/run.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/cpus.h"
#include "base/files.h"
#include "base/quantities.h"
#include "base/text.h"
#include "cq/error.h"
#include "master/input/input.h"
#include "master/input/row_matching.h"
#include "master/journal/journal.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/loop/master_loop.h"
#include "master/run/cancel.h"
#include "master/run/export.h"
#include "master/run/fingerprints.h"
#include "master/run/output_file.h"
#include "master/run/run_directory.h"
#include "master/run/run_keys.h"
#include "master/run/run_setup.h"
#include "protocol/column_types.h"
#include "protocol/command.h"
#include "protocol/limits.h"
#include "protocol/own_program.h"

namespace cq {
namespace {

/// What a span of rows takes: little against what a slot has at hand, much against a message.
constexpr std::chrono::milliseconds kSpanOfFunction{1};
/// As much as a slot gives its program at a time.
constexpr std::chrono::milliseconds kSpanOfProgram{50};

using Clock = std::chrono::steady_clock;

// What is wrong with the options alone, before anything is read.
void CheckOptions(const RunOptions& options) {
  const bool served = !options.program.empty() || !options.function.empty();
  if (served) {
    if (!options.command.empty() || (!options.program.empty() && !options.function.empty())) {
      throw UsageError("a command after '--', --program and --function: choose one");
    }
    if (options.parse_json || options.shell) {
      throw UsageError("--parse and --shell are for a command after '--'");
    }
    if (!options.function.empty() && options.function.find(':') == std::string::npos) {
      throw UsageError(fmt::format("--function '{}': LIBRARY:NAME, as in libmodel.so:simulate",
                                   options.function));
    }
  } else if (options.command.empty()) {
    throw UsageError("no command: cq run PARAMS.csv [options] -- COMMAND [ARG ...]");
  } else if (options.command[0].empty()) {
    throw UsageError("the command is empty");
  }
  for (const auto& [column, type] : options.types) ParseColumnType(type, "--types " + column);
  if (!options.types.empty() && !served) {
    throw UsageError("--types is for --program and --function");
  }
  if (options.shell && options.command.size() != 1) {
    throw UsageError(
        fmt::format("--shell takes one argument, the text for /bin/sh; there are {}: "
                    "put it in quotes",
                    options.command.size()));
  }
  if (options.scheduler != "local" && options.scheduler != "slurm") {
    throw UsageError(
        fmt::format("unknown scheduler '{}'; there are: local, slurm", options.scheduler));
  }
  if (options.scheduler != "local" && !options.workers) {
    throw UsageError(
        fmt::format("--scheduler {} needs --workers N: how many jobs to start", options.scheduler));
  }
  if (options.workers == 0u || options.slots == 0u) {
    throw UsageError("--workers and --slots are at least 1");
  }
  if (options.slots.value_or(1) > kSlotsMax) {
    throw UsageError(fmt::format("--slots {}: at most {}", *options.slots, kSlotsMax));
  }
}

std::string RunDirectoryPath(const RunOptions& options) {
  return AbsolutePath(options.run_dir.empty() ? DefaultRunDirectory(options.input)
                                              : options.run_dir);
}

void CheckOutput(const RunOptions& options) {
  if (options.output.empty()) return;
  // Its own run directory may not be there yet.
  const std::filesystem::path path = AbsolutePath(options.output);
  if (options.output != "-" && path.filename() != "results.csv" &&
      path.parent_path() == RunDirectoryPath(options)) {
    throw UsageError(fmt::format(
        "'{}' is in the run directory, whose files are cq's own: choose another --output",
        options.output));
  }
  cq::CheckOutput(options.output, options.input, options.depends);
}

PoolOptions PlanPool(const RunOptions& options) {
  PoolOptions pool;
  pool.scheduler = options.scheduler;
  // --slots N alone, or nothing, is one worker with so many slots; --workers N alone is N of one
  // slot.
  const unsigned slots = options.workers || options.scheduler != "local" ? 1 : UsableCpus();
  pool.workers = options.workers.value_or(1);
  pool.slots = options.slots.value_or(slots);
  pool.program = options.worker_program.empty() ? OwnCommand()
                                                : std::vector<std::string>{options.worker_program};
  pool.run_dir = RunDirectoryPath(options);
  pool.worker_init = options.worker_init;
  pool.template_file = options.template_file;
  pool.template_values = options.template_values;
  return pool;
}

std::vector<size_t> ColumnIndices(const std::vector<std::string>& names, const char* option,
                                  const std::vector<std::string>& columns) {
  std::vector<size_t> indices;
  for (const std::string& name : names) {
    const auto found = std::find(columns.begin(), columns.end(), name);
    if (found == columns.end()) {
      throw UsageError(fmt::format("{}: there is no column '{}'; the columns are: {}", option, name,
                                   Joined(columns, ", ")));
    }
    indices.push_back(static_cast<size_t>(found - columns.begin()));
  }
  return indices;
}

std::string TasksDirectory(const RunOptions& options) {
  const std::string cwd = AbsolutePath(options.cwd.empty() ? "." : options.cwd);
  struct stat status {};
  // On a cluster the directory may exist on the workers' machines only; they say so themselves.
  if (options.scheduler == "local" &&
      (stat(cwd.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))) {
    throw UsageError(fmt::format("--cwd: there is no directory '{}'", cwd));
  }
  return cwd;
}

// What each value of a column must be, as the options say.
std::vector<RowCheck> ChecksOf(const RunOptions& options) {
  std::vector<RowCheck> checks;
  if (!options.task_timeout_column.empty()) {
    checks.push_back({options.task_timeout_column, "--task-timeout", true,
                      [](const std::string& value) { ParseDuration(value, "--task-timeout"); }});
  }
  if (!options.cost_column.empty()) {
    checks.push_back({options.cost_column, "--cost", false, [](const std::string& value) {
                        if (!ParseCost(value)) {
                          throw UsageError(fmt::format("--cost: '{}' is no number", value));
                        }
                      }});
  }
  for (const auto& [column, name] : options.types) {
    const ColumnType type = ParseColumnType(name, "--types " + column);
    checks.push_back({column, "--types", true, [type](const std::string& value) {
                        if (IsOfType(value, type)) return;
                        throw UsageError(
                            fmt::format("--types: '{}' is no {}", value, NameOf(type)));
                      }});
  }
  return checks;
}

std::vector<ColumnType> ColumnTypes(const RunOptions& options, const InputSummary& input) {
  auto types = input.types;
  for (const auto& [column, type] : options.types) {
    const size_t at = ColumnIndices({column}, "--types", input.columns)[0];
    types[at] = ParseColumnType(type, "--types " + column);
  }
  return types;
}

/// A run that is about to start, and what it needs.
class Setup {
 public:
  Setup(const RunOptions& options, RunObserver& observer)
      : options_(options), observer_(observer), plan_(PlanPool(options)), pool_(plan_) {}

  RunSummary Run() {
    CheckOutput(options_);
    const std::string cwd = TasksDirectory(options_);
    if (IsRunDirectory(plan_.run_dir) && !options_.fresh) return Resume(cwd);
    RunDirectory directory = RunDirectory::Make(plan_.run_dir, options_.fresh);
    const auto summary = Read(options_.input, directory.File("params.csv"));
    definition_.columns = summary.columns;
    definition_.rows = summary.rows;
    if (served()) {
      definition_.types = ColumnTypes(options_, summary);
      AddWide(summary);
    }
    definition_.run = Random64();
    definition_.seed = options_.seed ? *options_.seed : Random64() >> 33;
    Define(directory, cwd);
    ranges_ = {{1, 1, definition_.rows}};
    Order(directory);
    auto fingerprints = TakeFingerprints(definition_, options_.depends);
    // Whole before it has its name: whoever finds the directory finds a run.
    CreateJournal(directory.File("journal.db"), Meta(fingerprints), ranges_);
    directory.Publish();
    files_.emplace(std::move(fingerprints));
    Database journal = OpenJournal(directory.File("journal.db"));
    Recovered recovered = Recover(journal, ranges_, definition_.limit);
    return Work(directory, std::move(journal), 1, std::move(recovered));
  }

 private:
  // What the journal keeps of this start.
  std::map<std::string, std::string> Meta(const Fingerprints& fingerprints) const {
    auto meta = definition_.ToMeta();
    meta["fingerprints"] = ToJson(fingerprints);
    meta["record"] = (options_.record.empty() ? "null" : options_.record);
    return meta;
  }

  InputSummary Read(const std::string& path, const std::string& copy) {
    RunProgress progress;
    progress.phase = RunProgress::Phase::kReading;
    const auto report = [&](uint64_t rows, uint64_t) {
      progress.done = rows;
      progress.seconds = Seconds();
      observer_.Progress(progress);
    };
    InputSummary summary = ReadInput({.path = path,
                                      .copy = copy,
                                      .separator = path == options_.input ? options_.separator : "",
                                      .progress = report,
                                      .interrupt_fd = options_.signal_fd,
                                      .checks = Checks(),
                                      .find_types = served()});
    if (summary.odd_line != 0) {
      observer_.Warning(fmt::format(
          "'{}' is not all UTF-8 (line {} is the first that is not): commands get its bytes as "
          "they "
          "are, but the results show U+FFFD for each that is none; 'iconv -f LATIN1 -t UTF-8' may "
          "make it what it should be",
          path, summary.odd_line));
    }
    return summary;
  }

  bool served() const { return !options_.program.empty() || !options_.function.empty(); }

  std::vector<RowCheck> Checks() const { return ChecksOf(options_); }

  // Options that came with a resume and say something about rows that are not read anew.
  void CheckCopy(const std::string& copy) const {
    if (Checks().empty()) return;
    ReadInput({.path = copy, .interrupt_fd = options_.signal_fd, .checks = Checks()});
  }

  std::optional<size_t> ColumnOf(const std::string& name, const char* option) const {
    if (name.empty()) return std::nullopt;
    return ColumnIndices({name}, option, definition_.columns)[0];
  }

  // Everything but what makes the run that run.
  void Define(const RunDirectory& directory, const std::string& cwd) {
    MakeRoom({{&pool_, plan_.workers}});
    for (const auto& [name, value] : options_.constants) {
      const auto& columns = definition_.columns;
      if (std::find(columns.begin(), columns.end(), name) != columns.end()) {
        throw UsageError(fmt::format("--const {}: the input has a column of that name", name));
      }
    }
    definition_.command = options_.command;
    definition_.shell = options_.shell;
    definition_.program = options_.program;
    definition_.function = options_.function;
    definition_.constants = options_.constants;
    definition_.env = options_.env;
    definition_.cwd = cwd;
    definition_.parse_json = options_.parse_json;
    definition_.seed_by = options_.seed_by;
    definition_.limit = options_.limit;
    if (!options_.input.empty()) {
      definition_.input = options_.input == "-" ? "-" : AbsolutePath(options_.input);
    }
    definition_.output = options_.output.empty()  ? directory.path() + "/results.csv"
                         : options_.output == "-" ? "-"
                                                  : AbsolutePath(options_.output);
    definition_.stdout_column = options_.stdout_column;
    command_ = cq::CompileCommand(options_.command, definition_.columns, definition_.constants,
                                  options_.shell);
    // A program sees the whole row.
    for (size_t i = 0; served() && i < definition_.columns.size(); ++i) {
      command_.columns.push_back(i);
    }
    seed_columns_ = ColumnIndices(definition_.seed_by, "--seed-by", definition_.columns);
    timeout_column_ = ColumnOf(options_.task_timeout_column, "--task-timeout");
    cost_column_ = ColumnOf(options_.cost_column, "--cost");
    group_column_ = ColumnOf(options_.group_column, "--group");
    WarnOfNoHeader();
  }

  // A list has no header: its first row would be missing, unnoticed.
  void WarnOfNoHeader() const {
    if (served() || !command_.columns.empty()) return;
    const auto is_data = [](const std::string& name) {
      return TypeOf(name) != ColumnType::kText || name.find_first_of("/\\ ") != name.npos;
    };
    const auto found =
        std::find_if(definition_.columns.begin(), definition_.columns.end(), is_data);
    if (found == definition_.columns.end()) return;
    observer_.Warning(fmt::format(
        "the command uses no column, and the first line, which names the columns, looks like a row "
        "('{}'): does the input have a header?",
        *found));
  }

  void Order(const RunDirectory& directory) {
    if (!cost_column_ && !group_column_) return;
    const std::string copy = directory.File("params.csv");
    order_ = OrderTasks(copy, options_.input.empty() ? copy : options_.input, ranges_, cost_column_,
                        group_column_);
  }

  // ---- going on with a run ----

  RunSummary Resume(const std::string& cwd) {
    if (!options_.resume) RequireFree(plan_.run_dir, false);
    RunDirectory directory =
        RunDirectory::Open(plan_.run_dir, options_.take_over, options_.trust_owner);
    Database journal = OpenJournal(directory.File("journal.db"));
    definition_ = ReadDefinition(journal);
    FinishReplacement(directory, journal);
    CheckSame();
    Restart restart;
    CompareInput(directory, journal, restart);
    Define(directory, cwd);
    CompareFingerprints(journal, restart);
    if (options_.failed && restart.rerun == Restart::Rerun::kNothing) {
      restart.rerun = Restart::Rerun::kFailed;
    }
    for (auto& [name, value] : definition_.ToMeta()) restart.meta[name] = value;
    if (!options_.record.empty()) restart.meta["record"] = options_.record;
    const Epoch epoch = StartEpoch(journal, restart);
    FinishReplacement(directory, journal);
    ranges_ = ReadRanges(journal);
    Order(directory);
    Recovered recovered = Recover(journal, ranges_, definition_.limit);
    return Work(directory, std::move(journal), epoch, std::move(recovered));
  }

  // The command, the constants and the seed make the run that run.
  void CheckSame() const {
    const auto refuse = [&](const std::string& what) {
      throw UsageError(fmt::format(
          "the run in '{}' is another one: {}; --fresh moves it aside and starts anew, --run-dir "
          "DIR puts this run elsewhere",
          plan_.run_dir, what));
    };
    if (definition_.calls) refuse("its tasks are calls of a program that embeds its master");
    const auto tasks = [](const auto& run) {
      return !run.program.empty()    ? fmt::format("--program {}", Joined(run.program, " "))
             : !run.function.empty() ? fmt::format("--function {}", run.function)
                                     : Joined(run.command, " ");
    };
    if (options_.command != definition_.command || options_.shell != definition_.shell ||
        options_.program != definition_.program || options_.function != definition_.function) {
      refuse(fmt::format("its command is '{}', not '{}'", tasks(definition_), tasks(options_)));
    }
    if (options_.constants != definition_.constants) refuse("its --const are others");
    if (options_.seed && *options_.seed != definition_.seed) {
      refuse(fmt::format("its --seed is {}, not {}", definition_.seed, *options_.seed));
    }
    if (options_.seed_by != definition_.seed_by) refuse("its --seed-by is another");
  }

  // An edited input takes the place of the copy once the journal knows its ranges; a master may
  // have died between the two.
  static void FinishReplacement(const RunDirectory& directory, Database& journal) {
    if (MetaText(journal, "copy_pending").empty()) return;
    rename(directory.File("params.csv.next").c_str(), directory.File("params.csv").c_str());
    journal.Execute("DELETE FROM meta WHERE name = 'copy_pending'");
  }

  // Another file's rows are never an edit of this one's, and its results are not theirs. A folder
  // that was moved as a whole has the same bytes at another path.
  void RequireSameInput(const std::string& copy, bool same_bytes) const {
    const auto name = [](const std::string& path) {
      return path == "-" ? std::string("standard input") : fmt::format("'{}'", path);
    };
    const std::string& before = definition_.input;
    const std::string now = options_.input == "-" ? "-" : AbsolutePath(options_.input);
    std::error_code none;
    const bool same_file = now != "-" && before != "-" &&
                           (now == before || std::filesystem::equivalent(now, before, none));
    const bool moved = before == "-" ? now == "-" : now != "-" && access(before.c_str(), F_OK) != 0;
    if (same_file || (moved && same_bytes)) return;
    throw UsageError(fmt::format(
        "the run in '{}' is of {}, not of {}: to go on with it, 'cq resume {}'; for another run, "
        "--run-dir DIR, or --fresh, which moves the old one aside{}",
        plan_.run_dir, name(before), now == before ? "this " + name(now) : name(now),
        ShellQuote(plan_.run_dir),
        now == "-" ? fmt::format(" (its rows were kept as '{}')", copy) : ""));
  }

  void CompareInput(const RunDirectory& directory, Database& journal, Restart& restart) {
    const std::string& input = options_.input;
    ranges_ = ReadRanges(journal);
    if (input.empty()) {
      observer_.Resumed("the rows are those of the copy in the run directory");
      CheckCopy(directory.File("params.csv"));
      return;
    }
    if (input != "-" && access(input.c_str(), F_OK) != 0) {
      if (AbsolutePath(input) != definition_.input) RequireSameInput({}, false);
      observer_.Resumed(
          fmt::format("'{}' is gone: the rows are those of the copy in the run directory", input));
      CheckCopy(directory.File("params.csv"));
      return;
    }
    const std::string copy = directory.File("params.csv");
    struct stat status {};
    const bool regular =
        input != "-" && stat(input.c_str(), &status) == 0 && S_ISREG(status.st_mode);
    const bool same = regular && SameBytes(input, copy);
    if (input != "-") RequireSameInput(copy, same);
    if (same) {
      CheckCopy(copy);
      return;
    }
    const std::string edited = directory.File("params.csv.new");
    struct Remove {
      const std::string& path;
      ~Remove() { unlink(path.c_str()); }
    } remove{edited};
    const auto summary = Read(input, edited);
    if (input == "-") {
      RequireSameInput(copy, SameBytes(edited, copy));
      CheckCopy(copy);
      return;
    }
    if (summary.columns != definition_.columns) {
      throw UsageError(fmt::format(
          "the columns of '{}' are {}; those of the run in '{}' are {}: --fresh moves it aside and "
          "starts anew, --run-dir DIR puts this run elsewhere",
          input, Joined(summary.columns, ", "), plan_.run_dir, Joined(definition_.columns, ", ")));
    }
    if (served()) CheckTypes(ColumnTypes(options_, summary));
    const TaskId last = LastTask(journal, ranges_);
    RowMatch match = MatchRows(copy, ranges_, last, edited);
    if (match.ranges == ranges_) return;
    observer_.Resumed(
        fmt::format("the input has changed: {} rows are as before, {} are new, {} are gone",
                    match.kept, match.added, match.removed.size()));
    definition_.rows = summary.rows;
    AddWide(summary);
    restart.meta["last_task"] = std::to_string(last + match.added);
    restart.ranges = std::move(match.ranges);
    restart.removed = std::move(match.removed);
    restart.meta["copy_pending"] = "true";
    if (rename(edited.c_str(), directory.File("params.csv.next").c_str()) != 0) {
      throw Error(fmt::format("cannot rename '{}': {}", edited, strerror(errno)));
    }
  }

  // Of a column that the user takes as text it does not matter.
  void AddWide(const InputSummary& summary) {
    auto& wide = definition_.wide;
    for (const std::string& name : summary.wide) {
      const auto type = options_.types.find(name);
      if (type != options_.types.end() && type->second != NameOf(ColumnType::kInteger)) continue;
      if (std::find(wide.begin(), wide.end(), name) == wide.end()) wide.push_back(name);
    }
  }

  // Of an edited input: results of rows that were other things before are not to be compared.
  void CheckTypes(const std::vector<ColumnType>& types) const {
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] == definition_.types[i]) continue;
      throw UsageError(fmt::format(
          "column '{}' of the edited input is {}, it was {}: --types {}={} takes it as before",
          definition_.columns[i], NameOf(types[i]), NameOf(definition_.types[i]),
          definition_.columns[i], NameOf(definition_.types[i])));
    }
  }

  void CompareFingerprints(Database& journal, Restart& restart) {
    const auto now = TakeFingerprints(definition_, options_.depends);
    const auto changed = Changed(FingerprintsFromJson(MetaText(journal, "fingerprints")), now);
    const uint64_t results = CountResults(journal);
    if (!changed.empty() && results > 0 && !options_.keep && !options_.rerun) {
      throw UsageError(fmt::format(
          "{} results are older than the last change of {}: --keep keeps them, --rerun runs their "
          "rows again",
          results, Joined(changed, ", ")));
    }
    if (options_.rerun) restart.rerun = Restart::Rerun::kAll;
    restart.meta["fingerprints"] = ToJson(now);
    files_.emplace(now);
  }
  void LookAtFiles() {
    const std::string changed = files_->Look();
    if (!changed.empty()) observer_.Warning(changed);
  }

  double Seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  RunSummary Summary(const RunDirectory& directory) const {
    RunSummary summary;
    summary.tasks = definition_.tasks();
    summary.run_dir = directory.path();
    summary.output = definition_.output;
    summary.seed = definition_.seed;
    return summary;
  }

  // Nothing is left to run: a header without rows, or a run that has finished.
  RunSummary Nothing(const RunDirectory& directory, const Recovered& recovered) {
    RunSummary summary = Summary(directory);
    summary.outcomes = recovered.outcomes;
    if (summary.outcomes[0] != summary.tasks) summary.status = 1;
    Export(directory, summary);
    summary.seconds = Seconds();
    return summary;
  }

  RunText Text(const RunDirectory& directory, uint64_t tasks) const {
    RunText text;
    text.run = definition_.run;
    text.run_dir = directory.path();
    text.cwd = definition_.cwd;
    text.env = definition_.env;
    text.command = command_.arguments;
    text.parse = definition_.parse_json ? Parse::kJson : Parse::kNothing;
    text.cpus = CpusOfSlot();
    text.check = options_.worker_check;
    text.timeout_ms = static_cast<uint64_t>(options_.task_timeout.count());
    text.memory_bytes = options_.task_memory_bytes;
    text.fence = options_.fence;
    text.chunk = options_.chunk;
    text.tasks = tasks;
    text.on_master_loss_ms = static_cast<uint64_t>(options_.on_master_loss.count());
    if (served()) {
      text.program = {options_.program,
                      FunctionPath(),
                      false,
                      definition_.columns,
                      definition_.types,
                      {definition_.constants.begin(), definition_.constants.end()}};
      SetWideColumns(text, definition_.wide);
    }
    return text;
  }

  // The library is found from the tasks' directory; without a slash it would be looked for
  // elsewhere.
  std::string FunctionPath() const {
    const size_t colon = options_.function.rfind(':');
    if (options_.function.empty()) return {};
    const std::filesystem::path library = options_.function.substr(0, colon);
    return (library.is_absolute() ? library : std::filesystem::path(definition_.cwd) / library)
               .string() +
           options_.function.substr(colon);
  }

  // Limits hold for each task by itself.
  bool GoesInSpans() const {
    return served() && options_.task_timeout.count() == 0 && !timeout_column_ &&
           options_.task_memory_bytes == 0;
  }

  // What --set cpus=N gives a worker is shared by its slots; otherwise each has one.
  uint64_t CpusOfSlot() const {
    const auto set = options_.template_values.find("cpus");
    if (set == options_.template_values.end()) return 1;
    return std::max<uint64_t>(1, std::strtoull(set->second.c_str(), nullptr, 10) / plan_.slots);
  }

  CoreOptions CoreOptionsOf(const RunDirectory& directory, Epoch epoch, uint64_t tasks) const {
    CoreOptions core;
    core.epoch = epoch;
    core.text = Text(directory, tasks);
    for (const RowRange& range : ranges_)
      core.tasks = std::max(core.tasks, range.task + range.rows - 1);
    core.lease = options_.lease;
    core.crash_limit = options_.crash_limit;
    core.retries = options_.retries;
    core.max_failures = options_.max_failures;
    core.explained_late = options_.scheduler != "local";
    core.order = order_.start;
    core.expected_slots = uint64_t{plan_.workers} * plan_.slots;
    if (GoesInSpans())
      core.span_time = options_.function.empty() ? kSpanOfProgram : kSpanOfFunction;
    return core;
  }

  // What earlier masters left with schedulers other than this.
  void CancelLeft(Database& journal, const std::string& scheduler) {
    const auto say = [this](const std::string& text) { observer_.Resumed(text); };
    for (const std::string& job : CancelAllocations(journal, scheduler, say)) {
      observer_.Resumed(fmt::format("cancelled {}, left by an earlier master", job));
    }
  }

  RunSummary Work(RunDirectory& directory, Database journal, Epoch epoch, Recovered recovered) {
    uint64_t done = 0;
    for (const uint64_t count : recovered.outcomes) done += count;
    if (done == definition_.tasks()) {
      directory.Keep();
      CancelLeft(journal, {});
      return Nothing(directory, recovered);
    }
    const std::vector<PoolShare> pools{{&pool_, plan_.workers}};
    // Workers of another scheduler could not be watched any more.
    CancelLeft(journal, options_.scheduler);
    RunKeys keys(directory, definition_.run);
    Transport transport = Listen(pools, directory, keys, observer_, address_);
    pool_.HoldOpen(directory.workers_lock());
    TakeOver(pools, journal, recovered);
    if (done > 0 || epoch > 1) {
      observer_.Resumed(
          fmt::format("{} of {} tasks have a result already", done, definition_.tasks()));
    }
    MasterLoop::Options loop_options;
    loop_options.signal_fd = options_.signal_fd;
    loop_options.stop_on_hangup = options_.stop_on_hangup;
    loop_options.spool = directory.File("spool");
    loop_options.copies = directory.File("copy-");
    loop_options.keep_alive = [&] {
      directory.RenewOwner();
      LookAtFiles();
    };
    RowSource rows({directory.File("params.csv"), ranges_, command_.columns, seed_columns_,
                    definition_.seed, timeout_column_, group_column_, std::move(order_.offsets),
                    GoesInSpans(),
                    // Users' programs may speak JSON: their workers convert.
                    options_.function.empty() ? std::vector<ColumnType>() : definition_.types});
    const auto write_journal = [&](RecordWriter::Callbacks callbacks) {
      return std::make_unique<JournalWriter>(std::move(journal), std::move(callbacks));
    };
    Workforce workforce(pools);
    MasterLoop loop(
        std::move(loop_options),
        Core(CoreOptionsOf(directory, epoch, definition_.tasks() - done), std::move(recovered)),
        std::move(transport), rows, workforce, write_journal, observer_);
    directory.Keep();
    observer_.Started(plan_.workers, plan_.slots);
    const double start = Seconds();
    const MasterLoop::End end = loop.Run();
    LookAtFiles();

    RunSummary summary = Summary(directory);
    const auto& counts = loop.counts();
    std::copy(counts.outcomes.begin(), counts.outcomes.end(), summary.outcomes.begin());
    summary.status = end.status;
    summary.reason = end.reason;
    if (loop.first_result().count() > 0) {
      summary.first_result_seconds =
          start + std::chrono::duration<double>(loop.first_result()).count();
    }
    if (summary.status == 0 && summary.outcomes[0] != summary.tasks) summary.status = 1;
    Export(directory, summary);
    loop.Close();
    unlink(directory.File("owner.json").c_str());
    if (summary.status <= 1) keys.Remove();
    summary.seconds = Seconds();
    return summary;
  }

  // The signals of the run itself are over; another one ends the export, and not the master, whose
  // jobs may still be leaving their scheduler's queue.
  void ForgetSignals() const {
    signalfd_siginfo info{};
    while (options_.signal_fd >= 0 && read(options_.signal_fd, &info, sizeof info) == sizeof info) {
    }
  }
  void StopIfSignalled() const {
    pollfd signalled{options_.signal_fd, POLLIN, 0};
    if (options_.signal_fd < 0 || poll(&signalled, 1, 0) != 1) return;
    throw Error("interrupted while the results were written: 'cq export' writes them");
  }

  // What waits for a reader (a pipe, a terminal) may wait for ever: there a signal ends all.
  void AllowSignals() const {
    struct stat status {};
    const bool file = definition_.output != "-" &&
                      (stat(definition_.output.c_str(), &status) != 0 || S_ISREG(status.st_mode));
    if (file || options_.signal_fd < 0) return;
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGXCPU}) sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
  }

  void Export(const RunDirectory& directory, RunSummary& summary) {
    RunProgress progress;
    progress.phase = RunProgress::Phase::kExporting;
    progress.tasks = definition_.rows;
    ForgetSignals();
    AllowSignals();
    try {
      Database journal(directory.File("journal.db"), Database::Mode::kRead);
      ExportResults(std::move(journal), directory.path(), definition_.output, [&](uint64_t rows) {
        StopIfSignalled();
        progress.done = rows;
        progress.seconds = Seconds();
        observer_.Progress(progress);
      });
    } catch (const Error& error) {
      summary.reason = summary.reason.empty() ? error.what()
                                              : fmt::format("{}; {}", summary.reason, error.what());
      summary.status = 3;
    }
  }

  const RunOptions& options_;
  RunObserver& observer_;
  const Clock::time_point begin_ = Clock::now();
  const PoolOptions plan_;
  Pool pool_;
  RunDefinition definition_;
  std::vector<RowRange> ranges_;
  CompiledCommand command_;
  std::vector<size_t> seed_columns_;
  std::optional<size_t> timeout_column_;
  std::optional<size_t> cost_column_;
  std::optional<size_t> group_column_;
  TaskOrder order_;
  std::string address_;
  /// From the run's start on.
  std::optional<FileWatch> files_;
};

}  // namespace

RunSummary Run(const RunOptions& options, RunObserver& observer) {
  CheckOptions(options);
  return Setup(options, observer).Run();
}

std::string DryRun(const RunOptions& options) {
  CheckOptions(options);
  const bool served = !options.program.empty() || !options.function.empty();
  const auto summary = ReadInput({.path = options.input,
                                  .separator = options.separator,
                                  .checks = ChecksOf(options),
                                  .find_types = served});
  const CompiledCommand command =
      CompileCommand(options.command, summary.columns, options.constants, options.shell);
  ColumnIndices(options.seed_by, "--seed-by", summary.columns);
  const std::string cwd = TasksDirectory(options);
  CheckOutput(options);
  const PoolOptions plan = PlanPool(options);
  const Pool checked(plan);

  const uint64_t tasks = options.limit == 0 ? summary.rows : std::min(options.limit, summary.rows);
  std::string text = fmt::format(
      "input: {} rows, columns {}\ntasks: {}\n{} worker{} × {} slot{} = {} tasks at a time\n"
      "directory of tasks: {}\nrun directory: {}\nworkers that could connect at once: {}\n",
      summary.rows, Joined(summary.columns, ", "), tasks, plan.workers,
      plan.workers == 1 ? "" : "s", plan.slots, plan.slots == 1 ? "" : "s",
      plan.workers * plan.slots, cwd, plan.run_dir,
      (DescriptorLimit() - std::min(DescriptorLimit(), kOwnDescriptors)) / kDescriptorsOfWorker);
  if (served) {
    text += "types:";
    const auto types = ColumnTypes(options, summary);
    for (size_t i = 0; i < types.size(); ++i) {
      text += fmt::format("{} {} {}", i == 0 ? "" : ",", summary.columns[i], NameOf(types[i]));
    }
    text += fmt::format("\nprogram: {}{}\n", Joined(options.program, " "), options.function);
  }
  for (size_t i = 0; !served && i < summary.first.size() && i < tasks; ++i) {
    std::vector<std::string> values;
    for (const size_t column : command.columns) values.push_back(summary.first[i].fields[column]);
    const auto rendered = RenderCommand(command.arguments, values, i + 1);
    text += fmt::format("task {}:", i + 1);
    if (const auto* problem = std::get_if<std::string>(&rendered)) {
      text += fmt::format(" error: {}\n", *problem);
      continue;
    }
    for (const std::string& argument : std::get<std::vector<std::string>>(rendered)) {
      text += " " + ShellQuote(argument);
    }
    text += "\n";
  }
  const std::string script = Pool::Script(plan);
  if (!script.empty()) text += "submission script:\n" + script;
  return text;
}

}  // namespace cq
