#pragma once

#include <string>
#include <utility>
#include <vector>

namespace cq {

/// A program that runs beside the master, in the surroundings of the run's tasks.
struct ProgramBeside {
  /// The first words of cq, which guards it: it ends with its master.
  std::vector<std::string> cq;
  std::vector<std::string> words;
  std::string run_dir;
  std::string cwd;
  std::vector<std::pair<std::string, std::string>> env;
};

/// NAME=VALUE: our own environment and the tasks', and where helpers are.
std::vector<std::string> EnvironmentOf(const ProgramBeside& program);
/// The file to execute. Throws UsageError that names it `what`.
std::string FileOf(const ProgramBeside& program, const std::vector<std::string>& environment,
                   const char* what);

}  // namespace cq
