#include "base/worker_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "base/spawn.h"
#include "cq/error.h"

namespace cq {
namespace {

/// The descriptor at which a guardian sees that whoever started it is gone.
constexpr int kMasterFd = 3;
/// The one that workers hold as long as they live.
constexpr int kHeldFd = 4;

}  // namespace

WorkerProcess StartWorkerProcess(const WorkerStart& start) {
  Pipe life = MakePipe();
  const Fd life_read(fcntl(life.read.get(), F_DUPFD_CLOEXEC, 10));
  const Fd log(open(start.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!log) {
    throw Error(
        fmt::format("cannot write the worker's log '{}': {}", start.log_file, strerror(errno)));
  }
  std::vector<std::string> words = start.words;
  words.insert(words.end(), {"--master-fd", std::to_string(kMasterFd)});
  if (start.held_fd >= 0) words.insert(words.end(), {"--held-fd", std::to_string(kHeldFd)});
  // A session of its own: Ctrl-C reaches the master alone.
  Spawner spawner(Spawner::Group::kOwnSession);
  spawner.GiveNoInput();
  spawner.Give(log.get(), 1);
  spawner.Give(log.get(), 2);
  // Neither source is one of these numbers.
  spawner.Give(life_read.get(), kMasterFd);
  if (start.held_fd >= 0) spawner.Give(start.held_fd, kHeldFd);
  WorkerProcess process;
  const int error = spawner.StartPatiently(process.pid, words[0], words, start.environment, 0,
                                           kShortRoomPatience, start.hurry_fd);
  if (error != 0) {
    throw Error(fmt::format("cannot start a worker '{}': {}{}", words[0], strerror(error),
                            IsWantOfRoom(error) ? "; " + AdviceOnRoom() : ""));
  }
  process.pidfd = OpenPidfd(process.pid);
  process.life = std::move(life.write);
  return process;
}

std::string EndOfProcess(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was ended by signal {}", WTERMSIG(status));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

}  // namespace cq
