#include "master/run/proposer_start.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/files.h"
#include "cq/error.h"
#include "master/proposer/proposer_process.h"
#include "protocol/own_program.h"

extern char** environ;

namespace cq {
namespace {

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
  // It is nothing of another run's, if a task or a proposer of that has started this one.
  for (const char* name : {"CQ_SLOT_IN", "CQ_SLOT_OUT", "CQ_SLOT_MARK", "CQ_ASK_IN", "CQ_ASK_OUT"})
    variables.erase(name);
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
    options.words = program.cq;
    options.words.insert(options.words.end(), {"slot", program.function});
  }
  options.environment = EnvironmentOf(program);
  options.cq = program.cq;
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

}  // namespace cq
