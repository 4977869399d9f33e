// scale_bench [TASKS [NODES [SLOTS [MEAN_S [TRACE [COST_US [FAILURES]]]]]]]: a run on a cluster
// that this machine is not: the real cores of master and workers, the real workforce, and a
// simulated Slurm, in simulated time. TRACE says how long jobs wait: curie, kth or none. COST_US is
// what a message costs the master beside its core (codec, socket; master_bench says how much that
// is): while it is at it, others wait. FAILURES: of a node, in a year. See docs/scale.md.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "master/core/core.h"
#include "master/pools/workforce.h"
#include "protocol/spans.h"
#include "worker/core/worker_core.h"

namespace {

using namespace cq;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr RunId kRun = 1;
/// What an allocation may last.
constexpr Time kLife = hours(8);
/// A group of records takes so long to be durable.
constexpr Time kDurableAfter = milliseconds(10);
constexpr Time kWire = milliseconds(1);

/// How long jobs waited, in s: the 0th, 5th, 10th, … 100th percentile.
using Waits = std::array<double, 21>;
/// Of the Parallel Workloads Archive: jobs of at most 64 processors that ran. CEA Curie (Slurm,
/// 2011), 5,147 of 25 days of its log; KTH SP2 (1996), 28,158 of 11 months.
constexpr Waits kCurie = {0, 0,  0,  0,   0,   0,    0,    1,     1,     2,    5,
                          9, 23, 54, 126, 830, 2135, 7166, 24210, 37714, 53409};
constexpr Waits kKth = {0,   0,   0,    0,    0,    60,    60,    90,    120,   190,   300,
                        510, 840, 1700, 3480, 6540, 11340, 20100, 33240, 76920, 219180};
constexpr Waits kNone = {};

double Seconds(Time time) { return std::chrono::duration<double>(time).count(); }
Time TimeOf(double s) { return std::chrono::duration_cast<Time>(std::chrono::duration<double>(s)); }

struct Options {
  uint64_t tasks = 1'000'000;
  uint64_t nodes = 1000;
  uint64_t slots = 64;
  double mean = 60;
  Waits waits = kCurie;
  std::string trace = "curie";
  double cost_us = 12;
  double failures = 1;
};

/// A node with a worker of ours.
struct Node {
  std::unique_ptr<WorkerCore> core;
  std::string allocation;
  ConnectionId connection = 0;
  bool alive = true;
  bool prepared = false;
  /// When it looks again, whatever happens before.
  Time wakes = Time::max();
  Time since{};
  std::deque<std::pair<Envelope, ToWorker>> inbox;
  std::deque<Task> queue;
  struct Slot {
    bool busy = false;
    AttemptRef ref;
    Time started{};
  };
  std::vector<Slot> slots;
  std::vector<size_t> ended;
  bool started_some = false;
};

class Cluster;

/// Slurm, with a queue in which each job waits as those of the trace did.
class Batch final : public WorkerSource {
 public:
  explicit Batch(Cluster& cluster) : cluster_(cluster) {
    traits_.outlives_master = traits_.explains_late = true;
  }
  const SchedulerTraits& traits() const override { return traits_; }
  const std::string& scheduler() const override { return name_; }
  void Open(Callbacks callbacks) override { callbacks_ = std::move(callbacks); }
  void Start(unsigned workers, uint64_t known) override;
  void PollSoon() override {}
  void Want(uint64_t) override {}
  void EndSilent(const std::string&) override {}
  void EndJob(const std::string&) override {}
  void Withdraw(std::vector<std::string> allocations) override;
  void Avoid(const std::string&) override {}
  void Expect(bool) override {}
  void Close(End) override {}
  std::string Wait() override { return {}; }

  struct Job {
    WorkerJob told;
    Time ends{};
  };
  void Poll(Time now);
  void StartJob(size_t job);
  std::vector<Job> jobs;
  uint64_t submissions = 0;
  uint64_t submitted = 0;

 private:
  Cluster& cluster_;
  SchedulerTraits traits_;
  const std::string name_ = "slurm";
  Callbacks callbacks_;
  size_t first_ = 0;
};

class Quiet final : public RunObserver {};

class Cluster {
 public:
  explicit Cluster(const Options& options)
      : options_(options), random_(1), batch_(*this), core_(OptionsOf(options)) {}

  void Run();
  void Report() const;

  Time now() const { return now_; }
  double Uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }
  Time Wait() {
    const double at = Uniform() * 20;
    const auto below = static_cast<size_t>(at);
    const double part = at - std::floor(at);
    return TimeOf(options_.waits[below] * (1 - part) + options_.waits[below + 1] * part);
  }

