#include "cq/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>

#include "base/assert.h"
#include "base/text.h"
#include "cq/error.h"
#include "master/core/halts.h"
#include "master/input/columns.h"
#include "master/input/input.h"
#include "master/input/row_matching.h"
#include "master/input/row_requests.h"
#include "master/journal/endings_table.h"
#include "master/journal/journal.h"
#include "master/journal/journal_tables.h"
#include "master/journal/pushed_table.h"
#include "master/journal/tally.h"
#include "master/loop/replay.h"
#include "master/run/earlier_costs.h"
#include "master/run/late_rows.h"
#include "master/run/pool_plan.h"
#include "master/run/proposer_start.h"
#include "master/run/readers.h"
#include "master/run/run_ending.h"
#include "master/run/run_input.h"
#include "master/run/run_plan.h"
#include "master/run/run_session.h"
#include "protocol/column_types.h"
#include "protocol/command.h"
#include "protocol/limits.h"
#include "protocol/task_request.h"

namespace cq {
namespace {

/// What a span of rows takes: little against what a slot has at hand, much against a message.
constexpr std::chrono::milliseconds kSpanOfFunction{1};
/// As much as a slot gives its program at a time.
constexpr std::chrono::milliseconds kSpanOfProgram{50};

using Clock = std::chrono::steady_clock;

/// A run over the rows of a CSV.
class RowsRun {
 public:
  RowsRun(const RunOptions& options, RunObserver& observer)
      : options_(options),
        observer_(observer),
        plans_(PlanPools(options)),
        requests_(RequestsOf(options, plans_)),
        session_(options, plans_, observer),
        definition_(session_.definition()),
        proposer_kind_(ProposerOf(options)) {}

  RunSummary Run() {
    CheckOutputOf(options_);
    const std::string cwd = TasksDirectory(options_);
    session_.Exists() ? Resume(cwd) : Begin(cwd);
    if (options_.prepare_only) {
      session_.directory().Keep();
      return Summary();
    }
    if (proposer_) OrderEndings(*session_.journal(), ranges_, definition_.limit);
    Recovered recovered =
        Recover(*session_.journal(), ranges_, definition_.limit, options_.max_tasks);
    uint64_t done = 0;
    for (const uint64_t count : recovered.outcomes) done += count;
    last_ = LastTask(*session_.journal(), ranges_);
    tasks_ = last_ - (recovered.closed_count - done);
    if (done == tasks_ && !MayGrow()) return Nothing(recovered);
    if (const auto halted = HaltedBefore(recovered)) return Nothing(recovered, halted);
    return Work(std::move(recovered), done);
  }

 private:
  void Begin(const std::string& cwd) {
    session_.Make();
    const auto summary = Read(options_.input, File("params.csv"));
    definition_.columns = summary.columns;
    definition_.rows = summary.rows;
    if (served()) {
      definition_.types = ColumnTypes(options_, summary);
      definition_.wide = options_.wide;
      AddWide(summary);
    }
    Define(cwd);
    ranges_ = {{1, 1, definition_.rows}};
    if (!options_.numbers.empty()) {
      CQ_ASSERT(options_.numbers.size() == summary.rows, "{} numbers for {} rows",
                options_.numbers.size(), summary.rows);
      ranges_.clear();
      for (const TaskId task : options_.numbers) ranges_.push_back({ranges_.size() + 1, task, 1});
    }
    Order();
    StartProposer();
    session_.Publish({options_.depends, {}}, ranges_, options_.record);
  }

  // Where a file of the run is.
  std::string File(const char* name) { return session_.directory().File(name); }

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
                                      .look = LookOf(requests_, KindsOf(plans_)),
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

  bool served() const { return IsServed(options_); }

  std::vector<RowCheck> Checks() const { return ChecksOf(options_); }

  // Options that came with a resume and say something about rows that are not read anew.
  void CheckCopy(const std::string& copy) const {
    if (Checks().empty() && !requests_.vary()) return;
    ReadInput({.path = copy,
               .interrupt_fd = options_.signal_fd,
               .checks = Checks(),
               .look = LookOf(requests_, KindsOf(plans_))});
  }

