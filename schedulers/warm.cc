// Workers on slots that a warm pool lends (protocol/POOL_PROTOCOL.md).
#include "schedulers/warm.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/proc.h"
#include "cq/error.h"
#include "protocol/connection_file.h"
#include "protocol/ids.h"
#include "protocol/pool_channel.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kPingEvery{5};
constexpr seconds kMuteAfter{30};
/// How long a run without a worker waits for a pool that says nothing.
constexpr seconds kGiveUpAfter{120};
/// How long a pool that is gone may take to come back.
constexpr seconds kReturnWithin{10};

class WarmScheduler final : public Scheduler {
 public:
  WarmScheduler(PoolFile pool, WorkerLaunch launch)
      : pool_(std::move(pool)),
        launch_(std::move(launch)),
        allocations_(fmt::format("{}pool {} ", pool_.same_host ? "local " : "", pool_.name)) {}

  // What it has is asked for by Want.
  std::string Submit(unsigned, const std::string&) override {
    if (!channel_ && !Connect()) throw Error(WhyGone());
    return pool_.name;
  }

  // What an earlier master of the run had the pool is asked for; it says at once what there is
  // still.
  Adopted Adopt(const LeftSubmission& left) override {
    for (const std::string& allocation : left.allocations) {
      if (const auto id = LoanOf(allocation)) loans_[*id];
    }
    if (!channel_ && !Connect()) {
      loans_.clear();
      return Adopted::kGone;
    }
    WaitUntil(seconds(2), [this] { return answered_; });
    return Adopted::kYes;
  }

  std::vector<WorkerJob> Poll() override {
    Hear();
    if (!channel_) Return();
    std::vector<WorkerJob> jobs = std::exchange(ended_, {});
    for (const auto& [id, log] : loans_) {
      if (given_up_) continue;
      WorkerJob job;
      job.allocation = AllocationOf(id);
      job.state = WorkerJob::State::kRunning;
      job.log_file = log;
      jobs.push_back(std::move(job));
    }
    return jobs;
  }

  void Want(uint64_t workers) override {
    wanted_ = workers;
    Say({{"say", "want"}, {"slots", wanted_}});
  }

  LendingTerms Terms() const override {
    LendingTerms terms;
    terms.allocations = allocations_;
    terms.limit = limit_;
    terms.spared = spared_;
    for (const LoanId id : leaving_) {
      if (loans_.contains(id)) terms.leaving.push_back(AllocationOf(id));
    }
    terms.slots = slots_;
    terms.over = over_;
    if (!over_.empty()) return terms;
    if (!channel_) {
      terms.waits = fmt::format("the pool '{}' is gone; waiting for it", pool_.name);
    } else if (Silence() > kMuteAfter) {
      terms.waits = WhySilent();
    } else if (loans_.size() < wanted_) {
      terms.waits = fmt::format("the pool '{}' has no slot free", pool_.name);
    }
    return terms;
  }

  void End(const std::string& allocation) override {
    for (const auto& [id, log] : loans_) {
      if (AllocationOf(id) == allocation) Say({{"say", "end"}, {"loan", id}});
    }
  }

  void Avoid(const std::string& host) override {
    avoided_.push_back(host);
    Say({{"say", "avoid"}, {"host", host}});
  }

  void Finish() override {
    Want(0);
    WaitForAll(seconds(1));
    CancelAll();
  }

  void CancelAll() override {
    Want(0);
    for (const auto& [id, log] : loans_) Say({{"say", "end"}, {"loan", id}});
    WaitForAll(seconds(5));
    LetGo();
  }

  void LetGo() override {
    channel_.reset();
    loans_.clear();
  }

  milliseconds PollInterval(bool) const override {
    return channel_ ? milliseconds(kPingEvery) : milliseconds(200);
  }

  std::vector<int> WatchFds() const override {
    if (!channel_) return {};
    return {channel_->fd()};
  }

 private:
  std::string AllocationOf(LoanId id) const {
    return fmt::format("{}{}.{}", allocations_, EpochOf(id), SerialOf(id));
  }

