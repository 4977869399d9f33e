#include "worker/processes/memory_cgroup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/files.h"
#include "cq/error.h"

namespace cq {
namespace {

constexpr time_t kStaleSeconds = time_t{24} * 3600;

struct OwnCgroup {
  std::string directory;
  bool v2 = false;
};

// Where this process stands in the hierarchy that has the memory controller; no directory: nowhere.
OwnCgroup FindOwnCgroup() {
  std::string text;
  try {
    text = ReadFile("/proc/self/cgroup");
  } catch (const Error&) {
    return {};
  }
  OwnCgroup found;
  std::istringstream lines(text);
  // ID:CONTROLLERS:PATH
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers.find(",memory,") != std::string::npos) {
      return {"/sys/fs/cgroup/memory" + (path == "/" ? "" : path), false};
    }
    if (controllers == ",,") found = {"/sys/fs/cgroup" + (path == "/" ? "" : path), true};
  }
  return found;
}

bool Write(const std::string& path, const std::string& text) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && WriteAll(fd.get(), text);
}

// The number after "oom_kill" in memory.events (v2) or memory.oom_control (v1).
uint64_t OomKills(const std::string& file) {
  if (file.empty()) return 0;
  try {
    std::istringstream words(ReadFile(file));
    uint64_t number = 0;
    for (std::string word; words >> word >> number;) {
      if (word == "oom_kill") return number;
    }
  } catch (const Error&) {
  }
  return 0;
}

std::string EventsFile(const std::string& directory) {
  for (const char* name : {"/memory.events", "/memory.oom_control"}) {
    if (access((directory + name).c_str(), R_OK) == 0) return directory + name;
  }
  return {};
}

// Workers that were killed leave theirs behind, empty.
void RemoveStale(const std::string& directory) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("cq-")) continue;
    const pid_t pid = std::atoi(name.c_str() + 3);
    struct stat status {};
    // A young one may be that of a worker in another pid namespace, between two tasks.
    if (pid > 0 && kill(pid, 0) != 0 && errno == ESRCH &&
        stat(entry.path().c_str(), &status) == 0 &&
        time(nullptr) - status.st_mtime > kStaleSeconds) {
      rmdir(entry.path().c_str());
    }
  }
}

}  // namespace

OomCounter::OomCounter()
    : file_(EventsFile(FindOwnCgroup().directory)),
      last_(OomKills(file_)),
      seen_(last_),
      looked_(std::chrono::steady_clock::now()) {}

void OomCounter::Look() {
  const Lock lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (file_.empty() || now - looked_ < std::chrono::seconds(1)) return;
  looked_ = now;
  last_ = std::exchange(seen_, OomKills(file_));
}

bool OomCounter::HasGrown() {
  const Lock lock(mutex_);
  if (last_ >= OomKills(file_)) return false;
  // Each kill is one task's.
  ++last_;
  seen_ = std::max(seen_, last_);
  return true;
}

std::unique_ptr<MemoryCgroup> MemoryCgroup::Make(uint64_t slot, uint64_t limit_bytes) {
  const OwnCgroup own = FindOwnCgroup();
  if (own.directory.empty()) return nullptr;
  RemoveStale(own.directory);
  const std::string directory = fmt::format("{}/cq-{}-{}", own.directory, getpid(), slot);
  if (mkdir(directory.c_str(), 0755) != 0) return nullptr;
  // v1 moves a single thread at less cost; v2 only whole processes.
  std::unique_ptr<MemoryCgroup> made(
      new MemoryCgroup(directory, directory + (own.v2 ? "/cgroup.procs" : "/tasks")));
  const std::string limit = std::to_string(limit_bytes);
  if (own.v2) {
    // Without the controller enabled for children there is no such file.
    if (!Write(directory + "/memory.max", limit)) return nullptr;
    Write(directory + "/memory.swap.max", "0");
    Write(directory + "/memory.oom.group", "1");
  } else {
    if (!Write(directory + "/memory.limit_in_bytes", limit)) return nullptr;
    Write(directory + "/memory.memsw.limit_in_bytes", limit);
  }
  made->kills_ = OomKills(EventsFile(directory));
  return made;
}

MemoryCgroup::~MemoryCgroup() { rmdir(directory_.c_str()); }

bool MemoryCgroup::Holds(pid_t pid) const {
  const std::string name = directory_.substr(directory_.rfind('/'));
  try {
    if (ReadFile(fmt::format("/proc/{}/cgroup", pid)).find(name) != std::string::npos) return true;
    // One that is exiting shows "/" (v1). Its flags are the seventh field after the name.
    const std::string stat = ReadFile(fmt::format("/proc/{}/stat", pid));
    std::istringstream fields(stat.substr(stat.rfind(')') + 1));
    std::string field;
    for (int i = 0; i < 7; ++i) fields >> field;
    constexpr unsigned long kExiting = 4;
    return (std::strtoul(field.c_str(), nullptr, 10) & kExiting) != 0;
  } catch (const Error&) {
    return true;  // it has ended
  }
}

bool MemoryCgroup::HasKilled() {
  const uint64_t now = OomKills(EventsFile(directory_));
  return std::exchange(kills_, now) < now;
}

}  // namespace cq
