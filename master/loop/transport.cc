#include "master/loop/transport.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <random>

#include "cq/error.h"
#include "protocol/codec.h"
#include "protocol/limits.h"
#include "protocol/zmq_wait.h"

namespace cq {
namespace {

// An automatic routing id: a zero byte and a 32-bit number.
constexpr size_t kRoutingIdBytes = 5;

ConnectionId ConnectionOf(const zmq::message_t& id) {
  const auto* bytes = id.data<uint8_t>();
  ConnectionId connection = 0;
  for (size_t i = 1; i < kRoutingIdBytes; ++i) connection = connection << 8 | bytes[i];
  return connection;
}

std::array<uint8_t, kRoutingIdBytes> RoutingIdOf(ConnectionId connection) {
  std::array<uint8_t, kRoutingIdBytes> id{};
  for (size_t i = 1; i < kRoutingIdBytes; ++i) {
    id[i] = static_cast<uint8_t>(connection >> (8 * (kRoutingIdBytes - 1 - i)));
  }
  return id;
}

/// An IPv4 address of this machine, and of which interface it is.
struct Address {
  std::string interface;
  std::string text;
  bool loopback = false;
};

std::vector<Address> AllAddresses() {
  std::vector<Address> addresses;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return addresses;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    if ((entry->ifa_flags & IFF_UP) == 0) continue;
    const auto* in = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
    std::array<char, INET_ADDRSTRLEN> text{};
    inet_ntop(AF_INET, &in->sin_addr, text.data(), text.size());
    addresses.push_back({entry->ifa_name, text.data(), (entry->ifa_flags & IFF_LOOPBACK) != 0});
  }
  freeifaddrs(list);
  return addresses;
}

// Those of this interface; without one, all but loopback and link-local ones.
std::vector<std::string> Addresses(const std::string& interface) {
  std::vector<std::string> addresses;
  for (const Address& address : AllAddresses()) {
    const bool far = !address.loopback && !address.text.starts_with("169.254.");
    const bool named = address.interface == interface || address.text == interface;
    if (interface.empty() ? far : named) addresses.push_back(address.text);
  }
  return addresses;
}

}  // namespace

Transport::Transport(KeyPair server, std::string client_public)
    : context_(1),
      zap_(context_, zmq::socket_type::rep),
      router_(context_, zmq::socket_type::router),
      server_(std::move(server)),
      client_public_(std::move(client_public)) {
  context_.set(zmq::ctxopt::blocky, 0);
  zap_.bind("inproc://zeromq.zap.01");
  router_.set(zmq::sockopt::linger, 2000);
  router_.set(zmq::sockopt::router_mandatory, 1);
  router_.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(kFrameBytesMax));
  router_.set(zmq::sockopt::handshake_ivl, 10'000);
  // A thousand workers may come at once; one that finds no room tries again a second later.
  router_.set(zmq::sockopt::backlog, 4096);
  // Workers send ZMTP heartbeats. Here each would set and cancel timers, which libzmq looks for in
  // a list: with 10,000 workers that is all that its thread does. The kernel finds dead peers
  // instead.
  router_.set(zmq::sockopt::tcp_keepalive, 1);
  router_.set(zmq::sockopt::tcp_keepalive_idle, 30);
  router_.set(zmq::sockopt::tcp_keepalive_intvl, 10);
  router_.set(zmq::sockopt::tcp_keepalive_cnt, 3);
  // What is in flight is bounded by what workers take (credit), not by dropping frames.
  router_.set(zmq::sockopt::sndhwm, 0);
  router_.set(zmq::sockopt::rcvhwm, 0);
}

std::string Transport::BindLocal(const std::string& directory) {
#if defined(CQ_BENCH_WITHOUT_LOCAL) || defined(CQ_BENCH_WITHOUT_CURVE)
  return {};
#endif
  // An earlier master's is as good if it is as private.
  const bool made = mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST;
  struct stat status {};
  const bool entered_by_us = made && lstat(directory.c_str(), &status) == 0 &&
                             S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
                             (status.st_mode & 077) == 0;
  if (!entered_by_us) return {};
  auto local = std::make_unique<LocalSocket>(directory);
  std::string address = "ipc://" + local->path();
  try {
    router_.bind(address);
  } catch (const zmq::error_t&) {
    return {};
  }
  local_ = std::move(local);
  return address;
}

Transport::LocalSocket::~LocalSocket() {
  unlink(path().c_str());
  rmdir(directory.c_str());
}

void Transport::Require(const Where& where) {
  if (where.interface.empty() || !Addresses(where.interface).empty()) return;
  std::string all;
  for (const Address& address : AllAddresses()) {
    all += fmt::format("{}{} ({})", all.empty() ? "" : ", ", address.interface, address.text);
  }
  throw UsageError(fmt::format(
      "--interface {}: there is no such network here with an IPv4 address; there are: {}",
      where.interface, all));
}

