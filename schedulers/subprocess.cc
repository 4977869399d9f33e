#include "schedulers/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "protocol/files.h"
#include "protocol/spawn.h"

extern char** environ;

namespace cq {
namespace {

// False once the stream has ended.
bool ReadSome(int fd, std::string& into) {
  std::array<char, 16384> buffer{};
  const ssize_t n = read(fd, buffer.data(), buffer.size());
  if (n > 0) into.append(buffer.data(), static_cast<size_t>(n));
  return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

int ExitStatus(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

CommandOutput RunSchedulerCommand(const std::vector<std::string>& words, const std::string& input,
                                  const std::vector<std::string>& environment,
                                  std::chrono::seconds limit) {
  Pipe in = MakePipe();
  Pipe out = MakePipe();
  Pipe err = MakePipe();
  // Ctrl-C is for the master alone: it must still be able to cancel what a half-done submission
  // started.
  Spawner spawner(Spawner::Group::kOwn);
  spawner.Give(in.read.get(), 0);
  spawner.Give(out.write.get(), 1);
  spawner.Give(err.write.get(), 2);
  pid_t pid = 0;
  const int error =
      spawner.StartPatiently(pid, words[0], words, ArgumentPointers(environment).data(), limit, -1);
  if (error != 0) {
    return {127, {}, fmt::format("cannot run '{}': {}", words[0], strerror(error))};
  }
  in.read.Close();
  out.write.Close();
  err.write.Close();

  // A command that does not read its input closes the pipe: that is no end of ours (SIGPIPE is
  // ignored in the master).
  fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
  CommandOutput result;
  std::string_view rest = input;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  bool out_open = true;
  bool err_open = true;
  while (out_open || err_open) {
    if (rest.empty()) in.write.Close();
    std::array<pollfd, 3> fds{{{out_open ? out.read.get() : -1, POLLIN, 0},
                               {err_open ? err.read.get() : -1, POLLIN, 0},
                               {in.write.get(), POLLOUT, 0}}};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      kill(-pid, SIGKILL);
      result.err +=
          fmt::format("'{}' took longer than {} s and was ended", words[0], limit.count());
      break;
    }
    if (poll(fds.data(), fds.size(), static_cast<int>(left.count())) < 0) continue;
    if (fds[0].revents != 0) out_open = ReadSome(out.read.get(), result.out);
    if (fds[1].revents != 0) err_open = ReadSome(err.read.get(), result.err);
    if (fds[2].revents != 0) {
      const ssize_t n = write(in.write.get(), rest.data(), rest.size());
      if (n > 0) rest.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) rest = {};
    }
  }
  int status = 0;
  if (WaitFor(pid, status)) {
    result.status = ExitStatus(status);
  } else {
    result.status = 127;
    result.err += fmt::format(
        "how '{}' ended is not known: this program ignores SIGCHLD, or waits for children that are "
        "not its own",
        words[0]);
  }
  return result;
}

std::vector<std::string> SubmissionEnvironment() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool ours = (text.starts_with("SLURM_") && !text.starts_with("SLURM_CONF=") &&
                       !text.starts_with("SLURM_CLUSTERS=")) ||
                      text.starts_with("SLURMD_");
    if (!ours) environment.emplace_back(text);
  }
  return environment;
}

}  // namespace cq
