// What a network does to a run: a cable that is pulled, a connection that is cut in mid-stream,
// delay. Master and workers are real; they stand in network namespaces of their own, or with a
// relay between them. The scheduler is a stand-in (fake_scheduler.sh says why).
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <fstream>
#include <thread>

#include "base/files.h"
#include "tests/support/process.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using Words = std::vector<std::string>;

std::string Shell(const std::string& command) {
  return TestProcess({"sh", "-c", command}, "/").Wait().out;
}

class NetworkTest : public ::testing::Test {
 protected:
  NetworkTest() {
    std::string csv = "a\n";
    for (int i = 1; i <= kTasks; ++i) csv += std::to_string(i) + "\n";
    WriteFile(directory_.File("in.csv"), csv);
    std::filesystem::create_directory(directory_.File("bin"));
    std::filesystem::create_directory(directory_.File("jobs"));
    for (const char* name : {"sbatch", "squeue", "scancel", "scontrol"}) {
      std::filesystem::create_symlink(
          std::string(CQ_SOURCE_DIR) + "/tests/network/fake_scheduler.sh",
          directory_.File("bin/") + name);
    }
    environment_ = {{"PATH", directory_.File("bin") + ":" + getenv("PATH")},
                    {"JOBS", directory_.File("jobs")},
                    {"NETWORK_TEST", directory_.path()}};
  }
  ~NetworkTest() override {
    for (const pid_t pid : ProcessesWith("NETWORK_TEST=" + directory_.path())) kill(pid, SIGKILL);
  }

  void Start(Words words) {
    // Each execution is noted, so that a second one is seen.
    const Words run = {CQ_PROGRAM,
                       "run",
                       "in.csv",
                       "-s",
                       "slurm",
                       "-w",
                       "1",
                       "--set",
                       "cpus=2",
                       "--slots",
                       "2",
                       "--lease",
                       "4s",
                       "--",
                       "sh",
                       "-c",
                       "echo {a} >> ran; sleep 0.05; echo {a}"};
    words.insert(words.end(), run.begin(), run.end());
    master_ = std::make_unique<TestProcess>(words, directory_.path(), environment_);
  }
  size_t Ran() const {
    std::ifstream file(directory_.File("ran"));
    return static_cast<size_t>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
  }
  bool RanAtLeast(size_t tasks) {
    return Eventually([&] { return Ran() >= tasks; }, seconds(40));
  }
  void ExpectAllOk() {
    const Ended ended = master_->Wait();
    EXPECT_EQ(ended.status, 0) << ended.err;
    Words expected;
    for (int i = 1; i <= kTasks; ++i) expected.push_back(std::to_string(i));
    EXPECT_EQ(Column(directory_.File("in.cq/results.csv"), "cq_stdout"), expected);
  }

  static constexpr int kTasks = 200;
  TemporaryDirectory directory_;
  std::map<std::string, std::string> environment_;
  std::unique_ptr<TestProcess> master_;
};

// ---- two hosts and a cable ----

class CableTest : public NetworkTest {
 protected:
  CableTest() : name_("cq" + std::to_string(getpid() % 10000)) {
    const std::string a = name_ + "a";
    const std::string b = name_ + "b";
    made_ =
        TestProcess({"sh", "-c",
                     "ip netns add " + a + " && ip netns add " + b + " && ip link add " + a +
                         " netns " + a + " type veth peer name " + b + " netns " + b +
                         " && ip -n " + a + " addr add 10.77.0.1/24 dev " + a + " && ip -n " + b +
                         " addr add 10.77.0.2/24 dev " + b + " && ip -n " + a + " link set " + a +
                         " up && ip -n " + b + " link set " + b + " up && ip -n " + a +
                         " link set lo up && ip -n " + b + " link set lo up"},
                    "/")
            .Wait()
            .status == 0;
    environment_["WORKERS_IN"] = b;
  }
  ~CableTest() override {
    for (const pid_t pid : ProcessesWith("NETWORK_TEST=" + directory_.path())) kill(pid, SIGKILL);
    Shell("ip netns del " + name_ + "a; ip netns del " + name_ + "b");
  }
  void Plug(bool in) {
    Shell("ip -n " + name_ + "a link set " + name_ + "a " + (in ? "up" : "down"));
  }
  void StartHosts() { Start({"ip", "netns", "exec", name_ + "a"}); }
  // For so long: it is the time itself that is tested.
  void PullFor(seconds time) {
    Plug(false);
    std::this_thread::sleep_for(time);
    Plug(true);
  }

  std::string name_;
  bool made_ = false;
};

TEST_F(CableTest, PulledForLessThanTheLeaseCostsNothing) {
  if (!made_) GTEST_SKIP() << "network namespaces cannot be made here";
  StartHosts();
  ASSERT_TRUE(RanAtLeast(10)) << master_->Err();
  PullFor(seconds(2));
  ExpectAllOk();
  EXPECT_EQ(Ran(), size_t{kTasks});
}

TEST_F(CableTest, PulledForLongerThanTheLeaseLosesNoResult) {
  if (!made_) GTEST_SKIP() << "network namespaces cannot be made here";
  StartHosts();
  ASSERT_TRUE(RanAtLeast(10)) << master_->Err();
  PullFor(seconds(8));
  ExpectAllOk();
}