std::vector<std::string> Transport::Bind(Reach reach, int preferred_port, const Where& where) {
#ifndef CQ_BENCH_WITHOUT_CURVE
  // For what is bound from now on.
  router_.set(zmq::sockopt::zap_domain, "cq");
  router_.set(zmq::sockopt::curve_server, 1);
  router_.set(zmq::sockopt::curve_secretkey, server_.secret_key);
#endif
  std::vector<std::string> hosts;
  if (reach != Reach::kAll) hosts.emplace_back("127.0.0.1");
  if (reach != Reach::kLoopback) {
    for (std::string& address : Addresses(where.interface)) {
      if (hosts.empty() || address != hosts[0]) hosts.push_back(std::move(address));
    }
  }
  if (hosts.empty()) hosts.emplace_back("127.0.0.1");
  const bool all = reach != Reach::kLoopback && where.interface.empty();
  const std::vector<std::string> bound = all ? std::vector<std::string>{"*"} : hosts;
  std::random_device random;
  const int ports = where.last_port - where.first_port + 1;
  const bool preferred = preferred_port >= where.first_port && preferred_port <= where.last_port;
  const int start = preferred ? preferred_port - where.first_port
                              : static_cast<int>(random() % static_cast<unsigned>(ports));
  for (int i = 0; i < ports; ++i) {
    const int port = where.first_port + (start + i) % ports;
    if (!BindAll(bound, port)) continue;
    for (std::string& host : hosts) host = fmt::format("tcp://{}:{}", host, port);
    return hosts;
  }
  throw Error(fmt::format("no free port between {} and {}", where.first_port, where.last_port));
}

// All of them, or none: false if another has the port on one.
bool Transport::BindAll(const std::vector<std::string>& hosts, int port) {
  std::vector<std::string> bound;
  for (const std::string& host : hosts) {
    const std::string address = fmt::format("tcp://{}:{}", host, port);
    try {
      router_.bind(address);
      bound.push_back(address);
    } catch (const zmq::error_t& error) {
      for (const std::string& one : bound) router_.unbind(one);
      if (error.num() == EADDRINUSE) return false;
      throw Error(fmt::format("cannot listen on {}: {}", address, error.what()));
    }
  }
  return true;
}

bool Transport::Send(ConnectionId to, SessionId session, const ToWorker& message) {
  Envelope envelope{session, 0};
  if (session != 0 && !std::holds_alternative<Who>(message)) {
    Outbound& outbound = outbound_[to];
    if (outbound.session != session) outbound = {session, 0};
    envelope.sequence = ++outbound.sent;
  }
  const auto id = RoutingIdOf(to);
  const std::string frame = Encode(envelope, message);
  try {
    router_.send(zmq::buffer(id), zmq::send_flags::sndmore);
    router_.send(zmq::buffer(frame), zmq::send_flags::dontwait);
  } catch (const zmq::error_t& error) {
    if (error.num() != EHOSTUNREACH) throw;
    outbound_.erase(to);
    return false;
  }
  return true;
}

std::optional<Transport::Incoming> Transport::Receive() {
  for (;;) {
    zmq::message_t id;
    if (!router_.recv(id, zmq::recv_flags::dontwait)) return std::nullopt;
    Incoming incoming;
    bool good = id.size() == kRoutingIdBytes && id.data<uint8_t>()[0] == 0;
    if (good) incoming.from = ConnectionOf(id);
    bool more = id.more();
    for (size_t part = 0; more; ++part) {
      zmq::message_t message;
      if (!router_.recv(message)) break;
      more = message.more();
      if (part == 0) incoming.frame.assign(message.data<char>(), message.size());
      // Our frames are single; what comes in several parts is no worker.
      good = good && part == 0;
    }
    if (good) return incoming;
  }
}

bool Transport::AnswerZap() {
  std::vector<std::string> request;
  for (bool more = true; more;) {
    zmq::message_t part;
    if (!zap_.recv(part, zmq::recv_flags::dontwait)) return false;
    request.push_back(part.to_string());
    more = part.more();
  }
  // version, request id, domain, address, identity, mechanism, credentials
  const bool complete = request.size() == 7 && request[5] == "CURVE" && request[6].size() == 32;
  std::array<char, 41> key{};
  if (complete) {
    zmq_z85_encode(key.data(), reinterpret_cast<const uint8_t*>(request[6].data()), 32);
  }
  const bool admitted = complete && client_public_ == key.data();
  const std::vector<std::string> reply = {"1.0",
                                          request.size() > 1 ? request[1] : "",
                                          admitted ? "200" : "400",
                                          admitted ? "OK" : "unknown key",
                                          "",
                                          ""};
  for (size_t i = 0; i < reply.size(); ++i) {
    zap_.send(zmq::buffer(reply[i]),
              i + 1 < reply.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
  return true;
}

void Transport::Close() {
  router_.close();
  zap_.close();
  context_.close();
}

std::vector<bool> Transport::Wait(const std::vector<int>& fds, std::chrono::milliseconds timeout) {
  std::vector<int> all = fds;
  all.push_back(zap_.get(zmq::sockopt::fd));
  std::vector<bool> readable = WaitForAny({&router_}, all, timeout);
  // Its descriptor tells what comes after all before was answered.
  if (readable.back()) zap_asked_ = true;
  readable.pop_back();
  while (zap_asked_) zap_asked_ = AnswerZap();
  return readable;
}

}  // namespace cq
