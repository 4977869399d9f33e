#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>
#include <zmq.hpp>

#include "master/core/worker_table.h"
#include "protocol/connection_file.h"
#include "protocol/messages.h"

namespace cq {

/// The master's ROUTER socket: CURVE on every TCP connection, and a ZAP handler that admits one
/// client key. One thread.
class Transport {
 public:
  Transport(KeyPair server, std::string client_public);

  /// Binds a socket in `directory`, which is made so that only this user can enter it: what
  /// connects there is this user's, and is neither asked for a key nor encrypted. Before Bind.
  /// Returns its address; empty where the file system cannot keep it private or the path is too
  /// long for a socket.
  std::string BindLocal(const std::string& directory);

  enum class Reach {
    kLoopback,       // this machine only
    kAll,            // every address but loopback, unless there is nothing else
    kLoopbackFirst,  // loopback, then every other address
  };
  /// Where workers may reach the master.
  struct Where {
    /// Below the range from which Linux takes ports for outgoing connections (32768 on), so that
    /// none takes the port of a master that is about to come back.
    int first_port = 20'000;
    int last_port = 29'999;
    /// The name of a network interface, or an address of this machine; empty: all.
    std::string interface = {};
  };
  /// Throws UsageError for an interface that is not there, or has no IPv4 address.
  static void Require(const Where& where);
  /// Binds a port, `preferred_port` if it is one of them and free, and returns the addresses at
  /// which workers may reach it. Throws Error.
  std::vector<std::string> Bind(Reach reach, int preferred_port, const Where& where);

  /// Numbers the messages of each session. False when nobody is at that connection any more.
  bool Send(ConnectionId to, SessionId session, const ToWorker& message);

  struct Incoming {
    ConnectionId from = 0;
    std::string frame;
  };
  /// The next frame that has arrived, if any.
  std::optional<Incoming> Receive();

  /// Sends what is under way, for 2 s at most, and gives all descriptors back: strangers may have
  /// taken all that there are. The last call.
  void Close();

  /// Waits until a frame arrives, one of `fds` is readable, or the time is over. Returns which of
  /// `fds` are.
  std::vector<bool> Wait(const std::vector<int>& fds, std::chrono::milliseconds timeout);

 private:
  bool BindAll(const std::vector<std::string>& hosts, int port);
  struct Outbound {
    SessionId session = 0;
    uint64_t sent = 0;
  };
  /// False if nobody waits for an answer.
  bool AnswerZap();

  /// Is gone with its folder when the transport is. (A master that was overruled by one on another
  /// host may take away the other's: workers that come then use TCP.)
  struct LocalSocket {
    explicit LocalSocket(std::string d) : directory(std::move(d)) {}
    LocalSocket(const LocalSocket&) = delete;
    LocalSocket& operator=(const LocalSocket&) = delete;
    ~LocalSocket();
    std::string path() const { return directory + "/master"; }
    const std::string directory;
  };

  std::unique_ptr<LocalSocket> local_;
  zmq::context_t context_;
  zmq::socket_t zap_;
  /// There may be something to answer.
  bool zap_asked_ = true;
  zmq::socket_t router_;
  KeyPair server_;
  std::string client_public_;
  std::unordered_map<ConnectionId, Outbound> outbound_;
};

}  // namespace cq
