#include "base/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/blocked_signals.h"
#include "base/files.h"
#include "cq/error.h"

// The sanitizers keep books for each thread, and here are two processes in the memory of one.
#define CQ_NOT_SANITIZED __attribute__((no_sanitize("thread", "address", "undefined")))

// The C library's own name of `clone`, which the thread sanitizer does not take for a fork.
extern "C" int __clone(int (*)(void*), void*, int, void*, ...) noexcept;  // NOLINT

namespace cq {
namespace {

constexpr const char* kShell = "/bin/sh";

// What the child does of what was asked for, until it is another program. It shares this process's
// memory and runs while the thread that started it waits, so it calls what a signal handler may,
// and leaves everything as it is.
struct Child {
  bool own_session = false;
  const std::pair<int, int>* given = nullptr;
  size_t given_count = 0;
  const char* cgroup = nullptr;
  const char* directory = nullptr;
  bool no_input = false;
  uint64_t mark = 0;
  const char* file = nullptr;
  char* const* arguments = nullptr;
  char* const* environment = nullptr;
  int error = 0;

  int Become() const;
};

CQ_NOT_SANITIZED int Child::Become() const {
  // Before any signal can come: a handler of ours would run in our memory.
  // The kernel's own call: the C library keeps two signals to itself, which its posix_spawn leaves
  // ignored. All zero is its `struct sigaction` for SIG_DFL.
  constexpr std::array<unsigned long, 8> by_default{};
  for (int number = 1; number < NSIG; ++number) {
    syscall(SYS_rt_sigaction, number, by_default.data(), nullptr, (NSIG - 1) / 8);
  }
  if ((own_session ? setsid() : setpgid(0, 0)) < 0) return errno;
  rlimit limit{};
  if (mark != 0 && getrlimit(RLIMIT_LOCKS, &limit) == 0) {
    limit.rlim_cur = mark;
    setrlimit(RLIMIT_LOCKS, &limit);  // a hard limit below it leaves the environment to tell
  }
  if (cgroup != nullptr) {
    const int tasks = open(cgroup, O_WRONLY | O_CLOEXEC);
    if (tasks >= 0 && write(tasks, "0", 1) != 1) close(tasks);
  }
  if (no_input) {
    const int null = open("/dev/null", O_RDONLY);
    if (null < 0 || (null != 0 && dup2(null, 0) < 0)) return errno;
    if (null > 2) close(null);
  }
  for (size_t i = 0; i < given_count; ++i) {
    const int fd = given[i].first;
    const int as = given[i].second;
    if (fd == as ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, as) < 0) return errno;
  }
  if (directory != nullptr && chdir(directory) < 0) return errno;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // Without a slash it is looked for in PATH.
  if (std::strchr(file, '/') == nullptr) {
    execvpe(file, arguments, environment);
  } else {
    execve(file, arguments, environment);
  }
  return errno;
}

// What it returns is the exit status of the child.
CQ_NOT_SANITIZED int RunChild(void* given) {
  auto* child = static_cast<Child*>(given);
  child->error = child->Become();
  return 127;
}

constexpr size_t kStackBytes = 1u << 18;

}  // namespace

ChildStack::ChildStack()
    : bytes_(static_cast<char*>(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0))) {
  if (bytes_ == MAP_FAILED) throw Error("cannot start a process: no memory");
  // Who needs more is ended, and writes into nothing else.
  mprotect(bytes_, static_cast<size_t>(sysconf(_SC_PAGESIZE)), PROT_NONE);
}
ChildStack::~ChildStack() { munmap(bytes_, kStackBytes); }
char* ChildStack::top() const { return bytes_ + kStackBytes; }

Spawner::Spawner(Group group) : own_session_(group == Group::kOwnSession) {}

void Spawner::Give(int fd, int as) { given_.emplace_back(fd, as); }
void Spawner::GiveNoInput() { no_input_ = true; }
void Spawner::StartIn(const std::string& directory) { directory_ = directory; }
void Spawner::JoinCgroup(const std::string& tasks_file) { cgroup_ = tasks_file; }

int Spawner::StartOnce(pid_t& pid, const std::string& file,
                       const std::vector<std::string>& arguments, char* const* environment,
                       uint64_t mark, const std::string& cgroup) {
  const auto or_none = [](const std::string& text) {
    return text.empty() ? nullptr : text.c_str();
  };
  const std::vector<char*> pointers = ArgumentPointers(arguments);
  Child child{.own_session = own_session_,
              .given = given_.data(),
              .given_count = given_.size(),
              .cgroup = or_none(cgroup),
              .directory = or_none(directory_),
              .no_input = no_input_,
              .mark = mark,
              .file = file.c_str(),
              .arguments = pointers.data(),
              .environment = environment};
  {
    const BlockedSignals blocked;
    // As posix_spawn does it, which can neither set a limit nor join a cgroup.
    pid = __clone(RunChild, stack_.top(), CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
    if (pid < 0) return errno;
  }
  if (child.error == 0) return 0;
  int ignored = 0;
  WaitFor(pid, ignored);
  pid = -1;
  return child.error;
}

int Spawner::Start(pid_t& pid, const std::string& file, const std::vector<std::string>& arguments,
                   char* const* environment, uint64_t mark) {
  int error = StartOnce(pid, file, arguments, environment, mark, cgroup_);
  // Of a cgroup that is full already, the kernel says what it says of a full machine or of long
  // arguments. Who is not in it is measured in another way.
  if ((error == ENOMEM || error == E2BIG) && !cgroup_.empty()) {
    error = StartOnce(pid, file, arguments, environment, mark, {});
  }
  if (error != ENOEXEC || file == kShell) return error;
  std::vector<std::string> words = arguments;
  words[0] = file;
  words.insert(words.begin(), kShell);
  return Start(pid, kShell, words, environment, mark);
}

int Spawner::StartPatiently(pid_t& pid, const std::string& file,
                            const std::vector<std::string>& arguments, char* const* environment,
                            uint64_t mark, std::chrono::milliseconds patience, int stop_fd) {
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
