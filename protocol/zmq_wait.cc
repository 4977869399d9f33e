#include "protocol/zmq_wait.h"

#include <poll.h>

#include <algorithm>
#include <climits>

namespace cq {

std::vector<bool> WaitForAny(const std::vector<zmq::socket_t*>& sockets,
                             const std::vector<int>& fds, std::chrono::milliseconds timeout) {
  std::vector<pollfd> items;
  items.reserve(fds.size() + sockets.size());
  for (const int fd : fds) items.push_back({fd, POLLIN, 0});
  for (zmq::socket_t* socket : sockets) {
    // The descriptor tells only what comes after this question.
    if ((socket->get(zmq::sockopt::events) & ZMQ_POLLIN) != 0) timeout = {};
    items.push_back({socket->get(zmq::sockopt::fd), POLLIN, 0});
  }
  const auto wait = std::clamp<int64_t>(timeout.count(), -1, INT_MAX);
  poll(items.data(), items.size(), static_cast<int>(wait));
  std::vector<bool> readable;
  for (size_t i = 0; i < fds.size(); ++i) readable.push_back(items[i].revents != 0);
  return readable;
}

}  // namespace cq
