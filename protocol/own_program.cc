#include "protocol/own_program.h"

#include <filesystem>

#include "base/files.h"
#include "cq/error.h"

namespace cq {
namespace {
// Written before `main` does anything else, and only read after.
OwnProgram own_program = OwnProgram::kOther;
}  // namespace

void DeclareOwnProgram(OwnProgram what) { own_program = what; }

std::vector<std::string> OwnCommand() {
  switch (own_program) {
    case OwnProgram::kCq:
      return {OwnExecutable()};
    case OwnProgram::kEmbedding:
      return {OwnExecutable(), kEmbeddedWord};
    case OwnProgram::kOther:
      break;
  }
  throw UsageError(
      "this program cannot be its own worker: 'cq::Runtime runtime(argc, argv);' must be the first "
      "line of main (or name the program cq: RunOptions::worker_program)");
}

std::vector<std::string> GuardedCommand(const std::vector<std::string>& cq, int life_fd,
                                        const std::string& file,
                                        const std::vector<std::string>& words) {
  std::vector<std::string> all = cq;
  all.insert(all.end(), {"slot", kGuardWord, std::to_string(life_fd), file});
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

std::string HelperDirectory() {
  const std::filesystem::path program = OwnExecutable();
  return (program.parent_path().parent_path() / "share" / "cq").string();
}

void AddHelpers(std::vector<std::string>& environment) {
  const std::string helpers = HelperDirectory();
  bool has_path = false;
  for (std::string& entry : environment) {
    if (!entry.starts_with("PYTHONPATH=")) continue;
    entry = "PYTHONPATH=" + helpers + ":" + entry.substr(11);
    has_path = true;
  }
  if (!has_path) environment.push_back("PYTHONPATH=" + helpers);
  environment.push_back("CQ_R=" + helpers + "/cq.R");
}

}  // namespace cq
