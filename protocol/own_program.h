#pragma once

#include <string>
#include <vector>

// What workers are started with: `cq`, or a program that embeds a master and can be its own worker.
namespace cq {

/// The first argument of a program that embeds a master, where it is to be a worker or a slot. What
/// follows is as on the command line of `cq`.
inline constexpr const char* kEmbeddedWord = "--cq";

/// What stands behind `slot` where another program is guarded (GuardProgram).
inline constexpr const char* kGuardWord = "--guard";

enum class OwnProgram {
  /// Started anew it would run its own `main`.
  kOther,
  kCq,
  /// Its `main` begins with a cq::Runtime.
  kEmbedding,
};

/// What this process is. Set once, at the beginning of `main`.
void DeclareOwnProgram(OwnProgram what);

/// The first words of a command that starts a worker or a slot with this program; those that follow
/// are as on the command line of `cq`. Throws UsageError where that is not possible.
std::vector<std::string> OwnCommand();

/// What starts a program (`file`, with these words) under a guardian, which ends it, and all that
/// it has started, once `life_fd` is at its end. `cq`: as OwnCommand.
std::vector<std::string> GuardedCommand(const std::vector<std::string>& cq, int life_fd,
                                        const std::string& file,
                                        const std::vector<std::string>& words);

/// Where the helpers for other languages are: beside an installed or a built program.
std::string HelperDirectory();
/// Lets programs with this environment (NAME=VALUE) find the helpers.
void AddHelpers(std::vector<std::string>& environment);

}  // namespace cq
