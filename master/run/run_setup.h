#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cq/run.h"
#include "master/core/recovered.h"
#include "master/journal/database.h"
#include "master/loop/transport.h"
#include "master/pools/workforce.h"
#include "master/run/run_directory.h"
#include "master/run/run_keys.h"

// What every master does before its loop, wherever its tasks come from.
namespace cq {

/// What the master has open besides its workers; of each a connection, and what a local worker's
/// guardian takes.
inline constexpr uint64_t kOwnDescriptors = 128;
inline constexpr uint64_t kDescriptorsOfWorker = 4;

/// Not 0. Throws Error.
uint64_t Random64();

/// Makes room for the descriptors of so many workers. Throws UsageError where there is none.
void MakeRoom(const std::vector<PoolShare>& pools);

/// Binds, and writes the keys and the address to where workers find them: the same keys and, if it
/// can be had, the same port as an earlier master's, so that workers come back by themselves.
Transport Listen(const std::vector<PoolShare>& pools, RunDirectory& directory, RunKeys& keys,
                 RunObserver& observer, std::string& address);

/// What earlier masters submitted is taken over; their workers are waited for as long as they can
/// live.
void TakeOver(const std::vector<PoolShare>& pools, Database& journal, Recovered& recovered);

}  // namespace cq
