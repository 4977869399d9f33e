#include "cq/run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cq/error.h"
#include "master/cpus.h"
#include "master/export.h"
#include "master/master_loop.h"
#include "master/run_definition.h"
#include "master/run_directory.h"
#include "protocol/command.h"
#include "protocol/connection_file.h"
#include "protocol/files.h"
#include "protocol/limits.h"

namespace cq {
namespace {

using Clock = std::chrono::steady_clock;

uint64_t Random64() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) {
    throw Error("the system gives no random numbers");
  }
  return number == 0 ? 1 : number;
}

// What is wrong with the options alone, before anything is read.
void CheckOptions(const RunOptions& options) {
  if (options.command.empty()) {
    throw UsageError("no command: cq run PARAMS.csv [options] -- COMMAND [ARG ...]");
  }
  if (options.command[0].empty()) throw UsageError("the command is empty");
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
  const std::string& output = options.output;
  struct stat status {};
  if (output == "-") return;
  struct stat input {};
  if (stat(options.input.c_str(), &input) == 0 && stat(output.c_str(), &status) == 0 &&
      S_ISREG(status.st_mode) && input.st_dev == status.st_dev && input.st_ino == status.st_ino) {
    throw UsageError(
        fmt::format("the results would replace the input '{}': choose another --output", output));
  }
  const std::filesystem::path path = AbsolutePath(output);
  if (path.parent_path() == RunDirectoryPath(options) && path.filename() != "results.csv") {
    throw UsageError(fmt::format(
        "'{}' is in the run directory, whose files are cq's own: choose another --output", output));
  }
  if (stat(output.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    if (S_ISDIR(status.st_mode)) {
      throw UsageError(fmt::format("cannot write the results to '{}': it is a directory", output));
    }
    return;
  }
  const std::string folder = std::filesystem::path(AbsolutePath(output)).parent_path().string();
  if (stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    throw UsageError(
        fmt::format("cannot write the results to '{}': there is no folder '{}'", output, folder));
  }
  if (access(folder.c_str(), W_OK) != 0) {
    throw UsageError(fmt::format("cannot write the results to '{}': {}", output, strerror(errno)));
  }
}

PoolOptions PlanPool(const RunOptions& options) {
  PoolOptions pool;
  pool.scheduler = options.scheduler;
  // --slots N alone, or nothing, is one worker with so many slots; --workers N alone is N of one
  // slot.
  const unsigned slots = options.workers || options.scheduler != "local" ? 1 : UsableCpus();
  pool.workers = options.workers.value_or(1);
  pool.slots = options.slots.value_or(slots);
  pool.program = options.worker_program.empty() ? OwnExecutable() : options.worker_program;
  pool.run_dir = RunDirectoryPath(options);
  pool.worker_init = options.worker_init;
  pool.template_file = options.template_file;
  pool.template_values = options.template_values;
  return pool;
}

std::vector<size_t> ColumnIndices(const std::vector<std::string>& names,
                                  const std::vector<std::string>& columns) {
  std::vector<size_t> indices;
  for (const std::string& name : names) {
    const auto found = std::find(columns.begin(), columns.end(), name);
    if (found == columns.end()) {
      throw UsageError(fmt::format("--seed-by: there is no column '{}'; the columns are: {}", name,
                                   fmt::join(columns, ", ")));
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

/// A run that is about to start, and what it needs.
class Setup {
 public:
  Setup(const RunOptions& options, RunObserver& observer)
      : options_(options), observer_(observer), plan_(PlanPool(options)), pool_(plan_) {}

  RunSummary Run() {
    if (!options_.output.empty()) CheckOutput(options_);
    const std::string cwd = TasksDirectory(options_);
    RunDirectory directory = RunDirectory::Make(plan_.run_dir, options_.fresh);
    Read(directory);
    Define(directory, cwd);
    CompileCommand();
    directory.Publish();
    if (definition_.rows == 0) return Nothing(directory);
    return Work(directory);
  }

 private:
  void Read(const RunDirectory& directory) {
    RunProgress progress;
    progress.phase = RunProgress::Phase::kReading;
    const auto report = [&](uint64_t rows, uint64_t) {
      progress.done = rows;
      progress.seconds = Seconds();
      observer_.Progress(progress);
    };
    const auto summary =
        ReadInput(options_.input, directory.File("params.csv"), report, options_.signal_fd);
    definition_.columns = summary.columns;
    definition_.rows = summary.rows;
  }

  void Define(const RunDirectory& directory, const std::string& cwd) {
    for (const auto& [name, value] : options_.constants) {
      const auto& columns = definition_.columns;
      if (std::find(columns.begin(), columns.end(), name) != columns.end()) {
        throw UsageError(fmt::format("--const {}: the input has a column of that name", name));
      }
    }
    definition_.run = Random64();
    definition_.command = options_.command;
    definition_.shell = options_.shell;
    definition_.constants = options_.constants;
    definition_.env = options_.env;
    definition_.cwd = cwd;
    definition_.parse_json = options_.parse_json;
    definition_.seed = options_.seed ? *options_.seed : Random64() >> 33;
    definition_.seed_by = options_.seed_by;
    definition_.limit = options_.limit;
    definition_.input = options_.input == "-" ? "-" : AbsolutePath(options_.input);
    definition_.output = options_.output.empty()  ? directory.path() + "/results.csv"
                         : options_.output == "-" ? "-"
                                                  : AbsolutePath(options_.output);
    definition_.stdout_column = options_.stdout_column;
    ranges_ = {{1, 1, definition_.rows}};
  }

  void CompileCommand() {
    command_ = cq::CompileCommand(options_.command, definition_.columns, definition_.constants,
                                  options_.shell);
    seed_columns_ = ColumnIndices(definition_.seed_by, definition_.columns);
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

  // A header without rows: an empty result.
  RunSummary Nothing(RunDirectory& directory) {
    CreateJournal(directory.File("journal.db"), definition_.ToMeta(), {});
    directory.Keep();
    ExportResults(directory.path(), definition_.output, [](uint64_t) {});
    return Summary(directory);
  }

  RunText Text(const RunDirectory& directory) const {
    RunText text;
    text.run = definition_.run;
    text.run_dir = directory.path();
    text.cwd = definition_.cwd;
    text.env = definition_.env;
    text.command = command_.arguments;
    text.parse = definition_.parse_json ? Parse::kJson : Parse::kNothing;
    text.cpus = CpusOfSlot();
    return text;
  }

  // What --set cpus=N gives a worker is shared by its slots; otherwise each has one.
  uint64_t CpusOfSlot() const {
    const auto set = options_.template_values.find("cpus");
    if (set == options_.template_values.end()) return 1;
    return std::max<uint64_t>(1, std::strtoull(set->second.c_str(), nullptr, 10) / plan_.slots);
  }

  RunSummary Work(RunDirectory& directory) {
    CoreOptions core_options;
    core_options.text = Text(directory);
    core_options.tasks = definition_.tasks();
    core_options.expected_slots = uint64_t{plan_.workers} * plan_.slots;

    // A connection each, and what a local worker's guardian takes.
    RequireDescriptors(128 + 4 * uint64_t{plan_.workers});
    const KeyPair server = MakeKeyPair();
    ConnectionFile connection;
    connection.run = definition_.run;
    connection.server_public = server.public_key;
    connection.client = MakeKeyPair();
    Transport transport(server, connection.client.public_key);
    using Reach = Transport::Reach;
    connection.endpoints = transport.Bind(options_.scheduler == "local"  ? Reach::kLoopback
                                          : pool_.ControllerAtLoopback() ? Reach::kLoopbackFirst
                                                                         : Reach::kAll);
    ReplaceFile(directory.File("server.key"), server.secret_key + "\n", 0600);
    WriteConnectionFile(directory.File("connect.json"), connection);
    directory.WriteOwner(connection.endpoints[0]);

    MasterLoop::Options loop_options;
    loop_options.workers = plan_.workers;
    loop_options.signal_fd = options_.signal_fd;
    loop_options.keep_alive = [&] { directory.WriteOwner(connection.endpoints[0]); };
    RowSource::Options rows{directory.File("params.csv"), ranges_, command_.columns, seed_columns_,
                            definition_.seed};
    Database journal = CreateJournal(directory.File("journal.db"), definition_.ToMeta(), ranges_);
    MasterLoop loop(std::move(loop_options), Core(std::move(core_options)), std::move(transport),
                    std::move(rows), pool_, std::move(journal), observer_);
    directory.Keep();
    observer_.Started(plan_.workers, plan_.slots);
    const double start = Seconds();
    const MasterLoop::End end = loop.Run();

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
    AllowInterruption();
    Export(directory, summary);
    loop.Close();
    unlink(directory.File("owner.json").c_str());
    summary.seconds = Seconds();
    return summary;
  }

  // Everything is in the journal: a signal may end the export as it ends any other program.
  void AllowInterruption() const {
    if (options_.signal_fd < 0) return;
    signalfd_siginfo info{};
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGXCPU}) sigaddset(&set, number);
    while (read(options_.signal_fd, &info, sizeof info) == sizeof info) {
    }
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
  }

  void Export(const RunDirectory& directory, RunSummary& summary) {
    RunProgress progress;
    progress.phase = RunProgress::Phase::kExporting;
    progress.tasks = definition_.rows;
    try {
      ExportResults(directory.path(), definition_.output, [&](uint64_t rows) {
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
};

}  // namespace

RunSummary Run(const RunOptions& options, RunObserver& observer) {
  CheckOptions(options);
  return Setup(options, observer).Run();
}

std::string DryRun(const RunOptions& options) {
  CheckOptions(options);
  const auto summary = ReadInput(
      options.input, {}, [](uint64_t, uint64_t) {}, -1);
  const CompiledCommand command =
      CompileCommand(options.command, summary.columns, options.constants, options.shell);
  ColumnIndices(options.seed_by, summary.columns);
  const std::string cwd = TasksDirectory(options);
  if (!options.output.empty()) CheckOutput(options);
  const PoolOptions plan = PlanPool(options);
  const Pool checked(plan);

  const uint64_t tasks = options.limit == 0 ? summary.rows : std::min(options.limit, summary.rows);
  std::string text = fmt::format(
      "input: {} rows, columns {}\ntasks: {}\n{} workers × {} slots = {} tasks at a time\n"
      "directory of tasks: {}\nrun directory: {}\n",
      summary.rows, fmt::join(summary.columns, ", "), tasks, plan.workers, plan.slots,
      plan.workers * plan.slots, cwd, plan.run_dir);
  for (size_t i = 0; i < summary.first.size() && i < tasks; ++i) {
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
