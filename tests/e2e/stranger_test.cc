// Who else may knock at a master's port: workers of another version or run, peers without the key,
// peers that speak nonsense.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <msgpack.hpp>
#include <zmq.hpp>

#include "base/files.h"
#include "protocol/codec.h"
#include "protocol/connection_file.h"
#include "protocol/limits.h"
#include "tests/support/process.h"

namespace cq {
namespace {

class StrangerTest : public ::testing::Test {
 protected:
  StrangerTest() {
    WriteFile(directory_.File("in.csv"), "a,b\n1,2\n");
    run_ = std::make_unique<TestProcess>(
        std::vector<std::string>{CQ_PROGRAM, "run", "in.csv", "--", "sh", "-c",
                                 "while [ ! -e go ]; do sleep 0.02; done"},
        directory_.path());
    EXPECT_TRUE(
        Eventually([&] { return std::filesystem::exists(directory_.File("in.cq/connect.json")); }));
    file_ = ReadConnectionFile(directory_.File("in.cq/connect.json"));
  }

  zmq::socket_t Connect(const KeyPair& client) {
    zmq::socket_t socket(context_, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::rcvtimeo, 5000);
    socket.set(zmq::sockopt::curve_serverkey, file_.server_public);
    socket.set(zmq::sockopt::curve_publickey, client.public_key);
    socket.set(zmq::sockopt::curve_secretkey, client.secret_key);
    socket.connect(file_.endpoints.at(0));
    return socket;
  }
  static std::optional<ToWorker> Ask(zmq::socket_t& socket, const std::string& frame) {
    socket.send(zmq::buffer(frame));
    zmq::message_t answer;
    if (!socket.recv(answer)) return std::nullopt;
    auto decoded = DecodeToWorker(answer.to_string());
    if (!std::holds_alternative<Decoded<ToWorker>>(decoded)) return std::nullopt;
    return std::get<Decoded<ToWorker>>(decoded).message;
  }
  // How many ends of connections at this socket the kernel knows, the listening one among them.
  static size_t EndsAt(const std::string& path) {
    std::ifstream sockets("/proc/net/unix");
    size_t ends = 0;
    for (std::string line; std::getline(sockets, line);) ends += line.ends_with(" " + path);
    return ends;
  }

