#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cq/common_options.h"
#include "cq/halt.h"
#include "cq/run_observer.h"

namespace cq {

/// Workers of one kind. What is not said is as the run's own options have it.
struct RunPool {
  std::string name;
  std::string scheduler;
  std::optional<unsigned> workers;
  std::optional<unsigned> workers_least;
  /// None: one for each CPU, if their number is said, else 1.
  std::optional<unsigned> slots;
  /// What each worker has for its tasks, and is asked for where a scheduler starts it: CPUs, bytes,
  /// and named resources ("gpu", and those of a site). Zero `time`: nobody said how long it lives.
  std::optional<uint64_t> cpus;
  std::optional<uint64_t> memory_bytes;
  std::map<std::string, uint64_t> resources;
  std::chrono::milliseconds time{};
  std::optional<std::chrono::milliseconds> idle_timeout;
  std::optional<uint64_t> worker_tasks;
  std::string template_file;
  std::map<std::string, std::string> template_values;
  std::string worker_init;
};

/// What `cq run` does, for a C++ program: one process for each row of a CSV. The defaults are those
/// of the command line, where each option is described (`cq run --help`).
struct RunOptions : CommonOptions {
  /// The CSV; "-" is standard input.
  std::string input;
  /// What `input` was made from, if it is a stream that another has made from something: rows that
  /// change there are an edit, as those of a file are.
  std::string input_name;
  /// Program and arguments with placeholders; with `shell`, one text for /bin/sh.
  std::vector<std::string> command;
  bool shell = false;
  /// Instead of a command: the words of a program that is started once in each slot and answers
  /// many rows, or LIBRARY:NAME of a C++ function.
  std::vector<std::string> program;
  std::string function;
  /// The types of columns, by name, where they are not to be found out: string, integer, number,
  /// boolean.
  std::map<std::string, std::string> types;
  /// Where the result goes; empty: results.csv in the run directory. "-" is standard output.
  std::string output;
  /// Empty: NAME.cq in the current directory for NAME.csv.
  std::string run_dir;
  /// Go on with the run in an existing run directory: its command, constants, header and seed must
  /// be these; rows with a result are not run again. Otherwise such a directory is an error.
  bool resume = false;
  /// What stands between the fields of the input: one character, or "tab"; empty: a comma, or a tab
  /// for a .tsv.
  std::string separator;
  /// More files that results depend on, besides the program and arguments that name files.
  std::vector<std::string> depends;
  /// Kept in the journal as it is, for whoever calls Run with `resume` later.
  std::string record;

  /// As --scheduler of `cq run`.
  std::string scheduler = "local";
  /// Workers, and tasks at a time on each. See `cq run --help` for what they are when not given.
  std::optional<unsigned> workers;
  std::optional<unsigned> slots;
  /// Fewer workers than that as long as there is less work, but so many of them; none: always as
  /// many. And how long one without work stays then.
  std::optional<unsigned> workers_least;
  std::chrono::milliseconds idle_timeout = std::chrono::minutes(5);
  /// How long a job may run before its worker connects.
  std::chrono::milliseconds launch_timeout = std::chrono::minutes(10);
  /// After so many tasks a worker makes room for a fresh one; 0: it does not.
  uint64_t worker_tasks = 0;
  std::string template_file;
  std::map<std::string, std::string> template_values;
  std::string worker_init;
  /// Makes the run, or looks at the one that exists as a resume does, and starts nothing: a resume
  /// goes on with it.
  bool prepare_only = false;
  /// For the job that does so, as --set-master of `cq run`.
  std::map<std::string, std::string> master_values;
  /// More pools; the fields above are of the one named "default", which there is if `workers` is
  /// given, or no pool is named.
  std::vector<RunPool> pools;
  /// Of a run on a warm pool (`scheduler` is "pool:NAME"): larger ones get all they want first.
  int64_t priority = 0;

