#include "master/run/run_session.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "base/files.h"
#include "base/quantities.h"
#include "base/text.h"
#include "cq/error.h"
#include "master/journal/journal.h"
#include "master/run/cancel.h"
#include "master/run/pool_plan.h"
#include "protocol/codec.h"

extern char** environ;

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

// Not 0. Throws Error.
uint64_t Random64() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) {
    throw Error("the system gives no random numbers");
  }
  return number == 0 ? 1 : number;
}

// What this program has set itself since it began.
std::vector<std::pair<std::string, std::string>> ChangedEnvironment() {
  std::set<std::string> before;
  std::istringstream initial(ReadFile("/proc/self/environ"));
  for (std::string entry; std::getline(initial, entry, '\0');) before.insert(entry);
  std::vector<std::pair<std::string, std::string>> changed;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || before.contains(text)) continue;
    changed.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return changed;
}

Transport::Where WhereOf(const CommonOptions& options) {
  Transport::Where where;
  where.interface = options.interface;
  if (options.ports.empty()) return where;
  const size_t dash = options.ports.find('-');
  const std::string first = options.ports.substr(0, dash);
  const std::string last = dash == std::string::npos ? first : options.ports.substr(dash + 1);
  const auto number = [](const std::string& text) {
    const bool digits = text.find_first_not_of("0123456789") == std::string::npos;
    return digits && !text.empty() && text.size() <= 5 ? std::stoi(text) : 0;
  };
  where.first_port = number(first);
  where.last_port = number(last);
  if (where.first_port == 0 || where.first_port > where.last_port || where.last_port > 65'535) {
    throw UsageError(
        fmt::format("--ports {}: it must be FIRST-LAST, from 1 to 65535", options.ports));
  }
  return where;
}

void Check(const CommonOptions& options) {
  const auto within = [](const char* name, milliseconds value, milliseconds least) {
    constexpr auto kMost = std::chrono::hours(24 * 36600);  // as ParseDuration
    if (value >= least && value <= kMost) return;
    throw UsageError(fmt::format("{} is {} ms: it must be {} ms to a hundred years", name,
                                 value.count(), least.count()));
  };
  within("lease", options.lease, milliseconds(100));
  within("task_timeout", options.task_timeout, milliseconds(0));
  if (options.on_master_loss) {
    within("on_master_loss", *options.on_master_loss, milliseconds(0));
  }
  if (options.crash_limit == 0) throw UsageError("crash_limit is 0: it must be at least 1");
  Transport::Require(WhereOf(options));
  if (options.keep && options.rerun) throw UsageError("--keep and --rerun: choose one");
}

// Room for the descriptors of so many workers.
void MakeRoom(const std::vector<PoolShare>& shares,
              const std::vector<std::unique_ptr<Pool>>& pools) {
  uint64_t workers = 0;
  for (const PoolShare& share : shares) workers += share.workers;
  try {
    RequireDescriptors(kOwnDescriptors + kDescriptorsOfWorker * workers, "fewer workers");
  } catch (const Error& error) {
    // Before anything has started.
    throw UsageError(error.what());
  }
  // Strangers may hold connections open without speaking: the more the better.
  const uint64_t before = RaiseDescriptorLimit();
  for (const auto& pool : pools) pool->KeepDescriptorLimit(before);
}

}  // namespace

RunSession::RunSession(const CommonOptions& options, std::vector<PoolOptions> plans,
                       RunObserver& observer)
    : options_(options),
      observer_(observer),
      plans_(std::move(plans)),
      run_dir_(plans_.at(0).run_dir) {
  Check(options_);
  std::set<std::string> borrowed;
  for (const PoolOptions& plan : plans_) {
    if (TraitsOf(plan.scheduler).lends && !borrowed.insert(plan.scheduler).second) {
      throw UsageError(
          fmt::format("'{}' is named twice: a run borrows of it once", plan.scheduler));
    }
    pools_.push_back(std::make_unique<Pool>(plan));
    shares_.push_back({pools_.back().get(), plan.name, plan.workers, plan.slots, plan.least,
                       plan.idle_timeout, plan.launch_timeout, plan.divided, plan.at_most});
  }
  MakeRoom(shares_, pools_);
}

