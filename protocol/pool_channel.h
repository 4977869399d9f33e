#pragma once

#include <optional>
#include <string>

#include "base/files.h"
#include "base/json.h"

namespace cq {

/// A line of JSON for each message, between a warm pool's master and a program of the same user on
/// the same machine (POOL_PROTOCOL.md). Never waits. One thread.
class PoolChannel {
 public:
  /// Over a connected socket.
  explicit PoolChannel(Fd socket) : socket_(std::move(socket)) {}

  int fd() const { return socket_.get(); }
  /// What cannot be sent at once goes with a later call, or Flush.
  void Send(const OrderedJson& message);
  void Flush();
  /// The next whole message that has arrived; each is an object with a text `say`.
  std::optional<OrderedJson> Receive();
  /// The other side is gone, says what is no message, or does not read.
  bool broken() const { return broken_; }

 private:
  Fd socket_;
  std::string in_;
  std::string out_;
  bool broken_ = false;
  /// Nothing can be sent any more.
  bool unheard_ = false;
};

/// Listens at this name, which no file system has. Throws Error.
Fd ListenForRuns(const std::string& name);
/// The next of those that want to speak; none: nobody does.
std::optional<PoolChannel> AcceptRun(int listener);
/// None if nobody of this user listens there.
std::optional<PoolChannel> ConnectToPool(const std::string& name);

}  // namespace cq
