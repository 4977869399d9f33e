#include "base/probe.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "base/files.h"

namespace cq {

std::string WhyNoAnswer(const std::string& address) {
  constexpr int kPatienceMs = 3000;
  const size_t colon = address.rfind(':');
  if (!address.starts_with("tcp://") || colon <= 6) return "no address";
  const std::string host = address.substr(6, colon - 6);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int unknown = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (unknown != 0) return gai_strerror(unknown);
  const Fd socket_fd(socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int started = connect(socket_fd.get(), found->ai_addr, found->ai_addrlen);
  int error = started == 0 ? 0 : errno;
  freeaddrinfo(found);
  if (error != EINPROGRESS) return error == 0 ? "" : strerror(error);
  pollfd ready{socket_fd.get(), POLLOUT, 0};
  if (poll(&ready, 1, kPatienceMs) != 1)
    return fmt::format("no answer in {} s", kPatienceMs / 1000);
  socklen_t size = sizeof error;
  if (getsockopt(socket_fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  return error == 0 ? "" : strerror(error);
}

}  // namespace cq
