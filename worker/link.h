#pragma once

#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "protocol/connection_file.h"
#include "protocol/messages.h"

namespace cq {

/// The worker's side of the transport: one DEALER socket for each address of the master, until one
/// of them has completed a handshake and the others are closed (one socket with two addresses would
/// send half of its messages to a dead one).
class Link {
 public:
  Link();

  /// Closes what is open and connects anew to every address; or to the one on this machine alone,
  /// if `local` and it can be trusted.
  void Connect(const ConnectionFile& file, bool local);
  void Close();

  /// True once after a connection was closed by the other side, or broke.
  bool Broken();

  /// Session 0 goes to every address; a session to the one that offered it.
  void Send(Envelope envelope, const std::string& frame);
  /// The next frame that has arrived, if any. The caller tells what it was with Offered and
  /// Welcomed.
  struct Incoming {
    std::string frame;
    size_t socket = 0;
  };
  std::optional<Incoming> Receive();
  void Offered(size_t socket, SessionId session);
  /// The handshake of this session is complete: the other sockets are closed.
  void Welcomed(size_t socket);

  /// Waits for a frame, for one of `fds` to be readable, or for the time. Returns which of `fds`
  /// are.
  std::vector<bool> Wait(const std::vector<int>& fds, std::chrono::milliseconds timeout);

 private:
  struct Line {
    Line(zmq::socket_t s, zmq::socket_t m) : socket(std::move(s)), monitor(std::move(m)) {}
    Line(Line&&) = default;
    /// libzmq's thread would wait for ever for a monitor that has gone before what it watches.
    ~Line() {
      if (socket.handle() != nullptr) zmq_socket_monitor(socket.handle(), nullptr, 0);
    }

    zmq::socket_t socket;
    /// Tells what becomes of the socket's connections; none where it cannot be watched.
    zmq::socket_t monitor;
    /// It may have something to tell: its descriptor tells only what comes after all before was
    /// received.
    bool told = true;
    SessionId offered = 0;
  };
  zmq::socket_t Watch(zmq::socket_t& socket);
  zmq::context_t context_;
  std::vector<std::optional<Line>> lines_;
  uint64_t watched_ = 0;
};

}  // namespace cq