  void ExpectTheRunToEndWell() {
    WriteFile(directory_.File("go"), "");
    const Ended ended = run_->Wait();
    EXPECT_EQ(ended.status, 0) << ended.err;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<TestProcess> run_;
  ConnectionFile file_;
  zmq::context_t context_;
};

TEST_F(StrangerTest, AWorkerOfAnotherVersionIsRefusedWithBothVersionsAndPaths) {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> p(buffer);
  p.pack_array(6).pack(2).pack(1).pack(0).pack(0).pack("9.9.9").pack("/opt/other/cq");
  auto socket = Connect(file_.client);
  const auto answer = Ask(socket, {buffer.data(), buffer.size()});
  ASSERT_TRUE(answer && std::holds_alternative<Refuse>(*answer));
  const std::string text = std::get<Refuse>(*answer).text;
  for (const char* part : {"9.9.9", "/opt/other/cq", "version 2", "version 1", CQ_PROGRAM}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << ": " << text;
  }
  ExpectTheRunToEndWell();
}

TEST_F(StrangerTest, AWorkerOfAnotherRunIsRefused) {
  Hello hello;
  hello.run = file_.run + 1;
  auto socket = Connect(file_.client);
  const auto answer = Ask(socket, Encode({0, 0}, hello));
  ASSERT_TRUE(answer && std::holds_alternative<Refuse>(*answer));
  ExpectTheRunToEndWell();
}

TEST_F(StrangerTest, APeerWithoutTheKeyGetsNothing) {
  Hello hello;
  hello.run = file_.run;
  auto socket = Connect(MakeKeyPair());
  socket.set(zmq::sockopt::rcvtimeo, 500);
  EXPECT_FALSE(Ask(socket, Encode({0, 0}, hello)));
  ExpectTheRunToEndWell();
}

TEST_F(StrangerTest, NonsenseIsDroppedAndTheRunGoesOn) {
  auto socket = Connect(file_.client);
  for (const std::string& frame : {std::string(), std::string("hello"), std::string(1000, '\x93'),
                                   std::string("\x94\x01\x02\x00\x00", 5)}) {
    socket.send(zmq::buffer(frame));
  }
  socket.send(zmq::str_buffer("two"), zmq::send_flags::sndmore);
  socket.send(zmq::str_buffer("parts"));
  // An answer to what comes after it all shows that it was read.
  Hello hello;
  hello.run = file_.run;
  const auto answer = Ask(socket, Encode({0, 0}, hello));
  EXPECT_TRUE(answer && std::holds_alternative<Who>(*answer));
  ExpectTheRunToEndWell();
}

TEST_F(StrangerTest, AWorkerThatReportsWhatItWasNeverGivenIsNamedAndDropped) {
  Hello hello;
  hello.run = file_.run;
  hello.host = "broken";
  hello.slots = 1;
  auto socket = Connect(file_.client);
  socket.send(zmq::buffer(Encode({0, 0}, hello)));
  zmq::message_t answer;
  ASSERT_TRUE(socket.recv(answer));
  const auto who = DecodeToWorker(answer.to_string());
  const SessionId session = std::get<Decoded<ToWorker>>(who).envelope.session;
  socket.send(zmq::buffer(Encode({session, 0}, hello)));
  Results results;
  results.run = file_.run;
  results.results.resize(2);
  results.results[0].task = 1;
  results.results[0].attempt = MakeSerial(1, 1000);  // not yet
  results.results[1].task = 99'999;                  // no such task
  results.results[1].attempt = MakeSerial(1, 1);
  socket.send(zmq::buffer(Encode({session, 1}, FromWorker(results))));
  // A master of a later epoch than this one has given out nothing.
  results.results[0].attempt = MakeSerial(7, 1);
  socket.send(zmq::buffer(Encode({session, 2}, FromWorker(results))));
  socket.send(zmq::buffer(Encode({session, 3}, FromWorker(Goodbye{"done"}))));
  // Too large for a frame: the connection is closed and nothing of it is kept.
  auto large = Connect(file_.client);
  large.send(zmq::buffer(std::string(kFrameBytesMax + 1, 'x')));
  EXPECT_TRUE(Eventually([&] { return run_->Err().find("on broken left") != std::string::npos; }))
      << run_->Err();
  ExpectTheRunToEndWell();
  EXPECT_NE(run_->Err().find("on broken reports attempt"), std::string::npos) << run_->Err();
  EXPECT_NE(run_->Err().find("4 reports of attempts that were never given out"), std::string::npos)
      << run_->Err();
}

// Scanners, and connections that are opened and left.
TEST_F(StrangerTest, ConnectionsThatNeverSpeakOrSpeakNonsenseCostLittle) {
  const std::string& address = file_.endpoints.at(0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  std::vector<Fd> sockets;
  for (int i = 0; i < 3000; ++i) {
    Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd || connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) break;
    // A third each: nothing, another protocol, half of a greeting.
    if (i % 3 == 1) WriteAll(fd.get(), "GET / HTTP/1.0\r\n\r\n");
    if (i % 3 == 2) WriteAll(fd.get(), std::string_view("\xff\0\0\0\0\0\0\0\x01\x7f\x03", 11));
    sockets.push_back(std::move(fd));
  }
  EXPECT_GT(sockets.size(), 500u);
  Hello hello;
  hello.run = file_.run;
  auto socket = Connect(file_.client);
  const auto answer = Ask(socket, Encode({0, 0}, hello));
  EXPECT_TRUE(answer && std::holds_alternative<Who>(*answer));
  const std::string status = ReadFile("/proc/" + std::to_string(run_->pid()) + "/status");
  const size_t peak = status.find("VmHWM:");
  ASSERT_NE(peak, std::string::npos);
  EXPECT_LT(std::stol(status.substr(peak + 6)), 200'000) << "KiB";
  ExpectTheRunToEndWell();
}

// Those at the master's port take all the descriptors that it may have.
TEST_F(StrangerTest, AFloodOfConnectionsDoesNotKeepTheResultsFromTheUser) {
  ExpectTheRunToEndWell();
  std::filesystem::remove(directory_.File("go"));
  run_ = std::make_unique<TestProcess>(
      std::vector<std::string>{"sh", "-c",
                               std::string("ulimit -n 256; exec ") + CQ_PROGRAM +
                                   " run in.csv --fresh -- sh -c "
                                   "'while [ ! -e go ]; do sleep 0.02; done'"},
      directory_.path());
  ASSERT_TRUE(Eventually([&] { return run_->Err().find("worker 1 on") != std::string::npos; }));
  const std::string endpoint =
      ReadConnectionFile(directory_.File("in.cq/connect.json")).endpoints.at(0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port =
      htons(static_cast<uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));
  std::vector<Fd> sockets;
  for (int i = 0; i < 400; ++i) {
    sockets.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    connect(sockets.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  EXPECT_TRUE(Eventually([&] {
    const std::filesystem::directory_iterator all(fmt::format("/proc/{}/fd", run_->pid()));
    return std::distance(begin(all), end(all)) == 256;
  }));
  ExpectTheRunToEndWell();
  EXPECT_EQ(Column(directory_.File("in.cq/results.csv"), "cq_status"),
            std::vector<std::string>{"ok"});
}

TEST_F(StrangerTest, AConnectionFileThatOthersCanReadIsRefusedWithTheRemedy) {
  const std::string path = directory_.File("in.cq/connect.json");
  chmod(path.c_str(), 0644);
  const Ended worker = Cq({"worker", "--connect", path}, directory_.path());
  EXPECT_NE(worker.status, 0);
  EXPECT_NE(worker.err.find("chmod 600"), std::string::npos) << worker.err;
  chmod(path.c_str(), 0600);
  ExpectTheRunToEndWell();
}

// The master's own workers come through a socket that no other user can reach.
TEST_F(StrangerTest, AnotherUserCannotReachTheSocketOfLocalWorkers) {
  const std::string path = directory_.File("in.cq/local/master");
  EXPECT_EQ(file_.local, "ipc://" + path);
  EXPECT_TRUE(Eventually([&] { return EndsAt(path) >= 2; }));
  if (geteuid() == 0) {
    const pid_t child = fork();
    if (child == 0) {
      // The directories above are a test's, and private, too.
      if (chdir(directory_.File("in.cq").c_str()) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
        _exit(2);
      const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
      const sockaddr_un address{AF_UNIX, "local/master"};
      const bool in = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
      _exit(in ? 1 : errno == EACCES ? 0 : 3);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  ExpectTheRunToEndWell();
  EXPECT_EQ(EndsAt(path), 0u);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(StrangerTest, AWorkerThatSomebodyStartsByHandJoins) {
  WriteFile(directory_.File("ready"), "");
  TestProcess worker({CQ_PROGRAM, "worker", "--connect", directory_.File("in.cq/connect.json")},
                     directory_.path());
  EXPECT_TRUE(Eventually([&] { return run_->Err().find("worker 2 on") != std::string::npos; }))
      << run_->Err();
  ExpectTheRunToEndWell();
  EXPECT_EQ(worker.Wait().status, 0);
}

}  // namespace
}  // namespace cq
