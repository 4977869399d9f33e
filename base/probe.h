#pragma once

#include <string>

namespace cq {

/// Why nobody answers at tcp://HOST:PORT, in a few words; empty: somebody listens there. Takes 3 s
/// at most, and what it takes to look the name up.
std::string WhyNoAnswer(const std::string& address);

}  // namespace cq
