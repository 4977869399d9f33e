// master_bench [N [WORKERS [SLOTS [SPAN_US [AHEAD [IDLE]]]]]]: how many tasks a second the master's
// core, codec and socket take through, with simulated workers that answer at once and nothing kept:
// from when all workers are there to the last result. SPAN_US: fresh tasks go in spans of about so
// long [1000]; 0: each by itself. AHEAD: what a worker takes for each slot [8193]; with 1 every
// message is about one task. IDLE: so many more workers that take no task. With N 0 it waits a
// minute, and says what workers that have nothing to do cost.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <msgpack.hpp>
#include <random>
#include <zmq.hpp>

#include "master/core/core.h"
#include "master/loop/transport.h"
#include "protocol/codec.h"
#include "protocol/connection_file.h"
#include "protocol/packed_values.h"
#include "protocol/pieces.h"
#include "protocol/spans.h"

namespace {

using namespace cq;
using Clock = std::chrono::steady_clock;

constexpr RunId kRun = 1;
/// Each has two descriptors or three.
constexpr unsigned kWorkersOfAProcess = 2500;

// A worker as the master sees one: says hello, and answers each batch as soon as it has come.
class SimulatedWorker {
 public:
  SimulatedWorker(zmq::context_t& context, const std::string& endpoint, const KeyPair& client,
                  const std::string& server, uint64_t slots, uint64_t ahead)
      : socket_(context, zmq::socket_type::dealer), slots_(slots), ahead_(ahead) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::sndhwm, 0);
    socket_.set(zmq::sockopt::rcvhwm, 0);
    socket_.set(zmq::sockopt::curve_serverkey, server);
    socket_.set(zmq::sockopt::curve_publickey, client.public_key);
    socket_.set(zmq::sockopt::curve_secretkey, client.secret_key);
    socket_.connect(endpoint);
    std::random_device random;
    for (auto& byte : id_) byte = static_cast<uint8_t>(random());
    SayHello();
  }

  int fd() const { return socket_.get(zmq::sockopt::fd); }

  // All that has come.
  void Serve() {
    zmq::message_t frame;
    while (socket_.recv(frame, zmq::recv_flags::dontwait)) {
      auto decoded = DecodeToWorker({frame.data<char>(), frame.size()});
      auto& [envelope, message] = std::get<Decoded<ToWorker>>(decoded);
      if (std::holds_alternative<Who>(message)) {
        session_ = envelope.session;
        SayHello();
      } else if (const auto* assign = std::get_if<Assign>(&message)) {
        Answer(*assign);
      } else if (std::holds_alternative<MasterHeartbeat>(message)) {
        Send({session_, ++sent_}, WorkerHeartbeat{0, slots_ * ahead_, {}});
      }
    }
  }

 private:
  void SayHello() {
    Hello hello;
    hello.run = kRun;
    hello.worker = id_;
    hello.host = "simulated";
    hello.slots = slots_;
    hello.capacity = slots_ * ahead_;
    Send({session_, 0}, std::move(hello));
  }

  void Answer(const Assign& assign) {
    Results results;
    results.run = kRun;
    for (const Task& task : assign.tasks) {
      TaskResult& result = results.results.emplace_back(For<TaskResult>(task));
      result.started_us = 1'700'000'000'000'000;
      result.wall_us = task.count;
      if (task.rows.empty()) {
        result.values.emplace_back("result", 2.5);
      } else {
        for (uint64_t i = 0; i < task.count; ++i) AppendAnswer(result.answers, 1, answer_);
      }
    }
    Send({session_, ++sent_}, std::move(results));
  }

  static std::string PackedAnswer() {
    msgpack::sbuffer buffer;
    PackScalar(buffer, 2.5);
    return {buffer.data(), buffer.size()};
  }

  void Send(Envelope envelope, FromWorker message) {
    socket_.send(zmq::buffer(Encode(envelope, message)), zmq::send_flags::dontwait);
  }

  zmq::socket_t socket_;
  uint64_t slots_;
  uint64_t ahead_;
  WorkerId id_{};
  SessionId session_ = 0;
  uint64_t sent_ = 0;
  const std::string answer_ = PackedAnswer();
};

[[noreturn]] void Simulate(unsigned count, const std::string& endpoint, const KeyPair& client,
                           const std::string& server, uint64_t slots, uint64_t ahead,
                           unsigned idle) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  zmq::context_t context(1);
  context.set(zmq::ctxopt::max_sockets, static_cast<int>(count) + 16);
  std::deque<SimulatedWorker> workers;
  const int poll = epoll_create1(EPOLL_CLOEXEC);
  for (unsigned i = 0; i < count; ++i) {
    SimulatedWorker& worker =
        workers.emplace_back(context, endpoint, client, server, slots, i < idle ? 0 : ahead);
    epoll_event event{EPOLLIN | EPOLLET, {.ptr = &worker}};
    epoll_ctl(poll, EPOLL_CTL_ADD, worker.fd(), &event);
    worker.Serve();
  }
  for (;;) {
    std::array<epoll_event, 256> events;
    const int ready = epoll_wait(poll, events.data(), events.size(), -1);
    for (int i = 0; i < ready; ++i) static_cast<SimulatedWorker*>(events[i].data.ptr)->Serve();
  }
}

// The loop of a master that keeps nothing: a result is durable as soon as it has come.
class BareMaster {
 public:
  BareMaster(Core core, Transport transport)
      : core_(std::move(core)), transport_(std::move(transport)) {}