  enum class What : uint8_t { kEnd, kStep, kTurn, kCommit, kPoll, kSubmitted, kJob, kFails, kOver };
  struct Event {
    Time at{};
    uint64_t serial = 0;
    What what = What::kTurn;
    uint32_t slot = 0;
    uint64_t index = 0;
    bool operator>(const Event& other) const {
      return at != other.at ? at > other.at : serial > other.serial;
    }
  };
  void At(Time when, What what, uint64_t index = 0, uint32_t slot = 0) {
    events_.push({std::max(when, now_), ++serial_, what, slot, index});
  }
  void Tell(Workforce::Word word) {
    mail_.push_back(std::move(word));
    WakeMaster();
  }
  void StartNode(const std::string& allocation);
  void EndNode(size_t index, JobEnding ending, const std::string& how);

 private:
  static CoreOptions OptionsOf(const Options& options) {
    CoreOptions core;
    core.text.run = kRun;
    core.text.command = {{"true"}};
    core.text.on_master_loss_ms = 1'800'000;
    core.tasks = options.tasks;
    core.explained_late = true;
    core.expected_slots = options.nodes * options.slots;
    core.pools[0].slots = options.slots;
    return core;
  }

  void WakeMaster() {
    if (std::exchange(turn_set_, true)) return;
    At(std::max(now_ + kWire, free_at_), What::kTurn);
  }
  void Turn();
  void Do(Send& send) { ToNode(send.to, send.session, std::move(send.message)); }
  void Do(struct Give& give);
  void Do(Write& write);
  void Do(Note&) {}
  void Do(EndJob&) {}
  void Do(AvoidHost&) {}
  void Do(Finished&) { finished_ = true; }
  void ToNode(ConnectionId to, SessionId session, ToWorker message);

  void WakeNode(size_t index, Time when) {
    if (when >= nodes_[index].wakes) return;
    nodes_[index].wakes = when;
    At(when, What::kStep, index);
  }
  void Step(size_t index);
  void Act(size_t index);
  void StartTasks(size_t index);
  void OnEnd(size_t index, uint32_t slot);
  void Count(bool up);

  const Options options_;
  std::mt19937_64 random_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  uint64_t serial_ = 0;
  Time now_{};
  Time free_at_{};
  bool turn_set_ = false;
  bool finished_ = false;

  Batch batch_;
  Core core_;
  std::unique_ptr<Workforce> workforce_;
  Quiet quiet_;
  std::deque<Workforce::Word> mail_;
  struct Incoming {
    ConnectionId from = 0;
    Envelope envelope;
    FromWorker message;
  };
  std::deque<Incoming> inbox_;
  Committed committed_;
  bool committing_ = false;
  /// What each node was sent last: its session's count.
  std::vector<std::pair<SessionId, uint64_t>> sent_;
  std::deque<Node> nodes_;

  // What comes out.
  double core_seconds_ = 0;
  double busy_seconds_ = 0;
  uint64_t in_ = 0, out_ = 0, turns_ = 0;
  double work_ = 0;
  double lost_ = 0;
  double allocated_ = 0;
  uint64_t failed_nodes_ = 0;
  uint64_t up_ = 0;
  Time up_since_{};
  /// Nodes that were there, and for how long.
  std::vector<std::pair<double, uint64_t>> history_;
};

// ---- Slurm ----

void Batch::Start(unsigned workers, uint64_t) {
  ++submissions;
  submitted += workers;
  cluster_.At(cluster_.now() + seconds(1), Cluster::What::kSubmitted, workers);
}

void Batch::Withdraw(std::vector<std::string> allocations) {
  for (const std::string& allocation : allocations) {
    for (Job& job : jobs) {
      if (job.told.allocation != allocation || job.told.state != WorkerJob::State::kPending) {
        continue;
      }
      job.told.state = WorkerJob::State::kEnded;
      job.told.ending = JobEnding::kCancelled;
    }
  }
}

void Batch::StartJob(size_t job) {
  if (jobs[job].told.state != WorkerJob::State::kPending) return;
  jobs[job].told.state = WorkerJob::State::kRunning;
  jobs[job].ends = cluster_.now() + kLife;
  cluster_.StartNode(jobs[job].told.allocation);
}