  std::optional<size_t> ColumnOf(const std::string& name, const char* option) const {
    if (name.empty()) return std::nullopt;
    return ColumnIndex(name, option, definition_.columns);
  }

  // Everything but what makes the run that run.
  void Define(const std::string& cwd) {
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
      definition_.input = IdentityOf(options_);
    }
    definition_.output = options_.output.empty()  ? session_.directory().path() + "/results.csv"
                         : options_.output == "-" ? "-"
                                                  : AbsolutePath(options_.output);
    definition_.stdout_column = options_.stdout_column;
    command_ = CompileCommand(options_.command, definition_.columns, definition_.constants,
                              options_.shell);
    if (const auto reduce = Beside(options_.reduce); !reduce.words.empty()) {
      FileOf(reduce, EnvironmentOf(reduce), "--reduce");
    }
    seed_columns_ = ColumnIndices(definition_.seed_by, "--seed-by", definition_.columns);
    timeout_column_ = ColumnOf(options_.task_timeout_column, "--task-timeout");
    cost_column_ = ColumnOf(options_.cost_column, "--cost");
    group_column_ = ColumnOf(options_.group_column, "--group");
    if (!served() && command_.columns.empty()) WarnOfNoHeader(definition_.columns, observer_);
    // A program sees the whole row, and so does a proposer.
    const bool proposes = proposer_kind_ != Asker::Kind::kNone;
    for (size_t i = 0; (served() || proposes) && i < definition_.columns.size(); ++i) {
      const auto& used = command_.columns;
      if (std::find(used.begin(), used.end(), i) == used.end()) command_.columns.push_back(i);
    }
    RequireSendable();
  }

  // What no worker would take.
  void RequireSendable() const {
    if (served() && definition_.columns.size() > kNamesMax) {
      throw UsageError(
          fmt::format("the input has {} columns; a program or function can be given {}",
                      definition_.columns.size(), kNamesMax));
    }
    if (command_.arguments.size() > kHeldMax) {
      throw UsageError(fmt::format("the command has {} words; it may have {}",
                                   command_.arguments.size(), kHeldMax));
    }
    session_.RequireSendable(Text(0));
  }

  // A run that goes on does so in any order.
  std::optional<EarlierCosts> CostsOfEarlierRun() const {
    if (options_.costs_run.empty()) return std::nullopt;
    try {
      return EarlierCosts(options_.costs_run, definition_.columns);
    } catch (const UsageError& error) {
      if (session_.epoch() == 1) throw;
      observer_.Warning(fmt::format("{}: rows start as they stand", error.what()));
      return std::nullopt;
    }
  }

  void TellKnown(uint64_t known) const {
    if (known == 0 && session_.epoch() == 1) {
      throw UsageError(
          fmt::format("--costs {}: none of the rows is in that run", options_.costs_run));
    }
    observer_.Resumed(fmt::format("how long {} of {} rows take is known from {}", known,
                                  definition_.tasks(), options_.costs_run));
  }

  void Order() {
    const bool vary = requests_.vary();
    auto costs = CostsOfEarlierRun();
    if (cost_column_ || group_column_ || vary || costs || options_.shuffle) {
      const std::string copy = File("params.csv");
      OrderOptions order = {
          cost_column_, {}, group_column_, vary ? requests_ : RequestTexts(), KindsOf(plans_)};
      if (costs) order.cost_of = [&](const auto& fields) { return costs->Of(fields); };
      std::mt19937_64 any(definition_.seed);
      if (options_.shuffle) order.cost_of = [&](const auto&) { return static_cast<double>(any()); };
      order_ = OrderTasks(copy, options_.input.empty() ? copy : options_.input, ranges_, order);
      if (costs) TellKnown(costs->known());
    }
    if (!vary) order_.requests.classes = {ConstantRequest(requests_, plans_)};
  }

  // ---- going on with a run ----

