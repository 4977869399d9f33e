#include "base/cpus.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace cq {
namespace {

// The path of this process's cgroup for a v1 controller, or of the one v2 hierarchy (empty name).
std::string CgroupPath(const std::string& controller) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    if (names == "," + controller + "," ||
        names.find("," + controller + ",") != std::string::npos) {
      return line.substr(second + 1);
    }
  }
  return "/";
}

double Quota() {
  std::ifstream v2("/sys/fs/cgroup" + CgroupPath("") + "/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) return std::stod(quota) / period;
  const std::string v1 = "/sys/fs/cgroup/cpu" + CgroupPath("cpu");
  std::ifstream quota_file(v1 + "/cpu.cfs_quota_us");
  std::ifstream period_file(v1 + "/cpu.cfs_period_us");
  double micros = 0;
  if (quota_file >> micros && period_file >> period && micros > 0 && period > 0) {
    return micros / period;
  }
  return 1e9;
}

// The least limit of the cgroup at this path and those above it.
uint64_t LeastLimit(const std::string& root, std::string path, const char* file) {
  uint64_t least = UINT64_MAX;
  for (;;) {
    std::ifstream limit(root + path + "/" + file);
    uint64_t bytes = 0;
    // "max" is no number.
    if (limit >> bytes) least = std::min(least, bytes);
    if (path.empty() || path == "/") return least;
    path.erase(path.rfind('/'));
  }
}

}  // namespace

uint64_t UsableMemory() {
  const auto machine =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return std::min(
      {machine, LeastLimit("/sys/fs/cgroup", CgroupPath(""), "memory.max"),
       LeastLimit("/sys/fs/cgroup/memory", CgroupPath("memory"), "memory.limit_in_bytes")});
}

unsigned UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const double usable = std::min<double>(count, std::ceil(Quota()));
  return static_cast<unsigned>(std::max(1.0, usable));
}

}  // namespace cq