// ---- directory and journal ----

void RunSession::Make() {
  directory_.emplace(RunDirectory::Make(run_dir_, options_.fresh));
  NumberPools();
  definition_.run = Random64();
  definition_.seed = options_.seed ? *options_.seed : Random64() >> 33;
}

void RunSession::Open() {
  directory_.emplace(RunDirectory::Open(run_dir_, options_.take_over, options_.trust_owner));
  const std::string loss = LossOfLog(directory_->path());
  if (!loss.empty()) observer_.Warning(loss);
  journal_.emplace(OpenJournal(directory_->File("journal.db")));
  definition_ = ReadDefinition(*journal_);
}

void RunSession::Refuse(const std::string& why) const {
  throw UsageError(fmt::format(
      "the run in '{}' is another one: {}; --fresh moves it aside and starts anew, --run-dir DIR "
      "puts this run elsewhere",
      run_dir_, why));
}

void RunSession::RequireSame(const std::map<std::string, std::string>& constants) const {
  if (constants != definition_.constants) Refuse("its constants are others");
  if (options_.seed && *options_.seed != definition_.seed) {
    Refuse(fmt::format("its seed is {}, not {}", definition_.seed, *options_.seed));
  }
}

// Whoever sends looks first whether the other side would take it: what it refuses it would be sent
// for ever.
void RunSession::RequireSendable(RunText text) const {
  FillCommon(text);
  const auto decoded = DecodeToWorker(Encode({}, ToWorker(std::move(text))));
  const auto* error = std::get_if<DecodeError>(&decoded);
  if (error == nullptr) return;
  throw UsageError(
      fmt::format("workers could not be told of this run, since its command, constants, variables "
                  "or columns are "
                  "too many or too large: {}",
                  error->reason));
}

void RunSession::Publish(const Files& files, const std::vector<RowRange>& ranges,
                         const std::string& record) {
  const Fingerprints now = TakeFingerprints(definition_, files.depends, files.libraries);
  auto meta = definition_.ToMeta();
  meta["fingerprints"] = ToJson(now);
  meta["record"] = record.empty() ? "null" : record;
  CreateJournal(directory_->File("journal.db"), meta, ranges);
  directory_->Publish();
  files_.emplace(now);
  journal_.emplace(OpenJournal(directory_->File("journal.db")));
}

void RunSession::PublishWithoutJournal(const Files& files) {
  files_.emplace(TakeFingerprints(definition_, files.depends, files.libraries));
  directory_->Publish();
}

void RunSession::CompareFiles(const Fingerprints& now) {
  const auto changed = Changed(FingerprintsFromJson(MetaText(*journal_, "fingerprints")), now);
  const uint64_t results = CountResults(*journal_);
  if (changed.empty() || results == 0 || options_.keep || options_.rerun) return;
  throw UsageError(fmt::format(
      "{} results in '{}' are older than the last change of {}: --keep keeps them, --rerun runs "
      "their tasks again",
      results, run_dir_, Joined(changed, ", ")));
}

// The journal names pools by their places among all that the run has had.
void RunSession::NumberPools() {
  auto& known = definition_.pools;
  for (size_t i = 0; i < plans_.size(); ++i) {
    const auto found = std::find(known.begin(), known.end(), plans_[i].name);
    pools_[i]->set_place(static_cast<unsigned>(found - known.begin()));
    if (found == known.end()) known.push_back(plans_[i].name);
  }
}

void RunSession::Continue(const Files& files, Restart restart, Restart::Rerun otherwise) {
  NumberPools();
  const Fingerprints now = TakeFingerprints(definition_, files.depends, files.libraries);
  CompareFiles(now);
  files_.emplace(now);
  restart.rerun = options_.rerun    ? Restart::Rerun::kAll
                  : options_.failed ? Restart::Rerun::kFailed
                                    : otherwise;
  for (auto& [name, value] : definition_.ToMeta()) restart.meta[name] = value;
  restart.meta["fingerprints"] = ToJson(now);
  epoch_ = StartEpoch(*journal_, restart);
}