  void Resume(const std::string& cwd) {
    if (!options_.resume) RequireFree(plans_[0].run_dir, false);
    session_.Open();
    FinishReplacement();
    CheckSame();
    Restart restart;
    CompareInput(restart);
    Define(cwd);
    if (!options_.record.empty()) restart.meta["record"] = options_.record;
    if (requests_.vary() && !options_.rerun) {
      RequireHomes(*session_.journal(), RequestOfLateRow(), KindsOf(plans_));
    }
    if (proposer_kind_ != Asker::Kind::kNone && !options_.rerun) {
      RequireRowsTold(*session_.journal(), restart.removed);
      const bool again = options_.failed || restart.ranges;
      if (ProposerIsDone(*session_.journal()) && !again) proposer_kind_ = Asker::Kind::kNone;
    }
    StartProposer();
    restart.meta[kHalted] = "0";
    restart.meta[kProblem] = "\"\"";
    if (options_.failed) RequireMoreToRun();
    // To look for them among all results takes a while.
    const bool cancelled = MetaText(*session_.journal(), "cancelled") == "true";
    if (cancelled) restart.meta["cancelled"] = "false";
    session_.Continue({options_.depends, {}}, std::move(restart),
                      cancelled ? Restart::Rerun::kCancelled : Restart::Rerun::kNothing);
    FinishReplacement();
    ranges_ = ReadRanges(*session_.journal());
    Order();
  }

  // What failed would lose its outcome, and nothing would run.
  void RequireMoreToRun() {
    const Tally tally = TallyOf(*session_.journal(), definition_);
    Counts counts;
    counts.tasks = tally.tasks;
    counts.outcomes[0] = tally.outcomes[0];
    const auto halt = FindHalt(HaltsOf(options_), counts, 0);
    if (!halt) return;
    throw UsageError(fmt::format("--failed: {}: nothing more is run; to go on, add --halt never",
                                 TextOf(*halt, counts, 0)));
  }

  // The command, the constants and the seed make the run that run.
  void CheckSame() const {
    if (definition_.calls)
      session_.Refuse("its tasks are calls of a program that embeds its master");
    const auto tasks = [](const auto& run) {
      return !run.program.empty()    ? fmt::format("--program {}", Joined(run.program, " "))
             : !run.function.empty() ? fmt::format("--function {}", run.function)
                                     : Joined(run.command, " ");
    };
    if (options_.command != definition_.command || options_.shell != definition_.shell ||
        options_.program != definition_.program || options_.function != definition_.function) {
      session_.Refuse(
          fmt::format("its command is '{}', not '{}'", tasks(definition_), tasks(options_)));
    }
    session_.RequireSame(options_.constants);
    RequireSameTypes();
    if (options_.seed_by != definition_.seed_by) session_.Refuse("its --seed-by is another");
  }

  // Results of rows that were other things before are not to be compared.
  void RequireSameTypes() const {
    for (const auto& [name, type] : options_.types) {
      const auto& columns = definition_.columns;
      const auto found = std::find(columns.begin(), columns.end(), name);
      const auto place = static_cast<size_t>(found - columns.begin());
      if (place >= definition_.types.size()) continue;
      const std::string was = NameOf(definition_.types[place]);
      if (was == type) continue;
      session_.Refuse(fmt::format("its column '{}' is {}, not {}", name, was, type));
    }
  }

  // An edited input takes the place of the copy once the journal knows its ranges; a master may
  // have died between the two.
  void FinishReplacement() {
    Database& journal = *session_.journal();
    if (MetaText(journal, "copy_pending").empty()) return;
    rename(File("params.csv.next").c_str(), File("params.csv").c_str());
    journal.Execute("DELETE FROM meta WHERE name = 'copy_pending'");
  }

