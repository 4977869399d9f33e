#include "base/gpus.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace cq {

std::vector<std::string> VisibleGpus(bool all) {
  std::vector<std::string> names;
  if (const char* visible = getenv("CUDA_VISIBLE_DEVICES")) {
    std::istringstream list(visible);
    // A scheduler that has given none says so, too.
    for (std::string name; std::getline(list, name, ',');) {
      if (name.empty() || name == "-1" || name == "NoDevFiles") break;
      names.push_back(name);
    }
    return names;
  }
  std::error_code failed;
  // The driver lists what there is.
  const std::filesystem::directory_iterator installed("/proc/driver/nvidia/gpus", failed);
  for (auto gpu = begin(installed); all && gpu != end(installed); gpu.increment(failed)) {
    names.push_back(std::to_string(names.size()));
  }
  return names;
}

}  // namespace cq
