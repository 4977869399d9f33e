#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace cq {

/// For a command at the end of a run, when somebody waits for it.
inline constexpr std::chrono::seconds kHurriedLimit{5};

struct CommandOutput {
  /// Exit status; 128 + N if signal N ended it; 127 if it could not be started.
  int status = 0;
  std::string out;
  std::string err;
};

/// Runs a scheduler's command with `input` on its standard input, in the environment `environment`
/// (NAME=VALUE), and waits for it. A command that takes longer than `limit` is killed, and so is
/// one that takes longer than kHurriedLimit from when `hurry_fd` (if it is one) is readable.
/// `words[0]` is looked up in PATH.
CommandOutput RunSchedulerCommand(const std::vector<std::string>& words, const std::string& input,
                                  const std::vector<std::string>& environment,
                                  std::chrono::seconds limit, int hurry_fd);

/// This process's environment without what a batch system sets for a job of its own: a submission
/// from inside an allocation must not inherit that allocation's settings.
std::vector<std::string> SubmissionEnvironment();

/// The same without the defaults that sbatch would prefer to what this script says.
std::vector<std::string> WithoutOverruled(const std::vector<std::string>& environment,
                                          const std::string& script);

}  // namespace cq
