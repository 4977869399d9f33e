#include "protocol/pool_channel.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "cq/error.h"

namespace cq {
namespace {

constexpr size_t kMessageMax = size_t{8} << 20;

// In the abstract namespace: it is gone with its process, and depends on no file system.
socklen_t AddressOf(const std::string& name, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  const size_t size = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
}

Fd Socket() { return Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

// Names in that namespace can be read, and taken, by everybody.
bool IsOwnUser(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

}  // namespace

void PoolChannel::Send(const OrderedJson& message) {
  out_ += ShownJson(message) + "\n";
  Flush();
}

void PoolChannel::Flush() {
  while (!out_.empty() && !unheard_) {
    const ssize_t n = send(fd(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    // What the other side said before it left is still to be read.
    if (n < 0) unheard_ = true;
    if (n > 0) out_.erase(0, static_cast<size_t>(n));
  }
  if (unheard_) out_.clear();
  broken_ = broken_ || out_.size() > kMessageMax;
}

std::optional<OrderedJson> PoolChannel::Receive() {
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const size_t end = in_.find('\n');
    if (end != std::string::npos) {
      OrderedJson message = TryParseJson(std::string_view(in_).substr(0, end));
      in_.erase(0, end + 1);
      if (message.is_object() && message.contains("say") && message["say"].is_string()) {
        return message;
      }
      broken_ = true;
    }
    if (broken_) return std::nullopt;
    const ssize_t n = recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    if (n > 0) in_.append(buffer.data(), static_cast<size_t>(n));
    broken_ = n <= 0 || in_.size() > kMessageMax;
  }
}

Fd ListenForRuns(const std::string& name) {
  sockaddr_un address{};
  const socklen_t size = AddressOf(name, address);
  Fd fd = Socket();
  if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(fd.get(), 128) != 0) {
    throw Error(fmt::format("cannot listen for runs: {}", strerror(errno)));
  }
  return fd;
}

std::optional<PoolChannel> AcceptRun(int listener) {
  for (;;) {
    Fd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return std::nullopt;
    // Strangers are sent away.
    if (IsOwnUser(fd.get())) return PoolChannel(std::move(fd));
  }
}

std::optional<PoolChannel> ConnectToPool(const std::string& name) {
  sockaddr_un address{};
  const socklen_t size = AddressOf(name, address);
  Fd fd = Socket();
  if (!fd || connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      !IsOwnUser(fd.get())) {
    return std::nullopt;
  }
  return PoolChannel(std::move(fd));
}

}  // namespace cq
