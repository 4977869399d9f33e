#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "master/journal/database.h"
#include "protocol/messages.h"
#include "protocol/pool_file.h"

namespace cq {

/// Asks the live master of a run, as its connection file says where it is. Returns the whole
/// answer. Throws Error if nobody answers within 10 s, or with what the master says is wrong.
/// `text`: what it is to be told.
std::string AskMaster(const std::string& run_dir, RequestKind kind, const std::string& text = {});

/// What a warm pool answers; nothing if it does not within 10 s.
std::optional<OrderedJson> AskPool(const PoolFile& pool, const OrderedJson& question);

/// The journal of a run, to be read. Where a live master keeps it to itself, since its file system
/// shares no memory, the master is asked for a copy. Throws Error.
Database OpenToRead(const std::string& run_dir, bool tell_loss = true);

}  // namespace cq