  // Of one of ours.
  std::optional<LoanId> LoanOf(const std::string& allocation) const {
    if (!allocation.starts_with(allocations_)) return std::nullopt;
    unsigned long long epoch = 0;
    unsigned long long serial = 0;
    const char* number = allocation.c_str() + allocations_.size();
    if (std::sscanf(number, "%llu.%llu", &epoch, &serial) != 2) return std::nullopt;
    return MakeSerial(epoch, serial);
  }

  std::string WhyGone() const {
    const std::string why = WhyUnreachable(pool_);
    return why.empty() ? fmt::format("the pool '{}' does not answer", pool_.name) : why;
  }

  Clock::duration Silence() const { return Clock::now() - heard_; }

  std::string WhySilent() const {
    return fmt::format("the pool '{}' does not answer: is its process ({}) stopped?", pool_.name,
                       pool_.pid);
  }

  void Say(const OrderedJson& message) {
    if (channel_) channel_->Send(message);
  }

  // False if nobody is there, or another kind of pool than this run began with.
  bool Connect() {
    PoolFile now;
    try {
      now = ReadPoolFile(pool_.name);
    } catch (const Error&) {
      return false;
    }
    if (now.scheduler != pool_.scheduler || !WhyUnreachable(now).empty()) return false;
    pool_ = now;
    const RunId run = ReadConnectionFile(launch_.connection_file).run;
    channel_ = ConnectToPool(pool_.socket);
    if (!channel_) return false;
    heard_ = Clock::now();
    answered_ = false;
    limit_.reset();
    OrderedJson loans = OrderedJson::array();
    for (const auto& [id, log] : loans_) loans.push_back(id);
    Say({{"say", "borrow"},
         {"run", run},
         {"name", JsonOfBytes(launch_.run_dir)},
         {"priority", launch_.priority},
         {"program", JsonOfList(launch_.program)},
         {"connect", JsonOfBytes(launch_.connection_file)},
         {"allocations", allocations_},
         {"logs", JsonOfBytes(launch_.log_dir)},
         {"loans", loans},
         {"pid", getpid()},
         {"start", StartTimeOf(getpid()).value_or(0)},
         {"workers_lock", JsonOfBytes(launch_.run_dir + "/workers.lock")}});
    Want(wanted_);
    for (const std::string& host : avoided_) Say({{"say", "avoid"}, {"host", host}});
    return true;
  }

  void Hear() {
    if (!channel_) return;
    while (const auto message = channel_->Receive()) {
      heard_ = Clock::now();
      try {
        OnMessage(*message);
      } catch (const OrderedJson::exception&) {
        // Of a pool that speaks otherwise: as if it had said nothing.
      }
    }
    channel_->Flush();
    if (channel_->broken()) return OnGone();
    // If it is silent, its process lives, and what it has lent does, too.
    if (loans_.empty() && Silence() > kGiveUpAfter) over_ = WhySilent();
    const auto now = Clock::now();
    if (now - pinged_ < kPingEvery) return;
    pinged_ = now;
    Say({{"say", "ping"}});
  }

  void OnMessage(const OrderedJson& message) {
    const auto say = message["say"].get<std::string>();
    if (say == "loan") {
      loans_[message.at("loan").get<LoanId>()] = BytesOfJson(message.at("log"));
    } else if (say == "ended") {
      OnEnded(message.at("loan").get<LoanId>(), message.at("reason").get<std::string>(),
              message.at("explained").get<bool>());
    } else if (say == "leave") {
      leaving_.insert(message.at("loan").get<LoanId>());
    } else if (say == "limit") {
      const auto slots = message.at("slots").get<int64_t>();
      limit_ = slots < 0 ? std::nullopt : std::optional<uint64_t>(slots);
      spared_ = message.value("spare", std::vector<std::string>());
    } else if (say == "closing" || say == "refused") {
      answered_ = true;
      over_ = fmt::format("the pool '{}': {}", pool_.name, message.at("reason").get<std::string>());
      limit_ = 0;
    } else if (say == "lends") {
      answered_ = true;
      given_up_ = false;
      over_.clear();
      slots_ = message.at("slots").get<uint64_t>();
      if (message.value("none", false)) {
        over_ = fmt::format("the pool '{}' has no machine left but those that failed the run",
                            pool_.name);
      }
    }
  }

