#include "worker/processes/descendants.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "cq/error.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct ProcessStat {
  pid_t parent = 0;
  char state = 0;
};

std::optional<ProcessStat> StatOf(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  const size_t close = text.rfind(')');
  if (close == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(close + 1));
  ProcessStat stat;
  rest >> stat.state >> stat.parent;
  return stat;
}

// All live descendants of `root`, from one pass over /proc.
std::vector<pid_t> Descendants(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  std::set<pid_t> zombies;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) continue;
    const auto stat = StatOf(pid);
    if (!stat) continue;
    children.emplace(stat->parent, pid);
    if (stat->state == 'Z' || stat->state == 'X') zombies.insert(pid);
  }
  std::vector<pid_t> found{root};
  for (size_t i = 0; i < found.size(); ++i) {
    const auto [first, last] = children.equal_range(found[i]);
    for (auto it = first; it != last; ++it) found.push_back(it->second);
  }
  found.erase(found.begin());
  std::erase_if(found, [&](pid_t pid) { return zombies.contains(pid); });
  return found;
}

// Who has no child, living or dead, has no descendant, since orphans among them would be its
// children.
bool HasChildren() {
  siginfo_t info{};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

// What everything has that this worker has not marked.
rlim_t NoMark() {
  static const rlim_t kOwn = [] {
    rlimit own{};
    getrlimit(RLIMIT_LOCKS, &own);
    return own.rlim_cur;
  }();
  return kOwn;
}

}  // namespace

void BecomeSubreaper() {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) throw Error("cannot become a subreaper");
}

std::vector<pid_t> KillAllDescendants(int limit_ms) {
  const auto deadline = steady_clock::now() + milliseconds(limit_ms);
  std::vector<pid_t> left;
  // Reading all of /proc takes milliseconds, at the end of every run.
  if (!HasChildren()) return left;
  for (;;) {
    left = Descendants(getpid());
    for (const pid_t pid : left) kill(pid, SIGKILL);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (left.empty() || steady_clock::now() >= deadline) return left;
    std::this_thread::sleep_for(milliseconds(1));
  }
}

AdoptedChildren::AdoptedChildren() {
  const std::string path = fmt::format("/proc/self/task/{}/children", getpid());
  children_ = Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

std::vector<pid_t> AdoptedChildren::List() const {
  std::vector<pid_t> pids;
  if (!children_) {
    // A kernel without CONFIG_PROC_CHILDREN: the parents of all processes tell the same, slower.
    for (const pid_t pid : Descendants(getpid())) {
      const auto stat = StatOf(pid);
      if (stat && stat->parent == getpid() && getpgid(pid) != pid) pids.push_back(pid);
    }
    return pids;
  }
  std::string text;
  std::array<char, 4096> buffer;
  ssize_t n = 0;
  while ((n = pread(children_.get(), buffer.data(), buffer.size(),
                    static_cast<off_t>(text.size()))) > 0) {
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    pid_t pid = 0;
    const auto parsed = std::from_chars(at, end, pid);
    if (parsed.ec != std::errc()) break;
    pids.push_back(pid);
    at = parsed.ptr + 1;
  }
  return pids;
}

std::optional<AttemptId> AttemptOfProcess(pid_t pid) {
  rlimit mark{};
  if (prlimit(pid, RLIMIT_LOCKS, nullptr, &mark) == 0 && mark.rlim_cur != NoMark()) {
    return mark.rlim_cur;
  }
  // It may not be asked, or the hard limit is below the mark.
  std::string text;
  try {
    text = ReadFile(fmt::format("/proc/{}/environ", pid));
  } catch (const Error&) {
    return std::nullopt;
  }
  text.insert(0, 1, '\0');
  const std::string key = std::string(1, '\0') + "CQ_ATTEMPT_ID=";
  const size_t at = text.find(key);
  if (at == std::string::npos) return std::nullopt;
  AttemptId attempt = 0;
  std::from_chars(text.data() + at + key.size(), text.data() + text.size(), attempt);
  return attempt == 0 ? std::nullopt : std::optional(attempt);
}

AdoptedChildren::Swept AdoptedChildren::Sweep(AttemptId ended,
                                              const std::function<bool(AttemptId)>& others_run,
                                              const std::function<bool()>& alone) {
  const Lock lock(mutex_);
  Swept swept = Swept::kNoneLeft;
  for (const pid_t pid : List()) {
    if (waitpid(pid, nullptr, WNOHANG) == pid) continue;
    const auto attempt = AttemptOfProcess(pid);
    const bool goes = attempt ? (*attempt == ended || !others_run(*attempt)) : alone();
    if (!goes) {
      swept = std::max(swept, Swept::kOthersLeft);
      continue;
    }
    kill(pid, SIGKILL);
    // Even once it is reaped, its children have yet to be given to us.
    waitpid(pid, nullptr, WNOHANG);
    swept = Swept::kEnding;
  }
  return swept;
}

std::vector<pid_t> AdoptedChildren::Of(AttemptId attempt) {
  const Lock lock(mutex_);
  std::vector<pid_t> found = List();
  std::erase_if(found, [&](pid_t pid) { return AttemptOfProcess(pid) != attempt; });
  return found;
}

bool AdoptedChildren::EndThoseOf(AttemptId ended, const std::function<bool(AttemptId)>& others_run,
                                 const std::function<bool()>& alone) {
  const auto deadline = steady_clock::now() + std::chrono::seconds(5);
  Swept swept = Sweep(ended, others_run, alone);
  while (swept == Swept::kEnding && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::microseconds(500));
    swept = Sweep(ended, others_run, alone);
  }
  return swept != Swept::kNoneLeft;
}

}  // namespace cq
