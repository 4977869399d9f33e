#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/files.h"

namespace cq {

/// A worker on this machine that this process has started: its guardian, which ends with all that
/// is below it once `life` is closed, however that comes about.
struct WorkerProcess {
  pid_t pid = 0;
  /// Readable once it has ended.
  Fd pidfd;
  Fd life;
};

struct WorkerStart {
  /// The program, `worker`, and its options.
  std::vector<std::string> words;
  /// It appends what it prints.
  std::string log_file;
  /// NAME=VALUE, null at the end.
  char* const* environment = nullptr;
  /// It holds this descriptor as long as it lives; -1: none.
  int held_fd = -1;
  /// Where there is no room for a process at the moment: how long that is waited for ends when this
  /// is readable; -1: after its own time.
  int hurry_fd = -1;
};

/// Throws Error.
WorkerProcess StartWorkerProcess(const WorkerStart& start);

/// How it ended, from waitpid's status, for people: "was ended by signal 9".
std::string EndOfProcess(int status);

}  // namespace cq