void Batch::Poll(Time now) {
  JobStates states;
  while (first_ < jobs.size() && jobs[first_].told.state == WorkerJob::State::kOver) ++first_;
  for (size_t i = first_; i < jobs.size(); ++i) {
    Job& job = jobs[i];
    if (job.told.state == WorkerJob::State::kOver) continue;
    if (job.told.state == WorkerJob::State::kRunning) {
      const auto left = std::chrono::duration_cast<seconds>(std::max(job.ends - now, Time{}));
      job.told.time = {left, std::chrono::duration_cast<seconds>(kLife)};
    }
    states.jobs.push_back(job.told);
    if (job.told.state != WorkerJob::State::kEnded) continue;
    states.last_words[job.told.allocation] = "";
    job.told.state = WorkerJob::State::kOver;
  }
  cluster_.Tell({0, std::move(states)});
}

// ---- nodes ----

void Cluster::Count(bool up) {
  history_.emplace_back(Seconds(now_ - up_since_), up_);
  up_since_ = now_;
  up_ = up ? up_ + 1 : up_ - 1;
}

void Cluster::StartNode(const std::string& allocation) {
  const size_t index = nodes_.size();
  Node& node = nodes_.emplace_back();
  sent_.emplace_back();
  WorkerCoreOptions options;
  options.run = kRun;
  for (size_t i = 0; i < 8; ++i) options.worker[i] = static_cast<uint8_t>((index + 1) >> (8 * i));
  options.host = fmt::format("n{}", index);
  options.allocation = node.allocation = allocation;
  options.slots = options_.slots;
  node.core = std::make_unique<WorkerCore>(options);
  node.slots.resize(options_.slots);
  node.connection = index + 1;
  node.since = now_;
  Count(true);
  node.core->OnConnected(now_);
  Act(index);
  At(now_ + kLife, What::kOver, index);
  if (options_.failures > 0) {
    const double year = 365.0 * 24 * 3600;
    At(now_ + TimeOf(std::min(-std::log(1 - Uniform()) * year / options_.failures, year)),
       What::kFails, index);
  }
}

void Cluster::EndNode(size_t index, JobEnding ending, const std::string& how) {
  Node& node = nodes_[index];
  if (!node.alive) return;
  node.alive = false;
  Count(false);
  allocated_ += Seconds(now_ - node.since) * static_cast<double>(options_.slots);
  for (const Node::Slot& slot : node.slots) {
    if (slot.busy) lost_ += Seconds(now_ - slot.started);
  }
  failed_nodes_ += ending == JobEnding::kNode ? 1 : 0;
  for (auto job = batch_.jobs.rbegin(); job != batch_.jobs.rend(); ++job) {
    if (job->told.allocation != node.allocation) continue;
    job->told.state = WorkerJob::State::kEnded;
    job->told.ending = ending;
    job->told.reason = how;
    break;
  }
  node.core.reset();
  node.queue = {};
  node.slots = {};
  node.inbox = {};
}

void Cluster::Step(size_t index) {
  Node& node = nodes_[index];
  if (!node.alive) return;
  while (!node.inbox.empty()) {
    auto [envelope, message] = std::move(node.inbox.front());
    node.inbox.pop_front();
    node.core->OnMessage(now_, envelope, std::move(message));
    Act(index);
    if (!node.alive) return;
  }
  if (std::exchange(node.started_some, false)) {
    std::vector<RunningTask> running;
    for (size_t i = 0; i < node.slots.size(); ++i) {
      if (node.slots[i].busy) running.push_back({node.slots[i].ref, i, node.slots[i].started});
    }
    node.core->OnRunning(running);
  }
  for (const size_t i : std::exchange(node.ended, {})) {
    Node::Slot& slot = node.slots[i];
    TaskResult result;
    result.task = slot.ref.task;
    result.attempt = slot.ref.attempt;
    result.wall_us = static_cast<uint64_t>((now_ - slot.started) / std::chrono::microseconds(1));
    result.started_us = 1;
    work_ += Seconds(now_ - slot.started);
    slot.busy = false;
    node.core->OnFinished(now_, std::move(result), false);
  }
  StartTasks(index);
  node.core->OnTick(now_);
  Act(index);
  if (!node.alive) return;
  const Time due = node.core->next_due();
  if (due != Time::max()) WakeNode(index, std::max(due, now_ + kWire));
}

void Cluster::OnEnd(size_t index, uint32_t slot) {
  Node& node = nodes_[index];
  if (!node.alive) return;
  node.ended.push_back(slot);
  // At once: a slot waits for nothing.
  Step(index);
}

