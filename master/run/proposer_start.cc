#include "master/run/proposer_start.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/files.h"
#include "cq/error.h"
#include "master/journal/endings_table.h"
#include "master/proposer/proposer_process.h"
#include "protocol/own_program.h"

extern char** environ;

namespace cq {
namespace {

/// So many endings are read at a time: their rows in the order of the input.
constexpr size_t kAtOnce = 10'000;

using Ending = EndingsCursor::Ending;

// Later ones count.
std::vector<std::string> EnvironmentOf(const ProposerProgram& program) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  for (const auto& [name, value] : program.env) variables[name] = value;
  variables["CQ_RUN_DIR"] = program.run_dir;
  // It is none of their slots, if this run is a task of another.
  for (const char* name : {"CQ_SLOT_IN", "CQ_SLOT_OUT", "CQ_SLOT_MARK"}) variables.erase(name);
  std::vector<std::string> environment;
  environment.reserve(variables.size());
  for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
  AddHelpers(environment);
  return environment;
}

std::string PathOf(const std::vector<std::string>& environment) {
  const auto found = std::find_if(environment.begin(), environment.end(),
                                  [](const auto& entry) { return entry.starts_with("PATH="); });
  return found == environment.end() ? OwnPath() : found->substr(5);
}

void AppendEndings(std::deque<Telling>& replay, std::vector<Ending>& endings, TaskSource& rows,
                   const RowForm& form) {
  std::vector<Ending*> by_task;
  by_task.reserve(endings.size());
  for (Ending& ending : endings) by_task.push_back(&ending);
  std::sort(by_task.begin(), by_task.end(),
            [](const Ending* a, const Ending* b) { return a->task < b->task; });
  for (Ending* ending : by_task) {
    if (!ending->fields) ending->fields = rows.Fields(ending->task);
  }
  for (const Ending& ending : endings) {
    // What it answered is kept up to some of them.
    if (!replay.empty() && replay.back().known != ending.answered) replay.emplace_back();
    Telling& telling = RoomIn(replay);
    telling.known = ending.answered;
    telling.last = ending.task;
    ++telling.count;
    AppendEnding(telling.endings, ending.task, ending.outcome, *ending.fields, ending.returned,
                 form);
  }
  endings.clear();
}

}  // namespace

Asker::Kind ProposerOf(const RunOptions& options) {
  // Whoever tries some rows alone wants no others.
  if (!options.numbers.empty()) return Asker::Kind::kNone;
  if (options.propose) return Asker::Kind::kIsTold;
  return options.ask.empty() ? Asker::Kind::kNone : Asker::Kind::kIsAsked;
}

std::unique_ptr<Proposer> StartProposer(const ProposerProgram& program, const RowForm& form,
                                        RunObserver& observer) {
  ProposerProcess::Options options;
  options.words = program.words;
  if (!program.function.empty()) {
    options.words = OwnCommand();
    options.words.insert(options.words.end(), {"slot", program.function});
  }
  options.environment = EnvironmentOf(program);
  options.directory = program.cwd;
  options.file = FindProgram(options.words.at(0), PathOf(options.environment), program.cwd);
  if (options.file.empty()) {
    throw UsageError(fmt::format("the proposer '{}' is not found in PATH", options.words.at(0)));
  }
  options.standard_streams = program.start.kind == Asker::Kind::kIsAsked;
  options.log = program.log;
  options.form = form;
  options.start = program.start;
  options.hurry_fd = program.interrupt_fd;
  options.note = [&observer](const std::string& text) { observer.Note(text); };
  return std::make_unique<ProposerProcess>(std::move(options));
}

std::deque<Telling> Replay(Database& journal, const TaskSet& closed, const ReplayedRun& run,
                           TaskSource& rows) {
  const bool asks = run.kind == Asker::Kind::kIsAsked;
  std::deque<Telling> replay;
  EndingsCursor cursor(journal, asks);
  std::vector<Ending> endings;
  Ending ending;
  while (cursor.Next(ending)) {
    endings.push_back(std::move(ending));
    if (endings.size() == kAtOnce) AppendEndings(replay, endings, rows, run.form);
  }
  AppendEndings(replay, endings, rows, run.form);
  for (TaskId task = 1; asks && task <= run.last; ++task) {
    if (closed.Contains(task)) continue;
    if (replay.empty() || replay.back().count > 0) replay.emplace_back();
    AppendRow(RoomIn(replay).waiting, task, rows.Fields(task), run.form);
  }
  return replay;
}

}  // namespace cq
