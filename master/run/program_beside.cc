#include "master/run/program_beside.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/files.h"
#include "cq/error.h"
#include "protocol/own_program.h"

extern char** environ;

namespace cq {

// Later ones count.
std::vector<std::string> EnvironmentOf(const ProgramBeside& program) {
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

std::string FileOf(const ProgramBeside& program, const std::vector<std::string>& environment,
                   const char* what) {
  const auto found = std::find_if(environment.begin(), environment.end(),
                                  [](const auto& entry) { return entry.starts_with("PATH="); });
  const std::string path = found == environment.end() ? OwnPath() : found->substr(5);
  std::string file = FindProgram(program.words.at(0), path, program.cwd);
  if (file.empty()) {
    throw UsageError(fmt::format("{} '{}' is not found in PATH", what, program.words[0]));
  }
  return file;
}

}  // namespace cq