void Cluster::StartTasks(size_t index) {
  Node& node = nodes_[index];
  if (!node.prepared) return;
  constexpr double kSigma = 1;
  std::lognormal_distribution<double> length(std::log(options_.mean) - kSigma * kSigma / 2, kSigma);
  for (uint32_t i = 0; i < node.slots.size() && !node.queue.empty(); ++i) {
    Node::Slot& slot = node.slots[i];
    if (slot.busy) continue;
    slot = {true, node.queue.front().first(), now_};
    node.queue.pop_front();
    node.started_some = true;
    At(now_ + TimeOf(std::min(length(random_), 10 * options_.mean)), What::kEnd, index, i);
  }
}

void Cluster::Act(size_t index) {
  Node& node = nodes_[index];
  for (auto actions = node.core->TakeActions(); !actions.empty();
       actions = node.core->TakeActions()) {
    for (WorkerAction& action : actions) {
      if (auto* send = std::get_if<SendUp>(&action)) {
        inbox_.push_back({node.connection, send->envelope, std::move(send->message)});
        WakeMaster();
      } else if (auto* enqueue = std::get_if<Enqueue>(&action)) {
        for (Task& task : enqueue->tasks) node.queue.push_back(std::move(task));
      } else if (std::holds_alternative<Prepare>(action)) {
        node.prepared = true;
        node.core->OnPrepared("");
      } else if (auto* take = std::get_if<TakeBack>(&action)) {
        std::vector<AttemptRef> taken;
        std::erase_if(node.queue, [&](const Task& task) {
          const auto& wanted = take->attempts;
          if (std::find(wanted.begin(), wanted.end(), task.first()) == wanted.end()) return false;
          taken.push_back(task.first());
          return true;
        });
        node.core->OnTakenBack(taken, take->reason);
      } else if (std::holds_alternative<Exit>(action)) {
        return EndNode(index, JobEnding::kLeft, "it left");
      }
    }
  }
  StartTasks(index);
  if (node.started_some) WakeNode(index, now_ + kWire);
}

// ---- the master ----

void Cluster::Turn() {
  turn_set_ = false;
  ++turns_;
  const uint64_t before = in_ + out_;
  const auto begin = std::chrono::steady_clock::now();
  // As its loop does.
  for (int i = 0; i < 1000 && !inbox_.empty(); ++i, ++in_) {
    Incoming incoming = std::move(inbox_.front());
    inbox_.pop_front();
    core_.OnMessage(now_, incoming.from, incoming.envelope, std::move(incoming.message));
  }
  for (; !mail_.empty(); mail_.pop_front()) {
    workforce_->On(now_, mail_.front(), core_, quiet_, false);
  }
  const uint64_t workers = core_.counts().workers;
  const uint64_t jobs = workforce_->jobs();
  core_.OnExpected(jobs > workers ? jobs - workers : 0);
  core_.OnTick(now_);
  core_.Flush(now_);
  auto actions = core_.TakeActions();
  workforce_->Steer(now_, core_);
  core_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (Action& action : actions) {
    std::visit([this](auto& a) { Do(a); }, action);
  }
  const double busy = static_cast<double>(in_ + out_ - before) * options_.cost_us * 1e-6;
  busy_seconds_ += busy;
  free_at_ = now_ + TimeOf(busy);
  if (!inbox_.empty()) WakeMaster();
}

void Cluster::Do(struct Give& give) {
  Assign assign{kRun, {}};
  for (const auto& grant : give.grants) {
    for (uint64_t i = 0; i < grant.span.count; ++i) {
      Task& task = assign.tasks.emplace_back();
      task.task = grant.span.task + i;
      task.attempt = grant.span.attempt + i;
      task.attempt_number = grant.attempt_number;
    }
  }
  ToNode(give.to, give.session, std::move(assign));
}

void Cluster::Do(Write& write) {
  for (const JournalRecord& record : write.records) committed_.Add(record);
  if (std::exchange(committing_, true)) return;
  At(now_ + kDurableAfter, What::kCommit);
}

void Cluster::ToNode(ConnectionId to, SessionId session, ToWorker message) {
  ++out_;
  const size_t index = to - 1;
  Node& node = nodes_[index];
  if (!node.alive) return;
  Envelope envelope{session, 0};
  if (session != 0 && !std::holds_alternative<Who>(message)) {
    auto& [last, count] = sent_[index];
    if (std::exchange(last, session) != session) count = 0;
    envelope.sequence = ++count;
  }
  node.inbox.emplace_back(envelope, std::move(message));
  WakeNode(index, now_ + kWire);
}

