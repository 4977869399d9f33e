#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cq/run_observer.h"
#include "master/core/actions.h"
#include "master/loop/transport.h"

namespace cq {

/// The transport, and what of it can be read: who speaks another version, or cannot be understood,
/// is told so, and so is the user. One thread.
class WorkerPort {
 public:
  WorkerPort(Transport transport, RunObserver& observer)
      : transport_(std::move(transport)), observer_(observer) {}

  struct Incoming {
    ConnectionId from = 0;
    Envelope envelope;
    FromWorker message;
  };
  /// The next message that has arrived and can be read, of the next `frames` frames, which are
  /// counted down.
  std::optional<Incoming> Receive(int& frames);
  /// False when nobody is at that connection any more.
  bool Send(cq::Send& send);
  bool Send(ConnectionId to, SessionId session, const ToWorker& message) {
    return transport_.Send(to, session, message);
  }
  std::vector<bool> Wait(const std::vector<int>& fds, std::chrono::milliseconds timeout) {
    return transport_.Wait(fds, timeout);
  }
  void Close() { transport_.Close(); }

  /// Messages that could not be read.
  uint64_t unreadable() const { return unreadable_; }

 private:
  void OnUnreadable(ConnectionId from, const std::string& reason);

  Transport transport_;
  RunObserver& observer_;
  uint64_t unreadable_ = 0;
  std::map<ConnectionId, uint64_t> unreadable_of_;
};

}  // namespace cq
