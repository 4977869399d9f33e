#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cq {

/// What is known of a warm pool by its name: `pool.json` in its directory, which only its user can
/// read.
struct PoolFile {
  std::string name;
  /// Its master: a process on a machine since a boot of it.
  std::string host;
  std::string boot_id;
  uint64_t pid = 0;
  uint64_t start = 0;
  /// Where it is spoken to (pool_channel.h).
  std::string socket;
  std::string scheduler;
  uint64_t workers = 0;
  uint64_t slots = 0;
  /// Its workers are on its own machine and end with it.
  bool same_host = false;

  uint64_t all_slots() const { return workers * slots; }
};

/// The directory of the pool of this name. Throws UsageError for what can be no name.
std::string PoolDirectory(const std::string& name);
/// The names of this user's pools, those included whose masters are gone.
std::vector<std::string> PoolNames();

void WritePoolFile(const PoolFile& file);
/// Throws UsageError where there is no such pool.
PoolFile ReadPoolFile(const std::string& name);
/// Why it cannot be spoken to, for people: its master is gone, or on another machine; empty if it
/// can.
std::string WhyUnreachable(const PoolFile& file);

}  // namespace cq
