#pragma once

#include <string>
#include <vector>

namespace cq {

/// The GPUs that this process may use, by their names in CUDA_VISIBLE_DEVICES: numbers or others.
/// Where that is not set they are all of the machine's if `all`, else none.
std::vector<std::string> VisibleGpus(bool all);

}  // namespace cq