// ---- workers and loop ----

// Those of another scheduler could not be watched any more.
void RunSession::CancelLeft(bool all) {
  const auto say = [this](const std::string& text) { observer_.Resumed(text); };
  std::set<std::string> kept;
  for (const auto& pool : pools_) {
    if (!all) kept.insert(pool->scheduler());
  }
  for (const std::string& job : CancelAllocations(*journal_, directory_->path(), kept, say)) {
    observer_.Resumed(fmt::format("cancelled {}, left by an earlier master", job));
  }
}

Transport::Reach RunSession::ReachOfPools() const {
  using Reach = Transport::Reach;
  // Somebody may start a worker elsewhere, by hand.
  const bool here = options_.interface.empty() && !options_.asked_from_elsewhere;
  Reach reach = here ? Reach::kLoopback : Reach::kLoopbackFirst;
  for (const auto& pool : pools_) {
    if (pool->traits().same_host) continue;
    const bool first = pool->ControllerAtLoopback() || reach == Reach::kLoopbackFirst;
    reach = first ? Reach::kLoopbackFirst : Reach::kAll;
  }
  return reach;
}

// Binds, and writes the keys and the address to where workers find them: the same keys and, if it
// can be had, the same port as an earlier master's, so that workers come back by themselves.
Transport RunSession::Listen(bool lends) {
  // The transport's, the journal's, and those of the pools: libzmq would abort for want of one.
  RequireThreads(4 + pools_.size(), pools_.size() > 1 ? "fewer pools" : "a quieter machine");
  Transport transport(keys_->server(), keys_->client_public());
  const bool local = std::any_of(pools_.begin(), pools_.end(),
                                 [](const auto& pool) { return pool->traits().same_host; });
  // Where no file can be kept private, no directory can.
  const bool keeps_private = keys_->elsewhere().empty();
  std::string socket;
  if (local && keeps_private) socket = transport.BindLocal(directory_->File("local"));
  auto endpoints = transport.Bind(ReachOfPools(), keys_->port(), WhereOf(options_));
  const std::string address = endpoints[0];
  std::map<std::string, Capacity> capacities;
  for (const PoolOptions& plan : plans_) capacities[plan.name] = plan.capacity;
  keys_->Write(std::move(endpoints), std::move(socket), lends, std::move(capacities));
  if (!keeps_private) {
    observer_.Warning(
        fmt::format("the file system of '{}' can keep no file private: the run's keys are in '{}'",
                    directory_->path(), keys_->elsewhere()));
  }
  directory_->WriteOwner(address);
  return transport;
}

// What earlier masters submitted is taken over; their workers are waited for as long as they can
// live.
void RunSession::TakeOver(Recovered& recovered) {
  std::vector<std::string> allocations;
  for (const KnownWorker& worker : recovered.workers) allocations.push_back(worker.allocation);
  std::vector<std::string> watched;
  for (OpenAllocation& open : OpenAllocations(*journal_)) {
    // Where the pools are others now: any of that scheduler can watch them.
    Pool* taker = nullptr;
    for (const auto& pool : pools_) {
      if (pool->scheduler() != open.scheduler) continue;
      if (taker == nullptr || pool->place() == open.pool) taker = pool.get();
    }
    if (taker == nullptr) continue;
    const std::string lent = taker->allocations();
    watched.push_back(!lent.empty() ? lent
                                    : fmt::format("{} {}_", open.scheduler,
                                                  open.job.substr(0, open.job.find(';'))));
    open.allocations = allocations;
    taker->Adopt(open);
  }
  for (KnownWorker& worker : recovered.workers) {
    worker.watched = std::any_of(watched.begin(), watched.end(), [&](const std::string& begin) {
      return worker.allocation.starts_with(begin);
    });
  }
  for (const std::string& host : AvoidedHosts(*journal_)) {
    for (const auto& pool : pools_) {
      if (!pool->traits().same_host || pool->traits().lends) pool->Avoid(host);
    }
  }
}

