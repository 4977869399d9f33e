#include "master/warm/desk.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <utility>

#include "cq/error.h"

namespace cq {
namespace {

constexpr std::chrono::seconds kPingEvery{5};
constexpr std::chrono::seconds kMuteAfter{30};

std::string RandomName() {
  std::array<uint64_t, 2> bits{};
  if (getrandom(bits.data(), sizeof bits, 0) != sizeof bits) {
    throw Error("the system gives no random numbers");
  }
  return fmt::format("cq-pool-{:016x}{:016x}", bits[0], bits[1]);
}

}  // namespace

Desk::Desk()
    : name_(RandomName()), listener_(ListenForRuns(name_)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw Error("the system has no descriptor left for a pool");
  Watch(listener_.get(), 0);
}

void Desk::Watch(int fd, BorrowerId id) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void Desk::Accept() {
  while (auto channel = AcceptRun(listener_.get())) {
    const BorrowerId id = ++last_;
    const auto made = connections_.emplace(id, Connection{std::move(*channel)}).first;
    Watch(made->second.channel.fd(), id);
  }
}

void Desk::Read(const Visitor& visitor) {
  Accept();
  const auto now = Clock::now();
  const bool ping = now - pinged_ >= kPingEvery;
  if (ping) pinged_ = now;
  std::vector<BorrowerId> gone;
  for (auto& [id, connection] : connections_) {
    while (const auto message = connection.channel.Receive()) {
      connection.heard = now;
      visitor.heard(id, *message);
    }
    if (ping) connection.channel.Send({{"say", "ping"}});
    connection.channel.Flush();
    if (connection.channel.broken()) {
      gone.push_back(id);
      continue;
    }
    const bool mute = now - connection.heard > kMuteAfter;
    if (std::exchange(connection.mute, mute) != mute) visitor.mute(id, mute);
  }
  for (const BorrowerId id : gone) {
    connections_.erase(id);
    visitor.gone(id);
  }
}

void Desk::Say(BorrowerId to, const OrderedJson& message) {
  const auto found = connections_.find(to);
  if (found != connections_.end()) found->second.channel.Send(message);
}

}  // namespace cq
