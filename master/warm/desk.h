#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "master/core/lender.h"
#include "protocol/pool_channel.h"

namespace cq {

/// Where runs speak to a warm pool: the connections, and whether they are heard. One thread.
class Desk {
 public:
  /// Listens at a random name. Throws Error.
  Desk();

  const std::string& name() const { return name_; }
  /// Readable when there is something to Read.
  int fd() const { return epoll_.get(); }

  struct Visitor {
    std::function<void(BorrowerId, const OrderedJson&)> heard;
    std::function<void(BorrowerId)> gone;
    /// Has been silent for long, or is not any more.
    std::function<void(BorrowerId, bool)> mute;
    /// Something that the pool's user should know.
    std::function<void(const std::string&)> trouble;
  };
  /// Tells what has happened.
  void Read(const Visitor& visitor);
  /// Nothing if it is gone.
  void Say(BorrowerId to, const OrderedJson& message);

 private:
  using Clock = std::chrono::steady_clock;
  struct Connection {
    PoolChannel channel;
    Clock::time_point heard = Clock::now();
    bool mute = false;
    /// It is a run's; others have a question, and go.
    bool borrows = false;
  };
  void Accept(const Visitor& visitor);
  void Watch(int fd, BorrowerId id);

  std::string name_;
  Fd listener_;
  Fd epoll_;
  BorrowerId last_ = 0;
  std::map<BorrowerId, Connection> connections_;
  Clock::time_point pinged_{};
  /// There was no descriptor left; nobody is let in before.
  std::optional<Clock::time_point> full_until_;
};

}  // namespace cq