  void CompareInput(Restart& restart) {
    const std::string copy = File("params.csv");
    if (access(copy.c_str(), F_OK) != 0) {
      throw Error(
          fmt::format("'{}' is missing, the copy of the rows that the results belong to: put it "
                      "back (it is the "
                      "input as it was when the run last started), or start anew with --fresh",
                      copy));
    }
    const std::string& input = options_.input;
    ranges_ = ReadRanges(*session_.journal());
    if (input.empty()) {
      observer_.Resumed("the rows are those of the copy in the run directory");
      CheckCopy(copy);
      return;
    }
    const bool stream = IsStream(input);
    if (!stream && access(input.c_str(), F_OK) != 0) {
      if (AbsolutePath(input) != definition_.input)
        RequireSameInput({definition_.input, plans_[0].run_dir}, options_, {}, false);
      observer_.Resumed(
          fmt::format("'{}' is gone: the rows are those of the copy in the run directory", input));
      CheckCopy(copy);
      return;
    }
    const bool same = !stream && SameBytes(input, copy);
    if (!stream) RequireSameInput({definition_.input, plans_[0].run_dir}, options_, copy, same);
    if (same) {
      CheckCopy(copy);
      return;
    }
    const std::string edited = File("params.csv.new");
    struct Remove {
      const std::string& path;
      ~Remove() { unlink(path.c_str()); }
    } remove{edited};
    const auto summary = Read(input, edited);
    if (stream)
      RequireSameInput({definition_.input, plans_[0].run_dir}, options_, copy,
                       SameBytes(edited, copy));
    if (stream && options_.input_name.empty()) {
      CheckCopy(copy);
      return;
    }
    if (summary.columns != definition_.columns) {
      throw UsageError(fmt::format(
          "the columns of '{}' are {}; those of the run in '{}' are {}: --fresh moves it aside and "
          "starts anew, --run-dir DIR puts this run elsewhere",
          input, Joined(summary.columns, ", "), plans_[0].run_dir,
          Joined(definition_.columns, ", ")));
    }
    if (served()) CheckTypes(ColumnTypes(options_, summary));
    const TaskId last = LastTask(*session_.journal(), ranges_);
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
    if (rename(edited.c_str(), File("params.csv.next").c_str()) != 0) {
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

  double Seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  RunSummary Summary() {
    RunSummary summary;
    summary.tasks = tasks_.value_or(definition_.tasks());
    summary.run_dir = session_.directory().path();
    summary.output = definition_.output;
    summary.seed = definition_.seed;
    return summary;
  }

  // They wait, though the run has come to its end.
  void CountBeyond(uint64_t beyond, RunSummary& summary) const {
    if (beyond == 0) return;
    summary.tasks += beyond;
    summary.reason = fmt::format(
        "{} rows that tasks have pushed are beyond --max-tasks {}: a larger one runs "
        "them",
        beyond, options_.max_tasks);
  }

  // It is as far as it was to come: nothing would be started.
  std::optional<Halt> HaltedBefore(const Recovered& recovered) const {
    return FindHalt(HaltsOf(options_), CountsOf(recovered), 0);
  }

  Counts CountsOf(const Recovered& recovered) const {
    Counts counts;
    counts.tasks = *tasks_;
    counts.outcomes = recovered.outcomes;
    return counts;
  }

  // Nothing is left to run: a header without rows, or a run that has finished.
  RunSummary Nothing(const Recovered& recovered, const std::optional<Halt>& halted = {}) {
    session_.directory().Keep();
    session_.CancelLeft(true);
    RunSummary summary = Summary();
    summary.outcomes = recovered.outcomes;
    CountBeyond(recovered.pushed_beyond, summary);
    Readers readers(options_, definition_, Beside(options_.reduce), *session_.journal(), false,
                    observer_);
    if (halted) {
      summary.reason = TextOf(*halted, CountsOf(recovered), 0);
      JournalTables(*session_.journal()).Commit({HaltedRecord{halted->of}});
    }
    Judge(summary, halted);
    session_.journal().reset();
    Export(Ending(), definition_.rows, summary);
    FinishReaders(readers, Ending(), summary);
    summary.seconds = Seconds();
    return summary;
  }

  RunText Text(uint64_t tasks) const {
    RunText text;
    text.command = command_.arguments;
    text.parse = definition_.parse_json ? Parse::kJson : Parse::kNothing;
    text.cpus = CpusOfSlot();
    const bool escalates = options_.escalate_memory > 1 || options_.escalate_time > 1;
    if (!requests_.empty() || plans_[0].named || escalates) {
      text.extras.emplace_back(kRequests, requests_.vary() || escalates);
    }
    if (requests_.needs.contains("gpu")) text.extras.emplace_back(kGpusAsked, true);
    if (!requests_.vary()) PutRequest(text.extras, ConstantRequest(requests_, plans_));
    text.tasks = tasks;
    if (proposer_kind_ != Asker::Kind::kNone) {
      // There may be more at any moment.
      for (const PoolOptions& plan : plans_) text.tasks += uint64_t{plan.workers} * plan.slots;
    }
    if (options_.propose || std::getenv(kProposesVariable) != nullptr) {
      text.env.emplace_back(kProposesVariable, options_.propose ? "1" : "");
    }
    if (!served()) return text;
    text.program = {options_.program,
                    FunctionPath(),
                    false,
                    definition_.columns,
                    definition_.types,
                    {definition_.constants.begin(), definition_.constants.end()}};
    SetWideColumns(text, definition_.wide);
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
    const bool bounded = std::any_of(plans_.begin(), plans_.end(), [](const PoolOptions& plan) {
      return plan.capacity.memory_of_task > 0;
    });
    // A proposer hears of each by itself.
    return served() && proposer_kind_ == Asker::Kind::kNone && options_.task_timeout.count() == 0 &&
           !timeout_column_ && options_.task_timeout_percent == 0 &&
           options_.task_memory_bytes == 0 && requests_.empty() && !bounded;
  }

  // What --set cpus=N gives a worker is shared by its slots; otherwise each has one.
  uint64_t CpusOfSlot() const {
    // What a slot of each pool has its workers know.
    if (plans_[0].named) return 1;
    const auto set = options_.template_values.find("cpus");
    if (set == options_.template_values.end()) return 1;
    return std::max<uint64_t>(1, std::strtoull(set->second.c_str(), nullptr, 10) / plans_[0].slots);
  }

  CoreOptions Core(uint64_t tasks) const {
    CoreOptions core;
    core.text = Text(tasks);
    core.tasks = last_;
    core.form = Form();
    // Whoever tries some rows alone wants no others.
    core.keeps_pushed = !options_.numbers.empty();
    core.max_tasks = options_.max_tasks;
    core.halts = HaltsOf(options_);
    core.timeout_percent = options_.task_timeout_percent;
    core.delay = options_.delay;
    core.proposer = proposer_kind_;
    core.ask_ahead = options_.ask_ahead;
    core.order = order_.start;
    core.requests = order_.requests;
    core.requests.vary = requests_.vary();
    core.escalation = {options_.escalate_memory, options_.escalate_time};
    if (GoesInSpans())
      core.span_time = options_.function.empty() ? kSpanOfProgram : kSpanOfFunction;
    return core;
  }

  RequestOfRow RequestOfLateRow() const {
    return requests_.vary() ? RequestOf(requests_, definition_.columns) : nullptr;
  }

  // ---- what names its rows ----

  RowForm Form() const { return {definition_.columns, definition_.types, {}}; }

  ReplayedRun Whole() const { return {last_, proposer_kind_, Form()}; }

  ProgramBeside Beside(const std::vector<std::string>& words) {
    return {plans_[0].program, words, session_.directory().path(), definition_.cwd,
            definition_.env};
  }

  // Before anything of the run is written: it may refuse.
  void StartProposer() {
    if (proposer_kind_ == Asker::Kind::kNone || options_.prepare_only) return;
    ProposerProgram program;
    static_cast<ProgramBeside&>(program) =
        Beside(options_.propose ? options_.program : options_.ask);
    program.function = options_.propose ? FunctionPath() : "";
    program.log = File("proposer.log");
    program.interrupt_fd = options_.signal_fd;
    program.start = {proposer_kind_,
                     {definition_.constants.begin(), definition_.constants.end()},
                     definition_.seed};
    proposer_ = cq::StartProposer(std::move(program), Form(), observer_);
  }

  // Whether rows may come though none is left.
  bool MayGrow() {
    if (!proposer_) return false;
    if (proposer_kind_ == Asker::Kind::kIsTold) return !HasAnsweredAll(*session_.journal());
    return options_.max_tasks == 0 || *tasks_ < options_.max_tasks;
  }

  RunSummary Work(Recovered recovered, uint64_t done) {
    session_.CancelLeft(false);
    MasterLoop::Options loop_options;
    loop_options.signal_fd = options_.signal_fd;
    loop_options.stop_on_hangup = options_.stop_on_hangup;
    rows_ = std::make_unique<RowSource>(RowSource::Options{
        File("params.csv"), ranges_, command_.columns, seed_columns_, definition_.seed,
        timeout_column_, group_column_, std::move(order_.offsets), GoesInSpans(),
        // Users' programs may speak JSON: their workers convert.
        options_.function.empty() ? std::vector<ColumnType>() : definition_.types,
        RequestOfLateRow(), options_.pushed});
    for (AddedRow& row : recovered.pushed) rows_->Add(row);
    if (proposer_) {
      loop_options.proposer.replay = Replay(*session_.journal(), recovered.closed, Whole(), *rows_);
      loop_options.proposer.proposer = std::move(proposer_);
    }
    // Before anything is added.
    Readers readers(options_, definition_, Beside(options_.reduce), *session_.journal(), true,
                    observer_);
    loop_options.committed = [&](const Committed& committed) { readers.OnCommitted(committed); };
    const auto write_journal = [](std::optional<Database>& journal,
                                  RecordWriter::Callbacks callbacks) {
      return std::make_unique<JournalWriter>(std::move(*journal), std::move(callbacks));
    };
    MasterLoop& loop = session_.Start(Core(*tasks_ - done), std::move(loop_options),
                                      std::move(recovered), *rows_, write_journal);
    if (done > 0 || session_.epoch() > 1) {
      observer_.Resumed(fmt::format("{} of {} tasks have a result already", done, *tasks_));
    }
    TellPlans(plans_, requests_, session_.directory().path(), observer_);
    const double start = Seconds();
    const MasterLoop::End end = loop.Run();
    session_.LookAtFiles();

    RunSummary summary = Summary();
    const auto& counts = loop.counts();
    summary.tasks = counts.tasks;
    CountBeyond(counts.beyond, summary);
    std::copy(counts.outcomes.begin(), counts.outcomes.end(), summary.outcomes.begin());
    summary.status = end.status;
    if (summary.reason.empty() || end.status != 0) summary.reason = end.reason;
    summary.slot_time = SlotTimeOf(loop.ledger());
    if (loop.first_result().count() > 0) {
      summary.first_result_seconds =
          start + std::chrono::duration<double>(loop.first_result()).count();
    }
    if (summary.status == 0) Judge(summary, end.halted);
    Export(Ending(), definition_.rows, summary);
    FinishReaders(readers, Ending(), summary);
    loop.Close();
    session_.Close(summary.status > 1);
    summary.seconds = Seconds();
    return summary;
  }

  RunEnding Ending() { return {options_, session_.directory(), observer_, begin_}; }

  const RunOptions& options_;
  RunObserver& observer_;
  const Clock::time_point begin_ = Clock::now();
  const std::vector<PoolOptions> plans_;
  const RequestTexts requests_;
  /// The session's loop reads them.
  std::unique_ptr<RowSource> rows_;
  RunSession session_;
  RunDefinition& definition_;
  std::vector<RowRange> ranges_;
  CompiledCommand command_;
  std::vector<size_t> seed_columns_;
  std::optional<size_t> timeout_column_;
  std::optional<size_t> cost_column_;
  std::optional<size_t> group_column_;
  TaskOrder order_;
  /// The highest number that a task has had, and how many there are to be run in all: known once
  /// the journal is open.
  TaskId last_ = 0;
  std::optional<uint64_t> tasks_;
  Asker::Kind proposer_kind_;
  std::unique_ptr<Proposer> proposer_;
};

}  // namespace

RunSummary Run(const RunOptions& options, RunObserver& observer) {
  CheckOptions(options);
  return RowsRun(options, observer).Run();
}

}  // namespace cq
