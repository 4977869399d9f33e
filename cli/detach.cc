#include "cli/detach.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/files.h"
#include "base/spawn.h"
#include "cq/error.h"
#include "protocol/own_program.h"

namespace cq {
namespace {

/// The descriptor at which a process that is to detach itself finds who waits for that.
constexpr int kReadyFd = 3;
/// That it is there.
constexpr const char* kDetaches = "CQ_DETACHES";

}  // namespace

std::optional<int> StartDetached(const std::string& subcommand, const CommandLine& line) {
  Pipe ready = MakePipe();
  Fd ready_write(fcntl(ready.write.get(), F_DUPFD_CLOEXEC, 10));
  ready.write.Close();
  std::vector<std::string> words = OwnCommand();
  words.push_back(subcommand);
  words.insert(words.end(), line.words.begin(), line.words.end());
  if (line.has_command) words.emplace_back("--");
  words.insert(words.end(), line.command.begin(), line.command.end());
  setenv(kDetaches, "1", 1);
  Spawner spawner(Spawner::Group::kOwnSession);
  spawner.Give(ready_write.get(), kReadyFd);
  pid_t pid = 0;
  const int error = spawner.Start(pid, words[0], words, environ);
  unsetenv(kDetaches);
  if (error != 0) throw Error(fmt::format("cannot start '{}': {}", words[0], strerror(error)));
  // It has the other end alone.
  ready_write.Close();
  if (ReadStream(fmt::format("/proc/self/fd/{}", ready.read.get())) == "ready\n") return {};
  int status = 0;
  WaitFor(pid, status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

bool IsToDetach() {
  static const bool to_detach = [] {
    const bool so = getenv(kDetaches) != nullptr;
    unsetenv(kDetaches);
    return so;
  }();
  return to_detach;
}

void Detach(const std::string& log) {
  const Fd nothing(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (nothing) dup2(nothing.get(), STDIN_FILENO);
  const Fd fd(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (fd) {
    dup2(fd.get(), STDOUT_FILENO);
    dup2(fd.get(), STDERR_FILENO);
  }
  const bool told = WriteAll(kReadyFd, "ready\n");
  close(kReadyFd);
  if (!told) throw Error("whoever started it has gone before it was ready");
}

}  // namespace cq
