#pragma once

#include <string>
#include <variant>
#include <vector>

#include "protocol/messages.h"

// Results that a worker could not hand to any master, as files in the run directory: one frame
// `results` of PROTOCOL.md each, so that a master that comes later reads what it would have heard.
namespace cq {

/// Writes `results` to a new file in `directory`, atomically and durably. Returns its path. Throws
/// Error.
std::string WriteSpoolFile(const std::string& directory, const WorkerId& worker,
                           const Results& results);

/// The files in `directory` that are whole, in the order of their names; none if it cannot be read.
std::vector<std::string> SpoolFiles(const std::string& directory);

/// What a file holds, or why it cannot be used.
std::variant<Results, std::string> ReadSpoolFile(const std::string& path);

}  // namespace cq