// A tenth of all packets is lost, both ways: TCP repairs that, at the price of pauses.
TEST_F(CableTest, LostPacketsCostTimeAndNothingElse) {
  if (!made_) GTEST_SKIP() << "network namespaces cannot be made here";
  bool lossy = true;
  for (const char* host : {"a", "b"}) {
    const std::string nft = "ip netns exec " + name_ + host + " nft add ";
    lossy = lossy &&
            TestProcess({"sh", "-c",
                         nft + "table inet loss && " + nft +
                             "chain inet loss in '{ type filter hook input priority 0; }' && " +
                             nft + "rule inet loss in iifname " + name_ + host +
                             " numgen random mod 10 '<' 1 drop"},
                        "/")
                    .Wait()
                    .status == 0;
  }
  if (!lossy) GTEST_SKIP() << "nftables cannot drop packets here";
  StartHosts();
  ExpectAllOk();
  EXPECT_EQ(Ran(), size_t{kTasks});
}

// ---- a relay that cuts and delays ----

class Relay {
 public:
  Relay() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = Loopback(0);
    bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    listen(listener_.get(), 16);
    socklen_t size = sizeof address;
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Work(); });
  }
  ~Relay() {
    stop_ = true;
    thread_.join();
  }
  int port() const { return port_; }
  void set_target(int port) { target_ = port; }
  void set_delay(milliseconds delay) { delay_ms_ = static_cast<int>(delay.count()); }
  /// Closes every connection after so many more bytes, wherever in a message that is.
  void CutAfter(int64_t bytes) { budget_ = bytes; }
  int cuts() const { return cuts_; }

 private:
  struct Piece {
    steady_clock::time_point due;
    std::string bytes;
  };
  struct Pair {
    Fd ends[2];
    std::deque<Piece> queues[2];  // to the other end
  };
  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }

  void Work() {
    std::vector<Pair> pairs;
    while (!stop_) {
      std::vector<pollfd> fds{{listener_.get(), POLLIN, 0}};
      for (const Pair& pair : pairs) {
        for (const Fd& end : pair.ends) fds.push_back({end.get(), POLLIN, 0});
      }
      poll(fds.data(), fds.size(), 5);
      for (size_t i = 0; i < pairs.size(); ++i) {
        for (size_t side = 0; side < 2; ++side) {
          if (fds[1 + 2 * i + side].revents != 0 && !Read(pairs[i], side))
            pairs[i].ends[side].Close();
        }
      }
      for (Pair& pair : pairs) Deliver(pair);
      if (cut_) {
        pairs.clear();
        cut_ = false;
        ++cuts_;
      }
      std::erase_if(pairs, [](const Pair& pair) { return !pair.ends[0] || !pair.ends[1]; });
      if (fds[0].revents != 0) Accept(pairs);
    }
  }
  void Accept(std::vector<Pair>& pairs) {
    Pair pair;
    pair.ends[0] = Fd(accept(listener_.get(), nullptr, nullptr));
    pair.ends[1] = Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in to = Loopback(target_);
    if (connect(pair.ends[1].get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) {
      pairs.push_back(std::move(pair));
    }
  }
  bool Read(Pair& pair, size_t side) {
    std::array<char, 4096> buffer;
    const ssize_t n = read(pair.ends[side].get(), buffer.data(), buffer.size());
    if (n <= 0) return false;
    auto kept = static_cast<size_t>(n);
    if (budget_ >= 0) {
      kept = std::min<size_t>(kept, static_cast<size_t>(budget_.load()));
      budget_ -= static_cast<int64_t>(kept);
      if (budget_ == 0) {
        budget_ = -1;
        cut_ = true;
      }
    }
    pair.queues[side].push_back(
        {steady_clock::now() + milliseconds(delay_ms_.load()), std::string(buffer.data(), kept)});
    return true;
  }
  static void Deliver(Pair& pair) {
    for (size_t side = 0; side < 2; ++side) {
      auto& queue = pair.queues[side];
      while (!queue.empty() && queue.front().due <= steady_clock::now()) {
        if (pair.ends[1 - side]) WriteAll(pair.ends[1 - side].get(), queue.front().bytes);
        queue.pop_front();
      }
    }
  }

  Fd listener_;
  int port_ = 0;
  std::atomic<int> target_{0};
  std::atomic<int> delay_ms_{0};
  std::atomic<int64_t> budget_{-1};
  std::atomic<int> cuts_{0};
  std::atomic<bool> stop_{false};
  bool cut_ = false;
  std::thread thread_;
};

class RelayTest : public NetworkTest {
 protected:
  RelayTest() {
    signal(SIGPIPE, SIG_IGN);
    environment_["RELAY"] = "127.0.0.1:" + std::to_string(relay_.port());
  }
  void StartThroughRelay() {
    Start({});
    ASSERT_TRUE(Eventually([&] { return !Slurp("jobs/port").empty(); })) << master_->Err();
    relay_.set_target(std::stoi(Slurp("jobs/port")));
  }
  std::string Slurp(const std::string& name) const {
    std::ifstream file(directory_.File(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Relay relay_;
};

TEST_F(RelayTest, AConnectionCutInMidStreamAgainAndAgainLosesNothing) {
  StartThroughRelay();
  ASSERT_TRUE(RanAtLeast(5)) << master_->Err();
  for (int i = 1; i <= 5; ++i) {
    relay_.CutAfter(1 + 997 * i % 1500);
    ASSERT_TRUE(Eventually([&] { return relay_.cuts() >= i; })) << i;
    ASSERT_TRUE(RanAtLeast(static_cast<size_t>(5 + 10 * i))) << master_->Err();
  }
  ExpectAllOk();
}

TEST_F(RelayTest, DelayCostsTimeAndNothingElse) {
  relay_.set_delay(milliseconds(50));
  StartThroughRelay();
  ExpectAllOk();
  EXPECT_EQ(Ran(), size_t{kTasks});
}

}  // namespace
}  // namespace cq
