#include "protocol/seeds.h"

// All of it is in the header.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace cq {
namespace {

/// R takes no larger one.
constexpr uint64_t kSeedMax = 2'147'483'647;

}  // namespace

uint64_t SeedOfTask(uint64_t base, TaskId task) {
  return XXH64(&task, sizeof task, base) % kSeedMax + 1;
}

uint64_t SeedOfKey(uint64_t base, const RowHash& key) {
  return XXH64(&key, sizeof key, base) % kSeedMax + 1;
}

uint64_t SeedOfValues(uint64_t base, const std::vector<std::string_view>& values) {
  uint64_t hash = base;
  for (const std::string_view value : values) hash = XXH64(value.data(), value.size(), hash);
  return hash % kSeedMax + 1;
}

}  // namespace cq