  std::map<std::string, std::string> constants;
  /// The tasks' directory; empty: the current one.
  std::string cwd;
  bool parse_json = false;
  /// Bytes of standard output in the column cq_stdout; 0: no such column.
  uint64_t stdout_column = 4096;
  std::vector<std::string> seed_by;
  /// Only the first so many rows; 0: all.
  uint64_t limit = 0;
  /// After so many tasks that did not end ok nothing more is started; none: no limit.
  std::optional<uint64_t> max_failures;
  /// Besides: when the run stops before its rows are through.
  std::optional<Halt> halt;
  /// Once there are so many tasks, rows that tasks push are kept, and not run; 0: no limit.
  uint64_t max_tasks = 0;
  /// A process beside the master names rows by the results so far: the same program or function
  /// library, which has a function for that; or this program, by its words, which is asked when few
  /// rows wait for a slot (`ask_ahead`; none: fewer than there are slots).
  bool propose = false;
  std::vector<std::string> ask;
  std::optional<uint64_t> ask_ahead;
  /// What tasks have printed is shown on standard output, in the order of the input; or each as it
  /// ends.
  bool keep_order = false;
  bool tail = false;
  /// A program, by its words, that reads a line of JSON for each row that is ok, in the order of
  /// the input or as they come, and makes one thing of them: `reduced` in the run directory.
  std::vector<std::string> reduce;
  bool reduce_unordered = false;
  /// It is shown on standard output, too.
  bool show_reduced = false;
  /// The task numbers of the rows; empty: 1, 2, … Of a run that is made.
  std::vector<uint64_t> numbers;
  /// Those of them that tasks had pushed: their seeds go by their values.
  std::set<uint64_t> pushed;
  /// Columns of integers that are told as wide, besides those in which one is found that is.
  std::vector<std::string> wide;
  /// The column of numbers by which rows are started, the largest first; empty: as they stand.
  std::string cost_column;
  /// Instead of it: the directory of an earlier run whose rows with the same values took so long.
  std::string costs_run;
  /// Instead of it: in a random order, which follows from the seed.
  bool shuffle = false;
  /// The least time between the starts of two tasks.
  std::chrono::milliseconds delay{};
  /// The column that tells which data set a task needs (`CQ_GROUP`).
  std::string group_column;
  /// A task that ended for want of memory, or of time, is tried again with so many times as much;
  /// 1: it is not.
  double escalate_memory = 1;
  double escalate_time = 1;
  /// The column that holds each task's own time limit.
  std::string task_timeout_column;
  /// Or a task may run so many percent of the median of the last ones; 0: no such limit.
  uint64_t task_timeout_percent = 0;
  /// What each task asks of its worker: a value, or a text with columns in it, as in
  /// "{gigabytes}G"; empty: nothing. Memory is a limit, too, and here only if it has a column
  /// (task_memory_bytes).
  std::string task_cpus;
  std::string task_memory;
  /// How long it is thought to take, as a duration.
  std::string task_time;
  /// The name of a pool.
  std::string task_pool;
  /// How much of each named resource.
  std::map<std::string, std::string> task_needs;
  /// The columns that say which tasks are alike: how long those take that ended is what others of
  /// their kind are thought to take.
  std::vector<std::string> kind;

  /// The program `cq`, started as the workers; empty: this program, whose `main` must begin with a
  /// cq::Runtime.
  std::string worker_program;
  /// At SIGHUP end a scheduler's workers, too; else they finish what they have, and wait for a
  /// resume for `on_master_loss`.
  bool stop_on_hangup = false;
  /// A signalfd with the signals that interrupt the run, or -1. The first SIGINT drains; the
  /// second, and any other, stop.
  int signal_fd = -1;
};

/// What became of the time of workers' slots, in seconds of one slot, since the run's master
/// started.
struct SlotTime {
  /// Tasks ran to their end, well or not; and the CPU time of that, as far as it was measured.
  double run = 0;
  double cpu = 0;
  /// Slots started and ended them.
  double overhead = 0;
  double idle = 0;
  /// Tasks ran and were lost with their workers.
  double lost = 0;
  /// The most memory that one had.
  uint64_t peak_memory_kb = 0;
};

/// How a run ended.
struct RunSummary {
  /// The exit status of `cq run`: 0 all ok, 1 some not, 3 could not go on, 130 interrupted.
  int status = 0;
  /// Why it ended before its tasks were through; empty: they were.
  std::string reason;
  /// It is as far as RunOptions::halt says, and a resume with that would run nothing.
  bool halted = false;
  uint64_t tasks = 0;
  /// ok, error, crashed, timeout, memory, cancelled, skipped.
  std::array<uint64_t, 7> outcomes{};
  std::string run_dir;
  std::string output;
  /// What the program of RunOptions::reduce has made; empty: nothing.
  std::string reduced;
  double seconds = 0;
  /// From the start of the run to its first result.
  double first_result_seconds = 0;
  uint64_t seed = 0;
  SlotTime slot_time;
};

/// Runs. Blocks until the end. Throws UsageError, before anything has started, for options or input
/// that cannot be used, and Error where the run could not be set up; whatever happens after that is
/// in the summary.
RunSummary Run(const RunOptions& options, RunObserver& observer);

/// What would run: the first argument lists, the counts, the filled template. Starts nothing and
/// writes nothing.
std::string DryRun(const RunOptions& options);

}  // namespace cq
