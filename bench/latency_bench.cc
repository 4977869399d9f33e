// latency_bench [N [tcp|ipc]]: one task at a time, from its submission to its result, against the
// bare chain of the same hops: a ROUTER, a DEALER in another process, and a pipe to a third and
// back, over TCP or over a socket of the file system, as cq's local workers use it. Both in turn, N
// times in 10 series; printed are the medians.
#include <cq/master.h>
#include <cq/runtime.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
#include <zmq.hpp>

double twice(double x) { return 2 * x; }
CQ_FUNCTION(twice);

namespace {

constexpr size_t kMessageBytes = 64;

bool ReadWhole(int fd, char* bytes) {
  for (size_t have = 0; have < kMessageBytes;) {
    const ssize_t n = read(fd, bytes + have, kMessageBytes - have);
    if (n <= 0) return false;
    have += static_cast<size_t>(n);
  }
  return true;
}

// The worker and the program in its slot.
[[noreturn]] void Echo(int endpoint_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::array<char, kMessageBytes> bytes{};
  std::array<int, 2> to{}, from{};
  if (pipe(to.data()) != 0 || pipe(from.data()) != 0) _exit(1);
  if (fork() == 0) {
    close(to[1]);
    while (ReadWhole(to[0], bytes.data()) &&
           write(from[1], bytes.data(), bytes.size()) == kMessageBytes) {
    }
    _exit(0);
  }
  if (!ReadWhole(endpoint_fd, bytes.data())) _exit(1);
  zmq::context_t context(1);
  zmq::socket_t dealer(context, zmq::socket_type::dealer);
  dealer.connect(bytes.data());
  dealer.send(zmq::buffer("hello", 5), zmq::send_flags::none);
  zmq::message_t message;
  while (dealer.recv(message)) {
    if (write(to[1], message.data(), kMessageBytes) != kMessageBytes) break;
    if (!ReadWhole(from[0], bytes.data())) break;
    dealer.send(zmq::buffer(bytes), zmq::send_flags::none);
  }
  _exit(0);
}

template <class F>
double MicrosecondsEach(int count, const F& call) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / count *
         1e6;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  std::array<int, 2> address{};
  const bool own = argc > 1 && std::string(argv[1]) == "--cq";
  if (!own && pipe(address.data()) != 0) return 1;
  if (!own && fork() == 0) Echo(address[0]);
  cq::Runtime runtime(argc, argv);
  const int count = argc > 1 ? std::atoi(argv[1]) : 5000;

  zmq::context_t context(1);
  zmq::socket_t router(context, zmq::socket_type::router);
  const bool ipc = argc > 2 && std::string(argv[2]) == "ipc";
  router.bind(ipc ? "ipc://*" : "tcp://127.0.0.1:*");
  std::string endpoint = router.get(zmq::sockopt::last_endpoint);
  endpoint.resize(kMessageBytes, '\0');
  if (write(address[1], endpoint.data(), endpoint.size()) != kMessageBytes) return 1;
  zmq::message_t peer, message;
  if (!router.recv(peer) || !router.recv(message)) return 1;
  const std::array<char, kMessageBytes> bytes{};
  const auto chain = [&] {
    zmq::message_t to;
    to.copy(peer);
    router.send(to, zmq::send_flags::sndmore);
    router.send(zmq::buffer(bytes), zmq::send_flags::none);
    if (!router.recv(to) || !router.recv(message)) std::abort();
  };
  cq::Master master({.pools = {cq::Local(2)}, .chunk = 1});
  const auto task = [&] { master.submit(twice, 1.0).get().value(); };
  MicrosecondsEach(500, chain);
  MicrosecondsEach(500, task);
  std::vector<double> chains, tasks, ratios;
  for (int series = 0; series < 10; ++series) {
    chains.push_back(MicrosecondsEach(count / 10, chain));
    tasks.push_back(MicrosecondsEach(count / 10, task));
    ratios.push_back(tasks.back() / chains.back());
  }
  std::printf("bare chain %.1f us, cq %.1f us, ratio %.2f\n", Median(chains), Median(tasks),
              Median(ratios));
}