  void Turn() {
    transport_.Wait({}, std::chrono::milliseconds(100));
    for (int i = 0; i < 1000; ++i) {
      const auto incoming = transport_.Receive();
      if (!incoming) break;
      auto decoded = DecodeFromWorker(incoming->frame);
      auto& [envelope, message] = std::get<Decoded<FromWorker>>(decoded);
      core_.OnMessage(Now(), incoming->from, envelope, std::move(message));
    }
    core_.OnTick(Now());
    core_.Flush(Now());
    for (auto actions = core_.TakeActions(); !actions.empty(); actions = core_.TakeActions()) {
      for (Action& action : actions) Do(action);
      core_.OnCommitted(Now(), std::exchange(committed_, {}));
      core_.Flush(Now());
    }
  }

  Core& core() { return core_; }

 private:
  Time Now() const { return Clock::now() - origin_; }

  void Do(Action& action) {
    if (auto* send = std::get_if<Send>(&action)) {
      transport_.Send(send->to, send->session, send->message);
    } else if (auto* give = std::get_if<Give>(&action)) {
      Assign assign{kRun, {}};
      for (const auto& grant : give->grants) {
        Task& task = assign.tasks.emplace_back(For<Task>(grant.span));
        task.attempt_number = grant.attempt_number;
        if (grant.span.count > 1) {
          task.rows = RowsOf(grant.span);
        } else {
          task.seed = grant.span.task;
          task.values = {"12345"};
        }
      }
      transport_.Send(give->to, give->session, std::move(assign));
    } else if (auto* write = std::get_if<Write>(&action)) {
      for (const JournalRecord& record : write->records) committed_.Add(record);
    }
  }

  std::string RowsOf(const AttemptSpan& span) {
    std::string rows;
    Task task;
    for (uint64_t i = 0; i < span.count; ++i) {
      task.task = span.task + i;
      task.seed = task.task;
      row_.clear();
      PackRowHead(row_, task, 1);
      PackScalar(row_, int64_t{12345});
      AppendPiece(rows, {row_.data(), row_.size()});
    }
    return rows;
  }

  msgpack::sbuffer row_;
  Clock::time_point origin_ = Clock::now() - std::chrono::seconds(1);
  Core core_;
  Transport transport_;
  Committed committed_;
};

// Of this process, whose workers are others.
double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2'000'000;
  const auto workers = static_cast<unsigned>(argc > 2 ? std::atoi(argv[2]) : 4);
  const uint64_t slots = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1;
  const uint64_t ahead = argc > 5 ? std::strtoull(argv[5], nullptr, 10) : 8193;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  const KeyPair server = MakeKeyPair();
  const KeyPair client = MakeKeyPair();
  // Workers are processes of their own; they are made before this one has threads.
  std::array<int, 2> address{};
  if (pipe(address.data()) != 0) return 1;
  const auto idle = static_cast<unsigned>(argc > 6 ? std::atoi(argv[6]) : 0);
  unsigned left = workers + idle;
  while (left > 0) {
    const unsigned some = std::min(left, kWorkersOfAProcess);
    left -= some;
    if (fork() > 0) continue;
    close(address[1]);
    // One address for all: whoever reads it writes it back for the next.
    std::string endpoint(64, '\0');
    endpoint.resize(
        static_cast<size_t>(std::max<ssize_t>(read(address[0], endpoint.data(), 64), 0)));
    Simulate(some, endpoint.c_str(), client, server.public_key, slots, ahead,
             left < idle ? idle - left : 0);
  }
  close(address[0]);
  Transport transport(server, client.public_key);
  std::string endpoint = transport.Bind(Transport::Reach::kLoopback, 0, {}).front();
  endpoint.resize(64, '\0');
  for (left = workers + idle; left > 0; left -= std::min(left, kWorkersOfAProcess)) {
    if (write(address[1], endpoint.data(), endpoint.size()) != 64) return 1;
  }

  CoreOptions options;
  options.text.run = kRun;
  options.open = true;
  if (count > 0) options.lease = std::chrono::hours(1);
  options.expected_slots = workers * slots;
  options.span_time = std::chrono::microseconds(argc > 4 ? std::atoi(argv[4]) : 1000);
  BareMaster master(Core(options), std::move(transport));
  while (master.core().counts().workers < workers + idle) master.Turn();
  if (count == 0) {
    const double before = CpuSeconds();
    const auto until = Clock::now() + std::chrono::minutes(1);
    while (Clock::now() < until) master.Turn();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::printf("%u idle workers: %.4f of a CPU, %ld MB\n", workers + idle,
                (CpuSeconds() - before) / 60, usage.ru_maxrss / 1024);
    std::fflush(stdout);
    _exit(0);
  }
  const auto begin = Clock::now();
  const double cpu = CpuSeconds();
  master.core().OnAdded(count);
  while (master.core().counts().done < count) master.Turn();
  const double took = std::chrono::duration<double>(Clock::now() - begin).count();
  const auto tasks = static_cast<double>(count);
  std::printf("%llu tasks, %u workers and %u idle: %.3f s, %.0f tasks/s, %.2f us of CPU a task\n",
              static_cast<unsigned long long>(count), workers, idle, took, tasks / took,
              (CpuSeconds() - cpu) / tasks * 1e6);
  std::fflush(stdout);
  // Their parent's end ends them.
  _exit(0);
}