void Cluster::Run() {
  PoolShare share;
  share.pool = &batch_;
  share.workers = static_cast<unsigned>(options_.nodes);
  share.slots = static_cast<unsigned>(options_.slots);
  workforce_ = std::make_unique<Workforce>(std::vector{share}, false);
  workforce_->Open([this](Workforce::Word word) { Tell(std::move(word)); }, -1,
                   [](const JournalRecord&) { return true; });
  At(seconds(5), What::kPoll);
  WakeMaster();
  while (!finished_ && !events_.empty()) {
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    switch (event.what) {
      case What::kEnd:
        OnEnd(event.index, event.slot);
        break;
      case What::kStep:
        if (nodes_[event.index].wakes != event.at) break;
        nodes_[event.index].wakes = Time::max();
        Step(event.index);
        break;
      case What::kTurn:
        Turn();
        break;
      case What::kCommit: {
        committing_ = false;
        const auto begin = std::chrono::steady_clock::now();
        core_.OnCommitted(now_, std::exchange(committed_, {}));
        core_seconds_ +=
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        WakeMaster();
        break;
      }
      case What::kPoll:
        batch_.Poll(now_);
        At(now_ + (now_ < minutes(2) ? seconds(5) : seconds(60)), What::kPoll);
        break;
      case What::kSubmitted: {
        const auto workers = static_cast<unsigned>(event.index);
        for (unsigned i = 0; i < workers; ++i) {
          Batch::Job job;
          job.told.allocation = fmt::format("slurm 1_{}", batch_.jobs.size() + 1);
          batch_.jobs.push_back(std::move(job));
          At(now_ + Wait(), What::kJob, batch_.jobs.size() - 1);
        }
        Tell({0, Submitted{workers, workers, {}}});
        break;
      }
      case What::kJob:
        batch_.StartJob(event.index);
        break;
      case What::kFails:
        EndNode(event.index, JobEnding::kNode, "NODE_FAIL");
        break;
      case What::kOver:
        EndNode(event.index, JobEnding::kTimeLimit, "TIMEOUT");
        break;
    }
    if (!turn_set_ && inbox_.empty() && now_ - free_at_ > milliseconds(100)) WakeMaster();
  }
  for (const Node& node : nodes_) {
    if (node.alive) allocated_ += Seconds(now_ - node.since) * static_cast<double>(options_.slots);
  }
  history_.emplace_back(Seconds(now_ - up_since_), up_);
}

// The shortest that these nodes could have taken, if no slot had ever idled.
double Bound(const std::vector<std::pair<double, uint64_t>>& history, double slots, double work) {
  double time = 0;
  for (const auto& [length, nodes] : history) {
    const double rate = static_cast<double>(nodes) * slots;
    if (rate > 0 && work <= rate * length) return time + work / rate;
    work -= rate * length;
    time += length;
  }
  return time;
}

void Cluster::Report() const {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double took = Seconds(now_);
  const auto tasks = static_cast<double>(options_.tasks);
  const double bound = Bound(history_, static_cast<double>(options_.slots), work_);
  fmt::print(
      "{} tasks of {} s on {} nodes x {} slots, waits as {}, {} us a message, {} failures a node "
      "and year\n"
      "  makespan {:.0f} s, bound {:.0f} s: {:.4f}; utilisation of what was allocated {:.4f}\n"
      "  {} submissions of {} jobs; {} nodes failed; work lost {:.5f}\n"
      "  master: {:.0f} results/s; core {:.3f} us a task in {} turns, {:.4f} of a CPU; with codec "
      "and sockets {:.4f} of one\n"
      "  {:.2f} messages in and {:.2f} out a task; peak memory of all of it {:.0f} MB\n",
      options_.tasks, options_.mean, options_.nodes, options_.slots, options_.trace,
      options_.cost_us, options_.failures, took, bound, took / bound, work_ / allocated_,
      batch_.submissions, batch_.submitted, failed_nodes_, lost_ / work_, tasks / took,
      core_seconds_ / tasks * 1e6, turns_, core_seconds_ / took,
      (core_seconds_ + busy_seconds_) / took, static_cast<double>(in_) / tasks,
      static_cast<double>(out_) / tasks, static_cast<double>(usage.ru_maxrss) / 1024);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const auto number = [&](int i, auto& value) {
    if (argc > i) value = static_cast<std::decay_t<decltype(value)>>(std::atof(argv[i]));
  };
  number(1, options.tasks);
  number(2, options.nodes);
  number(3, options.slots);
  number(4, options.mean);
  if (argc > 5) options.trace = argv[5];
  options.waits = options.trace == "kth" ? kKth : options.trace == "none" ? kNone : kCurie;
  number(6, options.cost_us);
  number(7, options.failures);
  Cluster cluster(options);
  cluster.Run();
  cluster.Report();
}
