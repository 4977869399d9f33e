#include "worker/machine.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/cpus.h"

namespace cq {
namespace {

constexpr const char* kGpu = "gpu";

std::vector<std::string> Numbered(uint64_t count) {
  std::vector<std::string> names;
  for (uint64_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

// The driver lists what there is.
uint64_t InstalledGpus() {
  uint64_t count = 0;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", failed)) {
    count += entry.is_directory(failed) ? 1 : 0;
  }
  return count;
}

// Numbers and other names alike; a scheduler that has given none says so, too.
std::vector<std::string> VisibleGpus(const char* visible) {
  std::vector<std::string> names;
  std::istringstream list(visible);
  for (std::string name; std::getline(list, name, ',');) {
    if (name.empty() || name == "-1" || name == "NoDevFiles") break;
    names.push_back(name);
  }
  return names;
}

}  // namespace

Machine FindMachine(const WorkerOptions& options, const ConnectionFile& file) {
  Machine machine;
  const bool only = options.pool.empty() && file.pools.size() == 1;
  const auto pool = only ? file.pools.begin() : file.pools.find(options.pool);
  if (pool != file.pools.end()) machine.has = pool->second;
  Capacity& has = machine.has;
  if (!has.cpus) has.cpus = UsableCpus();
  if (!has.memory_bytes) has.memory_bytes = UsableMemory();
  const auto declared = has.needs.find(kGpu);
  const char* visible = getenv("CUDA_VISIBLE_DEVICES");
  if (visible != nullptr) {
    machine.gpus = VisibleGpus(visible);
  } else if (options.local) {
    machine.gpus = Numbered(InstalledGpus());
  }
  // Where nothing can be seen the user is believed.
  if (declared != has.needs.end() && visible == nullptr && machine.gpus.empty()) {
    machine.gpus = Numbered(declared->second);
  }
  const uint64_t found = machine.gpus.size();
  const uint64_t gpus = declared == has.needs.end() ? found : std::min(declared->second, found);
  machine.gpus.resize(gpus);
  has.needs.erase(kGpu);
  if (gpus > 0) has.needs[kGpu] = gpus;
  return machine;
}

}  // namespace cq
