#include "protocol/outcome_name.h"

namespace cq {

const char* OutcomeName(int outcome) {
  constexpr const char* kNames[] = {"ok",     "error",     "crashed", "timeout",
                                    "memory", "cancelled", "skipped"};
  return outcome >= 0 && outcome < 7 ? kNames[outcome] : "?";
}

}  // namespace cq
