#include "protocol/row_hash.h"

// All of it is in the header.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace cq {

RowHash HashOf(const std::vector<std::string>& fields) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for (const std::string& field : fields) {
    const uint64_t size = field.size();
    XXH3_128bits_update(&state, &size, sizeof size);
    XXH3_128bits_update(&state, field.data(), field.size());
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(&state);
  return {hash.high64, hash.low64};
}

}  // namespace cq
