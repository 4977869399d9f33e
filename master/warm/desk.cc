#include "master/warm/desk.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "cq/error.h"

namespace cq {
namespace {

constexpr std::chrono::seconds kPingEvery{5};
constexpr std::chrono::seconds kMuteAfter{30};
constexpr std::chrono::seconds kFullFor{5};

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

// Without a descriptor for whoever knocks the knocking would wake us again and again.
void Desk::Accept(const Visitor& visitor) {
  const auto now = Clock::now();
  if (full_until_ && now < *full_until_) return;
  if (std::exchange(full_until_, std::nullopt)) Watch(listener_.get(), 0);
  errno = 0;
  while (auto channel = AcceptRun(listener_.get())) {
    const BorrowerId id = ++last_;
    const auto made = connections_.emplace(id, Connection{std::move(*channel)}).first;
    Watch(made->second.channel.fd(), id);
  }
  if (errno != EMFILE && errno != ENFILE) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr);
  full_until_ = now + kFullFor;
  visitor.trouble(fmt::format("no run is let in for a while: {}", strerror(errno)));
}

void Desk::Read(const Visitor& visitor) {
  Accept(visitor);
  const auto now = Clock::now();
  const bool ping = now - pinged_ >= kPingEvery;
  if (ping) pinged_ = now;
  std::vector<BorrowerId> gone;
  for (auto& [id, connection] : connections_) {
    while (const auto message = connection.channel.Receive()) {
      connection.heard = now;
      connection.borrows = connection.borrows || (*message)["say"] == "borrow";
      visitor.heard(id, *message);
    }
    if (ping) connection.channel.Send({{"say", "ping"}});
    connection.channel.Flush();
    const bool mute = now - connection.heard > kMuteAfter;
    if (connection.channel.broken() || (mute && !connection.borrows)) {
      gone.push_back(id);
      continue;
    }
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
