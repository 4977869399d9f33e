#include "worker/machine.h"

#include <algorithm>
#include <cstdlib>

#include "base/cpus.h"
#include "base/gpus.h"

namespace cq {
namespace {

constexpr const char* kGpu = "gpu";

std::vector<std::string> Numbered(uint64_t count) {
  std::vector<std::string> names;
  for (uint64_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
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
  machine.gpus = VisibleGpus(options.local);
  // Where nothing can be seen the user is believed.
  const bool unknown = machine.gpus.empty() && getenv("CUDA_VISIBLE_DEVICES") == nullptr;
  if (declared != has.needs.end() && unknown) machine.gpus = Numbered(declared->second);
  const uint64_t found = machine.gpus.size();
  const uint64_t gpus = declared == has.needs.end() ? found : std::min(declared->second, found);
  machine.gpus.resize(gpus);
  has.needs.erase(kGpu);
  if (gpus > 0) has.needs[kGpu] = gpus;
  return machine;
}

}  // namespace cq
