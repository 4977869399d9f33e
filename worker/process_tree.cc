#include "worker/process_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>

#include "cq/error.h"
#include "protocol/files.h"

namespace cq {
namespace {

std::string Read(const std::string& path) {
  try {
    return ReadFile(path);
  } catch (const Error&) {
    return {};  // it has ended
  }
}

void AddChildren(pid_t pid, std::vector<pid_t>& found) {
  std::error_code ignored;
  for (const auto& thread :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), ignored)) {
    const std::string text = Read(thread.path().string() + "/children");
    const char* at = text.data();
    const char* end = at + text.size();
    while (at < end) {
      pid_t child = 0;
      const auto parsed = std::from_chars(at, end, child);
      if (parsed.ec != std::errc()) break;
      found.push_back(child);
      at = parsed.ptr + 1;
    }
  }
}

}  // namespace

std::vector<pid_t> ProcessTree(pid_t root) {
  std::vector<pid_t> found{root};
  for (size_t i = 0; i < found.size(); ++i) AddChildren(found[i], found);
  return found;
}

uint64_t ResidentBytes(const std::vector<pid_t>& processes) {
  static const auto kPage = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t pages = 0;
  for (const pid_t pid : processes) {
    std::ifstream file(fmt::format("/proc/{}/statm", pid));
    uint64_t total = 0;
    uint64_t resident = 0;
    if (file >> total >> resident) pages += resident;
  }
  return pages * kPage;
}

void BeFirstVictims(const std::vector<pid_t>& processes) {
  for (const pid_t pid : processes) {
    const std::string path = fmt::format("/proc/{}/oom_score_adj", pid);
    const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (fd) WriteAll(fd.get(), "1000");
  }
}

}  // namespace cq
