#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace cq {

void AssertionFailed(const char* file, int line, const char* condition, const std::string& what) {
  fmt::print(
      stderr,
      "cq: a fault of cq's own at {}:{}: {} ({}): please report it; 'cq resume' goes on with "
      "the run\n",
      file, line, what, condition);
  std::abort();
}

}  // namespace cq
