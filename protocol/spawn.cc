#include "protocol/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "protocol/files.h"

namespace cq {
namespace {

// A child inherits our own limit, so we have the mark while it is started: to mark it afterwards
// would be too late for what it starts at once. Limits are a process's, hence one start at a time.
class InheritedMark {
 public:
  explicit InheritedMark(uint64_t mark) : lock_(Mutex()) {
    getrlimit(RLIMIT_LOCKS, &own_);
    const rlimit marked{mark == 0 ? own_.rlim_cur : mark, own_.rlim_max};
    setrlimit(RLIMIT_LOCKS, &marked);
  }
  InheritedMark(const InheritedMark&) = delete;
  InheritedMark& operator=(const InheritedMark&) = delete;
  ~InheritedMark() { setrlimit(RLIMIT_LOCKS, &own_); }

 private:
  static std::mutex& Mutex() {
    static std::mutex mutex;
    return mutex;
  }

  std::lock_guard<std::mutex> lock_;
  rlimit own_{};
};

}  // namespace

Spawner::Spawner(Group group) {
  posix_spawn_file_actions_init(&actions_);
  posix_spawnattr_init(&attributes_);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes_, &none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigdefault(&attributes_, &all);
  posix_spawnattr_setpgroup(&attributes_, 0);
  const int own = group == Group::kOwnSession ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
  posix_spawnattr_setflags(
      &attributes_, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | own));
}

Spawner::~Spawner() {
  posix_spawn_file_actions_destroy(&actions_);
  posix_spawnattr_destroy(&attributes_);
}

// Onto itself it clears close-on-exec, in posix_spawn.
void Spawner::Give(int fd, int as) { posix_spawn_file_actions_adddup2(&actions_, fd, as); }

void Spawner::GiveNoInput() {
  posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
}

void Spawner::StartIn(const std::string& directory) {
  posix_spawn_file_actions_addchdir_np(&actions_, directory.c_str());
}

int Spawner::Start(pid_t& pid, const std::string& file, const std::vector<std::string>& arguments,
                   char* const* environment, uint64_t mark) const {
  const InheritedMark marked(mark);
  // Without a slash it is looked for in PATH.
  const auto spawn = file.find('/') == std::string::npos ? posix_spawnp : posix_spawn;
  const int error = spawn(&pid, file.c_str(), &actions_, &attributes_,
                          ArgumentPointers(arguments).data(), environment);
  if (error != ENOEXEC) return error;
  std::vector<std::string> words = arguments;
  words[0] = file;
  words.insert(words.begin(), "/bin/sh");
  return posix_spawn(&pid, "/bin/sh", &actions_, &attributes_, ArgumentPointers(words).data(),
                     environment);
}

int Spawner::StartPatiently(pid_t& pid, const std::string& file,
                            const std::vector<std::string>& arguments, char* const* environment,
                            uint64_t mark, std::chrono::milliseconds patience, int stop_fd) const {
  constexpr std::chrono::milliseconds kLongestPause{1000};
  int error = Start(pid, file, arguments, environment, mark);
  auto pause = std::chrono::milliseconds(10);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (IsWantOfRoom(error) && std::chrono::steady_clock::now() < deadline) {
    pollfd stop{stop_fd, POLLIN, 0};
    if (poll(&stop, 1, static_cast<int>(pause.count())) > 0) break;
    pause = std::min(2 * pause, kLongestPause);
    error = Start(pid, file, arguments, environment, mark);
  }
  return error;
}

bool IsWantOfRoom(int error) { return error == EAGAIN || error == ENOMEM; }

std::string AdviceOnRoom() {
  return "this machine has no room for another process ('ulimit -u' and '-v' show the limits of "
         "this user, who may run other things here)";
}

void ForgetInheritedSignals() {
  for (int number = 1; number < NSIG; ++number) {
    if (number == SIGHUP || number == SIGINT || number == SIGQUIT) continue;
    struct sigaction inherited {};
    if (sigaction(number, nullptr, &inherited) == 0 && inherited.sa_handler == SIG_IGN) {
      signal(number, SIG_DFL);
    }
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool WaitFor(pid_t pid, int& status) {
  pid_t waited = 0;
  while ((waited = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
  }
  return waited == pid;
}

}  // namespace cq
