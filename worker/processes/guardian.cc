#include "worker/processes/guardian.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/files.h"
#include "base/spawn.h"
#include "base/text.h"
#include "cq/error.h"
#include "worker/processes/descendants.h"

extern char** environ;

namespace cq {
namespace {

constexpr int kLifeFd = 3;
constexpr int kKillLimitMs = 10'000;

// What is ignored stays so: a signalfd would hear of it (nohup).
sigset_t GuardedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGXCPU, SIGCHLD}) {
    struct sigaction inherited {};
    sigaction(signal, nullptr, &inherited);
    if (inherited.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  return set;
}

// What a shell without a terminal takes out of its environment, or sets anew: whoever comes behind
// it gets it as it was.
std::vector<std::string> WithWhatShellsTake(std::vector<std::string> words) {
  std::vector<std::string> taken;
  for (const char* name : {"PS1", "PS2", "IFS", "OPTIND"}) {
    const char* value = getenv(name);
    if (value != nullptr) taken.push_back(fmt::format("{}={}", name, value));
  }
  if (taken.empty()) return words;
  taken.insert(taken.begin(), "/usr/bin/env");
  words.insert(words.begin(), taken.begin(), taken.end());
  return words;
}

pid_t SpawnWorker(const std::vector<std::string>& arguments, int life_fd, int master_fd,
                  int held_fd, const std::string& init) {
  std::string program = OwnExecutable();
  std::vector<std::string> words{"cq"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  words.insert(words.end(), {"--life-fd", std::to_string(kLifeFd)});
  if (!init.empty()) {
    // As users write for it (module, conda), where there is one; another shell would drop exported
    // functions, and variables whose names it could not have itself.
    const std::string shell = access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
    words[0] = program;
    words = WithWhatShellsTake(std::move(words));
    words.insert(
        words.begin(),
        {shell, "-c",
         init + "\nstatus=$?; [ $status = 0 ] || { echo \"cq: --worker-init failed with status "
                "$status\" >&2; exit $status; }\nunset status\nexec \"$0\" \"$@\""});
    program = shell;
  }
  // Some schedulers kill by process group; the guardian must outlive its worker then.
  Spawner spawner(Spawner::Group::kOwn);
  spawner.Give(life_fd, kLifeFd);
  if (held_fd >= 0) spawner.Give(held_fd, held_fd);
  pid_t pid = 0;
  const int error =
      spawner.StartPatiently(pid, program, words, environ, 0, kShortRoomPatience, master_fd);
  if (error != 0) {
    throw Error(fmt::format("cannot start the worker '{}': {}", program, strerror(error)));
  }
  return pid;
}

void KillAll() {
  const auto left = KillAllDescendants(kKillLimitMs);
  for (const pid_t pid : left) {
    Say(stderr, fmt::format("cq worker: process {} could not be ended\n", pid));
  }
}

// Reaps what has ended; true, with its status, once that includes the worker.
bool Reap(pid_t worker, int& status) {
  bool ended = false;
  int child_status = 0;
  pid_t pid = 0;
  while ((pid = waitpid(-1, &child_status, WNOHANG)) > 0) {
    if (pid != worker) continue;
    ended = true;
    status = child_status;
  }
  return ended;
}

// Starts a child, and returns its status once it has ended with all that is below it.
template <class Start>
int Guard(int master_fd, const Start& start) {
  const sigset_t signals = GuardedSignals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  const Fd signal_fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  BecomeSubreaper();
  if (master_fd >= 0) fcntl(master_fd, F_SETFD, FD_CLOEXEC);
  const pid_t child = start();

  std::array<pollfd, 2> fds{{{signal_fd.get(), POLLIN, 0}, {master_fd, POLLIN, 0}}};
  for (;;) {
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[1].revents != 0) {
      // Nobody ever writes: readable means that the master is gone.
      KillAll();
      return 6;
    }
    signalfd_siginfo info{};
    while (read(signal_fd.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo != SIGCHLD) kill(child, static_cast<int>(info.ssi_signo));
    }
    int status = 0;
    if (!Reap(child, status)) continue;
    KillAll();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

}  // namespace

int RunGuardian(const std::vector<std::string>& arguments, int master_fd, int held_fd,
                const std::string& init) {
  if (held_fd >= 0) fcntl(held_fd, F_SETFD, FD_CLOEXEC);
  Pipe life = MakePipe();
  return Guard(master_fd, [&] {
    const pid_t worker = SpawnWorker(arguments, life.read.get(), master_fd, held_fd, init);
    life.read.Close();
    return worker;
  });
}

int GuardProgram(const std::vector<std::string>& given) {
  if (given.size() < 3) throw UsageError("--guard FD FILE WORD ... is what a master says");
  const int master_fd = std::atoi(given[0].c_str());
  const std::string& file = given[1];
  const std::vector<std::string> words(given.begin() + 2, given.end());
  return Guard(master_fd, [&] {
    Spawner spawner(Spawner::Group::kOwn);
    pid_t pid = 0;
    const int error =
        spawner.StartPatiently(pid, file, words, environ, 0, kShortRoomPatience, master_fd);
    if (error == 0) return pid;
    throw Error(fmt::format("cannot start '{}': {}{}", words.at(0), strerror(error),
                            IsWantOfRoom(error) ? "; " + AdviceOnRoom() : ""));
  });
}

}  // namespace cq
