// A user's library, built several times: SPACE::NAME is its function.
#include <cq/function.h>

// With NAME replaced by what it stands for.
#define REGISTER(function) CQ_FUNCTION(function)

namespace SPACE {

// Exported also where nothing else is.
__attribute__((visibility("default"))) std::string NAME(int64_t x) {
  return cq::constant<std::string>("greeting") + " from " + WHO + " to " + std::to_string(x) +
         " in task " + std::to_string(cq::task().task);
}
REGISTER(NAME);

}  // namespace SPACE
