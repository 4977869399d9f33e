#pragma once

#include <chrono>
#include <vector>
#include <zmq.hpp>

namespace cq {

/// Waits until a frame may have come at one of `sockets`, one of `fds` is readable (a negative one
/// never is), a signal came, or the time is over. Which of `fds` are readable. As zmq::poll, but
/// that asks each socket before it waits and after, with two system calls each time.
std::vector<bool> WaitForAny(const std::vector<zmq::socket_t*>& sockets,
                             const std::vector<int>& fds, std::chrono::milliseconds timeout);

}  // namespace cq