// What all runs have in common.
void RunSession::FillCommon(CoreOptions& core) const {
  core.epoch = epoch_;
  core.lease = options_.lease;
  core.crash_limit = options_.crash_limit;
  core.retries = options_.retries;
  core.explained_late = explains_late();
  core.expected_slots = 0;
  for (const PoolOptions& plan : plans_) core.expected_slots += uint64_t{plan.workers} * plan.slots;
  core.pools = KindsOf(plans_);
  FillCommon(core.text);
}

void RunSession::FillCommon(RunText& text) const {
  text.run = definition_.run;
  text.run_dir = directory_->path();
  text.cwd = definition_.cwd;
  // Workers on this machine inherit it; borrowed ones as it was when this process began.
  const bool borrows = std::any_of(pools_.begin(), pools_.end(),
                                   [](const auto& pool) { return pool->traits().lends; });
  if (borrows && same_host()) {
    const auto changed = ChangedEnvironment();
    text.env.insert(text.env.begin(), changed.begin(), changed.end());
  }
  text.env.insert(text.env.end(), definition_.env.begin(), definition_.env.end());
  text.check = options_.worker_check;
  text.timeout_ms = static_cast<uint64_t>(options_.task_timeout.count());
  text.memory_bytes = options_.task_memory_bytes;
  text.fence = options_.fence;
  text.chunk = options_.chunk;
  // Others may want the slots that it borrows.
  const bool lent = std::any_of(pools_.begin(), pools_.end(),
                                [](const auto& pool) { return pool->traits().lends; });
  const auto patience = journal_ && !lent ? minutes(30) : minutes(1);
  const milliseconds loss = options_.on_master_loss.value_or(patience);
  text.on_master_loss_ms = static_cast<uint64_t>(loss.count());
}

bool RunSession::explains_late() const {
  return std::any_of(pools_.begin(), pools_.end(),
                     [](const auto& pool) { return pool->traits().explains_late; });
}

bool RunSession::same_host() const {
  return std::all_of(pools_.begin(), pools_.end(),
                     [](const auto& pool) { return pool->traits().same_host; });
}

Transport RunSession::Wire(Recovered& recovered, bool open, bool lends) {
  keys_ = std::make_unique<RunKeys>(*directory_, definition_.run);
  Transport transport = Listen(lends);
  for (const auto& pool : pools_) pool->HoldOpen(directory_->workers_lock());
  if (journal_) TakeOver(recovered);
  workforce_ = std::make_unique<Workforce>(shares_, open);
  if (epoch_ > 1) workforce_->OnEarlierMaster();
  return transport;
}

MasterLoop& RunSession::Start(CoreOptions core, MasterLoop::Options loop, Recovered recovered,
                              TaskSource& tasks, const MakeWriter& make_writer) {
  FillCommon(core);
  const bool journalled = journal_.has_value();
  Transport transport = Wire(recovered, core.open, false);
  loop.spool = directory_->File("spool");
  loop.copies = directory_->File("copy-");
  loop.keep_alive = [this] {
    directory_->RenewOwner();
    LookAtFiles();
  };
  const auto make = [&](RecordWriter::Callbacks callbacks) {
    auto writer = make_writer(journal_, std::move(callbacks));
    journal_.reset();
    return writer;
  };
  loop_ = std::make_unique<MasterLoop>(std::move(loop), Core(std::move(core), std::move(recovered)),
                                       std::move(transport), tasks, *workforce_, make, observer_);
  if (journalled) directory_->Keep();
  return *loop_;
}

void RunSession::LookAtFiles() {
  const std::string changed = files_->Look();
  if (!changed.empty()) observer_.Warning(changed);
}

void RunSession::Close(bool keep_keys) {
  unlink(directory_->File("owner.json").c_str());
  if (!keep_keys) keys_->Remove();
}

}  // namespace cq
