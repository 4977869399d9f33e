#include "schedulers/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/files.h"
#include "base/spawn.h"

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
                                  std::chrono::seconds limit, int hurry_fd) {
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
  // At the end of a run there is still some patience.
  pollfd hurry{hurry_fd, POLLIN, 0};
  if (poll(&hurry, 1, 0) > 0) {
    hurry_fd = -1;
    limit = std::min(limit, kHurriedLimit);
  }
  const int error = spawner.StartPatiently(
      pid, words[0], words, ArgumentPointers(environment).data(), 0, limit, hurry_fd);
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
  auto deadline = std::chrono::steady_clock::now() + limit;
  bool out_open = true;
  bool err_open = true;
  while (out_open || err_open) {
    if (rest.empty()) in.write.Close();
    std::array<pollfd, 4> fds{{{out_open ? out.read.get() : -1, POLLIN, 0},
                               {err_open ? err.read.get() : -1, POLLIN, 0},
                               {in.write.get(), POLLOUT, 0},
                               {hurry_fd, POLLIN, 0}}};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      kill(-pid, SIGKILL);
      result.err += fmt::format("'{}' did not end in time and was ended", words[0]);
      break;
    }
    if (poll(fds.data(), fds.size(), static_cast<int>(left.count())) < 0) continue;
    if (fds[3].revents != 0) {
      hurry_fd = -1;
      limit = std::min(limit, kHurriedLimit);
      deadline = std::min(deadline, std::chrono::steady_clock::now() + limit);
    }
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
  // How clients find their controller and say who they are.
  constexpr std::string_view kKept[] = {
      "SLURM_CONF=", "SLURM_CLUSTERS=", "SLURM_JWT=", "SLURM_CONF_SERVER="};
  // What a batch system sets for a job of its own, and what changes which jobs the clients list,
  // signal and show, and how. Of those for sbatch only defaults of a site or a user are left.
  constexpr std::string_view kDropped[] = {
      "SLURM_",          "SLURMD_",       "SQUEUE_",      "SCANCEL_",     "SCONTROL_",
      "SINFO_",          "SACCT_",        "SBATCH_WAIT=", "SBATCH_ARRAY", "SBATCH_OUTPUT=",
      "SBATCH_ERROR=",   "SBATCH_INPUT=", "SBATCH_JOB_",  "SBATCH_OPEN_", "SBATCH_TEST_",
      "SBATCH_GET_USER", "SBATCH_EXPORT="};
  const auto begins = [](std::string_view text, const auto& names) {
    return std::any_of(std::begin(names), std::end(names),
                       [&](std::string_view name) { return text.starts_with(name); });
  };
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (begins(*entry, kDropped) && !begins(*entry, kKept)) continue;
    environment.emplace_back(*entry);
  }
  return environment;
}

std::vector<std::string> WithoutOverruled(const std::vector<std::string>& environment,
                                          const std::string& script) {
  // sbatch prefers these to what the script says.
  constexpr std::pair<std::string_view, std::string_view> kOptions[] = {
      {"SBATCH_ACCOUNT=", "account"},
      {"SBATCH_ACCOUNT=", "A"},
      {"SBATCH_PARTITION=", "partition"},
      {"SBATCH_PARTITION=", "p"},
      {"SBATCH_QOS=", "qos"},
      {"SBATCH_QOS=", "q"},
      {"SBATCH_TIMELIMIT=", "time"},
      {"SBATCH_TIMELIMIT=", "t"},
      {"SBATCH_MEM_PER_NODE=", "mem"},
      {"SBATCH_MEM_PER_CPU=", "mem"},
      {"SBATCH_MEM_PER_CPU=", "mem-per-cpu"},
      {"SBATCH_MEM_PER_NODE=", "mem-per-cpu"},
      {"SBATCH_CONSTRAINT=", "constraint"},
      {"SBATCH_CONSTRAINT=", "C"},
      {"SBATCH_RESERVATION=", "reservation"},
      {"SBATCH_GPUS=", "gpus"},
      {"SBATCH_CLUSTERS=", "clusters"},
      {"SBATCH_CLUSTERS=", "M"},
  };
  const auto overruled = [&](const std::string& entry) {
    return std::any_of(std::begin(kOptions), std::end(kOptions), [&](const auto& option) {
      if (!entry.starts_with(option.first)) return false;
      const bool letter = option.second.size() == 1;
      const std::string text = fmt::format("\n#SBATCH {}{}", letter ? "-" : "--", option.second);
      for (size_t at = 0; (at = script.find(text, at)) != std::string::npos; at += text.size()) {
        const char after = at + text.size() < script.size() ? script[at + text.size()] : ' ';
        if (letter || after == '=' || after == ' ') return true;
      }
      return false;
    });
  };
  std::vector<std::string> kept;
  std::copy_if(environment.begin(), environment.end(), std::back_inserter(kept),
               [&](const std::string& entry) { return !overruled(entry); });
  return kept;
}

}  // namespace cq
