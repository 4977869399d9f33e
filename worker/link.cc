#include "worker/link.h"

#include <utility>

#include "protocol/limits.h"
#include "protocol/zmq_wait.h"

namespace cq {

Link::Link() : context_(1) { context_.set(zmq::ctxopt::blocky, 0); }

void Link::Close() { lines_.clear(); }

void Link::Connect(const ConnectionFile& file, bool local) {
  Close();
  local = local && IsOurs(file.local);
  for (const std::string& endpoint : local ? std::vector{file.local} : file.endpoints) {
    zmq::socket_t socket(context_, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 2000);
    socket.set(zmq::sockopt::sndhwm, 0);
    socket.set(zmq::sockopt::rcvhwm, 0);
    socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(kFrameBytesMax));
    socket.set(zmq::sockopt::handshake_ivl, 10'000);
    socket.set(zmq::sockopt::heartbeat_ivl, 10'000);
    socket.set(zmq::sockopt::heartbeat_timeout, 30'000);
    socket.set(zmq::sockopt::reconnect_ivl, 100);
    socket.set(zmq::sockopt::reconnect_ivl_max, 5'000);
    socket.set(zmq::sockopt::ipv6, 1);
#ifndef CQ_BENCH_WITHOUT_CURVE
    if (!local) {
      socket.set(zmq::sockopt::curve_serverkey, file.server_public);
      socket.set(zmq::sockopt::curve_publickey, file.client.public_key);
      socket.set(zmq::sockopt::curve_secretkey, file.client.secret_key);
    }
#endif
    zmq::socket_t monitor = Watch(socket);
    socket.connect(endpoint);
    lines_.emplace_back(Line(std::move(socket), std::move(monitor)));
  }
}

// libzmq hides that a connection is gone, and tries the same address for ever.
zmq::socket_t Link::Watch(zmq::socket_t& socket) {
  const std::string address = "inproc://watch-" + std::to_string(++watched_);
  zmq_socket_monitor(socket.handle(), address.c_str(), ZMQ_EVENT_DISCONNECTED);
  zmq::socket_t monitor(context_, zmq::socket_type::pair);
  monitor.set(zmq::sockopt::linger, 0);
  monitor.connect(address);
  return monitor;
}

bool Link::Broken() {
  bool broken = false;
  for (auto& line : lines_) {
    if (!line || !std::exchange(line->told, false)) continue;
    zmq::message_t part;
    while (line->monitor.recv(part, zmq::recv_flags::dontwait)) broken = true;
  }
  return broken;
}

void Link::Send(Envelope envelope, const std::string& frame) {
  for (auto& line : lines_) {
    if (!line || (envelope.session != 0 && line->offered != envelope.session)) continue;
    line->socket.send(zmq::buffer(frame), zmq::send_flags::dontwait);
  }
}

std::optional<Link::Incoming> Link::Receive() {
  for (size_t i = 0; i < lines_.size(); ++i) {
    if (!lines_[i]) continue;
    zmq::message_t message;
    if (lines_[i]->socket.recv(message, zmq::recv_flags::dontwait)) {
      return Incoming{message.to_string(), i};
    }
  }
  return std::nullopt;
}

void Link::Offered(size_t socket, SessionId session) { lines_[socket]->offered = session; }

void Link::Welcomed(size_t socket) {
  for (size_t i = 0; i < lines_.size(); ++i) {
    if (i != socket) lines_[i].reset();
  }
}

std::vector<bool> Link::Wait(const std::vector<int>& fds, std::chrono::milliseconds timeout) {
  std::vector<zmq::socket_t*> sockets;
  std::vector<int> all = fds;
  for (auto& line : lines_) {
    if (!line) continue;
    sockets.push_back(&line->socket);
    all.push_back(line->monitor.get(zmq::sockopt::fd));
  }
  std::vector<bool> readable = WaitForAny(sockets, all, timeout);
  size_t at = fds.size();
  for (auto& line : lines_) {
    if (line && readable[at++]) line->told = true;
  }
  readable.resize(fds.size());
  return readable;
}

}  // namespace cq
