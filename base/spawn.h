#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cq {

/// What a child runs on, in our memory, until it is another program.
class ChildStack {
 public:
  /// Throws Error.
  ChildStack();
  ChildStack(const ChildStack&) = delete;
  ChildStack& operator=(const ChildStack&) = delete;
  ~ChildStack();
  char* top() const;

 private:
  char* bytes_;
};

/// How a process is started: with no signal blocked, every disposition the default, and what is
/// asked for here. Can be used again and again, by one thread at a time.
class Spawner {
 public:
  /// Whose process group and session it gets.
  enum class Group { kOwn, kOwnSession };

  /// Throws Error if there is no memory for it.
  explicit Spawner(Group group);
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;

  /// It finds `fd` at the number `as`. Neither may be a number that was asked for before.
  void Give(int fd, int as);
  /// It reads nothing from standard input.
  void GiveNoInput();
  void StartIn(const std::string& directory);
  /// Before it runs it writes itself into this file of a cgroup, if it can, and if there is room.
  void JoinCgroup(const std::string& tasks_file);

  /// Starts `file` with these arguments and this environment (NAME=VALUE). Returns errno, 0 if it
  /// was started. A script without a #! line is run by /bin/sh, as execvp and every shell do. The
  /// calling thread waits until it runs.
  /// `mark` is its RLIMIT_LOCKS, unless it is 0: see descendants.h.
  int Start(pid_t& pid, const std::string& file, const std::vector<std::string>& arguments,
            char* const* environment, uint64_t mark = 0);
  /// The same; where the system has no room for another process at the moment (EAGAIN, ENOMEM) it
  /// tries again, for at most `patience` or until `stop_fd` is readable. The last errno.
  int StartPatiently(pid_t& pid, const std::string& file, const std::vector<std::string>& arguments,
                     char* const* environment, uint64_t mark, std::chrono::milliseconds patience,
                     int stop_fd);

 private:
  int StartOnce(pid_t& pid, const std::string& file, const std::vector<std::string>& arguments,
                char* const* environment, uint64_t mark, const std::string& cgroup);

  const bool own_session_;
  bool no_input_ = false;
  std::vector<std::pair<int, int>> given_;
  std::string directory_;
  std::string cgroup_;
  ChildStack stack_;
};

/// How long to wait for room for another process, and how long where somebody waits for it.
inline constexpr std::chrono::milliseconds kRoomPatience{60'000};
inline constexpr std::chrono::milliseconds kShortRoomPatience{10'000};

/// Whether it was this machine that had no room for another process.
bool IsWantOfRoom(int error);

/// What to do about it, for people.
std::string AdviceOnRoom();

/// Signals that whoever started this program ignores or blocks are none of its business: without
/// SIGCHLD, for one, no child can be waited for. But SIGHUP stays ignored (nohup), and so do SIGINT
/// and SIGQUIT (what a script starts with `&`). Once, before any thread.
void ForgetInheritedSignals();

/// Waits for the end of a child. False if it cannot be known how it ended (somebody else has waited
/// for it).
bool WaitFor(pid_t pid, int& status);

}  // namespace cq
