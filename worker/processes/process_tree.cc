#include "worker/processes/process_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "base/files.h"
#include "cq/error.h"

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

namespace {

uint64_t ResidentBytes(pid_t pid) {
  static const auto kPage = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::ifstream file(fmt::format("/proc/{}/statm", pid));
  uint64_t total = 0;
  uint64_t resident = 0;
  return file >> total >> resident ? resident * kPage : 0;
}

// Of a page that n processes share, a part in n. None where that cannot be read.
std::optional<uint64_t> ProportionalBytes(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/smaps_rollup", pid));
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Pss:")) continue;
    return std::strtoull(line.c_str() + 4, nullptr, 10) * 1024;
  }
  return std::nullopt;
}

}  // namespace

bool HaveMoreThan(uint64_t bytes, const std::vector<pid_t>& processes) {
  uint64_t resident = 0;
  for (const pid_t pid : processes) resident += ResidentBytes(pid);
  if (resident <= bytes || processes.size() == 1) return resident > bytes;
  uint64_t proportional = 0;
  for (const pid_t pid : processes) {
    const auto own = ProportionalBytes(pid);
    proportional += own ? *own : ResidentBytes(pid);
  }
  return proportional > bytes;
}

void BeFirstVictims(const std::vector<pid_t>& processes) {
  for (const pid_t pid : processes) {
    const std::string path = fmt::format("/proc/{}/oom_score_adj", pid);
    const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (fd) WriteAll(fd.get(), "1000");
  }
}

}  // namespace cq