  void OnEnded(LoanId id, const std::string& reason, bool explained) {
    const auto loan = loans_.find(id);
    if (loan == loans_.end()) return;
    WorkerJob job;
    job.allocation = AllocationOf(id);
    job.state = WorkerJob::State::kEnded;
    job.reason = fmt::format("{}: {}", job.allocation, reason);
    job.ending = explained ? JobEnding::kPreempted : JobEnding::kItself;
    job.log_file = loan->second;
    ended_.push_back(std::move(job));
    loans_.erase(loan);
    leaving_.erase(id);
  }

  void OnGone() {
    channel_.reset();
    gone_ = Clock::now();
    limit_.reset();
    // They end with it.
    if (pool_.same_host) EndAll();
  }

  void EndAll() {
    for (auto at = loans_.begin(); at != loans_.end();) {
      const LoanId id = (at++)->first;
      OnEnded(id, over_.empty() ? "its pool is gone" : over_, true);
    }
  }

  // Looks whether the pool is back. After a while it is over: whatever still lives of its workers
  // shows it.
  void Return() {
    if (Connect() || Clock::now() - gone_ < kReturnWithin || given_up_) return;
    given_up_ = true;
    if (over_.empty()) over_ = WhyGone();
    for (const auto& [id, log] : loans_) {
      WorkerJob job;
      job.allocation = AllocationOf(id);
      job.state = WorkerJob::State::kEnded;
      job.reason = "its pool is gone";
      job.ending = JobEnding::kPreempted;
      job.log_file = log;
      ended_.push_back(std::move(job));
    }
  }

  void WaitForAll(seconds limit) {
    WaitUntil(limit, [this] { return loans_.empty(); });
  }

  template <class Done>
  void WaitUntil(seconds limit, const Done& done) {
    const auto deadline = Clock::now() + limit;
    while (channel_ && !done() && Clock::now() < deadline) {
      pollfd readable{channel_->fd(), POLLIN, 0};
      const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
      poll(&readable, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
      Hear();
    }
  }

  PoolFile pool_;
  WorkerLaunch launch_;
  const std::string allocations_;
  std::optional<PoolChannel> channel_;
  /// It has said whether it lends.
  bool answered_ = false;
  Clock::time_point heard_{};
  Clock::time_point pinged_{};
  Clock::time_point gone_{};
  uint64_t slots_ = 0;
  uint64_t wanted_ = 0;
  std::optional<uint64_t> limit_;
  std::vector<std::string> spared_;
  std::vector<std::string> avoided_;
  /// With their logs.
  std::map<LoanId, std::string> loans_;
  /// Of these, those that are to be emptied.
  std::set<LoanId> leaving_;
  /// What Poll has to tell still.
  std::vector<WorkerJob> ended_;
  std::string over_;
  /// The pool was gone for too long, and its loans have been told as ended.
  bool given_up_ = false;
};

}  // namespace

SchedulerTraits TraitsOfPool(const PoolFile& pool) {
  return {.outlives_master = !pool.same_host,
          .explains_late = !pool.same_host,
          .same_host = pool.same_host,
          .lends = true,
          .lent_at_most = static_cast<unsigned>(pool.all_slots())};
}

std::unique_ptr<Scheduler> MakeWarmScheduler(const PoolFile& pool, WorkerLaunch launch) {
  const std::string why = WhyUnreachable(pool);
  if (!why.empty()) throw UsageError(why);
  const auto refuse = [](const char* option) {
    throw UsageError(fmt::format(
        "{} is for workers that a run starts itself; those of a pool are as 'cq pool start' made "
        "them",
        option));
  };
  if (!launch.template_text.empty()) refuse("--template");
  if (!launch.set.empty()) refuse("--set");
  if (!launch.worker_init.empty()) refuse("--worker-init");
  if (launch.slots != 1) refuse("--slots");
  return std::make_unique<WarmScheduler>(pool, std::move(launch));
}

}  // namespace cq
