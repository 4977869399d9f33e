// The master's socket, with a real one at the other end.
#include "master/loop/transport.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "base/files.h"
#include "protocol/codec.h"

namespace cq {
namespace {

constexpr std::chrono::seconds kLong{30};

class TransportTest : public ::testing::Test {
 protected:
  void Connect(zmq::socket_t& socket, const std::string& address, const KeyPair& keys) {
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::curve_serverkey, server_.public_key);
    socket.set(zmq::sockopt::curve_publickey, keys.public_key);
    socket.set(zmq::sockopt::curve_secretkey, keys.secret_key);
    socket.connect(address);
  }
  static void Say(zmq::socket_t& socket, const FromWorker& message) {
    socket.send(zmq::buffer(Encode({1, 1}, message)), zmq::send_flags::none);
  }
  Transport::Incoming Receive() {
    for (;;) {
      if (auto incoming = transport_.Receive()) return std::move(*incoming);
      transport_.Wait({}, kLong);
    }
  }

  const KeyPair server_ = MakeKeyPair();
  const KeyPair client_ = MakeKeyPair();
  zmq::context_t context_;
  Transport transport_{server_, client_.public_key};
};

TEST_F(TransportTest, WhatIsSaidComesAndTheAnswersOfASessionAreNumbered) {
  const auto addresses = transport_.Bind(Transport::Reach::kLoopback, 0, {});
  ASSERT_FALSE(addresses.empty());
  zmq::socket_t worker(context_, zmq::socket_type::dealer);
  Connect(worker, addresses[0], client_);
  Say(worker, Leaving{"SIGTERM"});
  const auto incoming = Receive();
  const auto decoded = DecodeFromWorker(incoming.frame);
  EXPECT_EQ(std::get<Leaving>(std::get<Decoded<FromWorker>>(decoded).message).reason, "SIGTERM");
  // A `who` has no number; a new session begins at 1 again.
  EXPECT_TRUE(transport_.Send(incoming.from, 7, Who{}));
  for (const SessionId session : {7, 7, 8}) {
    EXPECT_TRUE(transport_.Send(incoming.from, session, Drain{"d"}));
  }
  std::vector<Envelope> envelopes;
  for (int i = 0; i < 4; ++i) {
    zmq::message_t frame;
    ASSERT_TRUE(worker.recv(frame, zmq::recv_flags::none));
    const auto read = DecodeToWorker({frame.data<char>(), frame.size()});
    envelopes.push_back(std::get<Decoded<ToWorker>>(read).envelope);
  }
  EXPECT_EQ(envelopes, (std::vector<Envelope>{{7, 0}, {7, 1}, {7, 2}, {8, 1}}));
}

TEST_F(TransportTest, NobodyIsReachedWhereNobodyEverWas) {
  transport_.Bind(Transport::Reach::kLoopback, 0, {});
  EXPECT_FALSE(transport_.Send(12345, 1, Drain{"d"}));
}

// It is turned away, by its own socket's word, and nothing of what it said is heard.
TEST_F(TransportTest, AKeyThatIsNotTheRunsIsNotHeard) {
  const auto addresses = transport_.Bind(Transport::Reach::kLoopback, 0, {});
  zmq::socket_t stranger(context_, zmq::socket_type::dealer);
  ASSERT_EQ(zmq_socket_monitor(stranger.handle(), "inproc://stranger",
                               ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_SUCCEEDED),
            0);
  zmq::socket_t events(context_, zmq::socket_type::pair);
  events.connect("inproc://stranger");
  Connect(stranger, addresses[0], MakeKeyPair());
  Say(stranger, Leaving{"stranger"});
  zmq::message_t event;
  while (!events.recv(event, zmq::recv_flags::dontwait)) {
    EXPECT_FALSE(transport_.Receive());
    transport_.Wait({}, std::chrono::milliseconds(10));
  }
  uint16_t what = 0;
  std::memcpy(&what, event.data(), sizeof what);
  EXPECT_EQ(what, ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
  zmq::socket_t worker(context_, zmq::socket_type::dealer);
  Connect(worker, addresses[0], client_);
  Say(worker, Leaving{"ours"});
  const auto decoded = DecodeFromWorker(Receive().frame);
  EXPECT_EQ(std::get<Leaving>(std::get<Decoded<FromWorker>>(decoded).message).reason, "ours");
}

TEST_F(TransportTest, ALocalSocketGoesWithItsMaster) {
  const std::string folder =
      (std::filesystem::temp_directory_path() / ("cq-transport-" + std::to_string(getpid())))
          .string();
  {
    Transport transport(server_, client_.public_key);
    const std::string address = transport.BindLocal(folder);
    ASSERT_FALSE(address.empty());
    EXPECT_EQ(std::filesystem::status(folder).permissions(), std::filesystem::perms::owner_all);
    zmq::socket_t worker(context_, zmq::socket_type::dealer);
    worker.set(zmq::sockopt::linger, 0);
    worker.connect(address);
    Say(worker, Leaving{"here"});
    for (;;) {
      if (transport.Receive()) break;
      transport.Wait({}, kLong);
    }
    transport.Close();
  }
  EXPECT_FALSE(std::filesystem::exists(folder));
}

}  // namespace
}  // namespace cq
