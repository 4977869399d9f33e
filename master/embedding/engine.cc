// The master behind cq::Master: a thread that runs the loop, and the calls that others submit.
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <thread>
#include <unordered_map>

#include "base/blocked_signals.h"
#include "base/cpus.h"
#include "base/files.h"
#include "base/text.h"
#include "cq/master.h"
#include "master/embedding/call_journal.h"
#include "master/embedding/call_table.h"
#include "master/embedding/continuations.h"
#include "master/embedding/ended.h"
#include "master/embedding/observer.h"
#include "master/embedding/private_directory.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/loop/master_loop.h"
#include "master/run/cancel.h"
#include "master/run/fingerprints.h"
#include "master/run/run_setup.h"
#include "protocol/function_libraries.h"
#include "protocol/limits.h"
#include "protocol/own_program.h"

namespace cq {
namespace {

namespace fs = std::filesystem;
using detail::Call;
using detail::Receiver;

/// Constants travel with the first message to a worker, and on to each slot in one frame.
constexpr size_t kConstantsMax = kConstantBytesMax;
static_assert(kArgumentBytesMax == kTaskBytesMax && kReturnedBytesMax == kResultBytesMax);

class MasterEngine final : public detail::Engine {
 public:
  explicit MasterEngine(const MasterOptions& options)
      : options_(options), observer_(options.warn), plans_(PlansOf(options)) {
    Check();
    if (options_.run_dir.empty()) {
      private_ = std::make_unique<PrivateDirectory>(elsewhere());
      run_dir_ = private_->path() + "/run";
    } else {
      run_dir_ = AbsolutePath(options_.run_dir);
    }
    for (PoolOptions& plan : plans_) {
      plan.run_dir = run_dir_;
      pools_.push_back(std::make_unique<Pool>(plan));
      shares_.push_back({pools_.back().get(), plan.workers});
    }
    // Signals are for the program's own threads.
    const BlockedSignals blocked;
    SetUp();
    thread_ = std::thread([this] { Run(); });
  }

  ~MasterEngine() override { Stop(); }

  // ---- for the program's threads ----

  bool Submit(std::vector<Call>& calls, bool wait) override {
    size_t bytes = 0;
    for (Call& call : calls) {
      RefuseIfTooLarge(call);
      bytes += CallTable::BytesOf(call);
    }
    std::vector<std::pair<std::shared_ptr<Receiver>, TaskResult>> recorded;
    std::vector<Call> refused;
    bool post = false;
    {
      std::unique_lock lock(mutex_);
      const auto room = [&] {
        return over_ || bytes_ == 0 || bytes_ + bytes <= options_.memory_bytes;
      };
      if (!wait && !room()) return false;
      room_.wait(lock, room);
      for (Call& call : calls) {
        const TaskId known =
            known_ == nullptr ? 0 : known_->Claim(call.function->name, call.arguments);
        call.task = known != 0 ? known : ++last_;
        // With a journal a task is known by its number; without one there are no known ones.
        call.number = journalled() ? call.task : number_ + 1;
        number_ += call.count;
        if (call.receiver->Numbered(call.task) && completions_) singles_.insert(call.task);
        auto result = known != 0 ? known_->Result(known) : std::nullopt;
        if (result) {
          ++done_;
          recorded.emplace_back(call.receiver, std::move(*result));
          recorded.back().second.slot = call.tag;
        } else if (over_) {
          done_ += call.count;
          refused.push_back(std::move(call));
        } else {
          bytes_ += CallTable::BytesOf(call);
          (known != 0 ? wanted_ : added_).push_back(std::move(call));
        }
      }
      post = !added_.empty() || !wanted_.empty() ? !std::exchange(posted_, true) : false;
    }
    if (post) loop_->Post([this](Core& core, Time now) { TakeCalls(core, now); });
    for (auto& [receiver, result] : recorded) {
      const uint64_t tag = result.slot;
      const TaskId task = result.task;
      receiver->Receive(tag, EndedOf(std::move(result)));
      receiver->Received();
      NoteCompletedLocking(task);
    }
    for (const Call& call : refused) {
      ReceiveNone(*call.receiver, call.tag, call.count);
      NoteCompletedLocking(call.task);
    }
    return true;
  }

  void Cancel(std::vector<uint64_t> tasks) override {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    loop_->Post([this, tasks = std::move(tasks)](Core& core, Time now) {
      TakeCalls(core, now);
      core.OnCancelled(tasks);
    });
  }

  void CancelAllOf(std::shared_ptr<const Receiver> receiver) override {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    // Not held: it holds us.
    const auto cancel = [this, weak = std::weak_ptr(receiver)](Core& core, Time now) {
      TakeCalls(core, now);
      if (const auto live = weak.lock()) core.OnCancelled(calls_.Of(live.get()));
    };
    // Again at the next turn: what is left of a bundle whose result is on its way just now.
    loop_->Post([this, cancel](Core& core, Time now) {
      cancel(core, now);
      loop_->Post(cancel);
    });
  }

  void Defer(std::function<void()> continuation) override {
    if (!continuations_.Put(continuation)) continuation();
  }

  void Stop() override {
    if (thread_.joinable()) {
      loop_->Stop("the master has ended");
      thread_.join();
    }
    continuations_.Finish();
  }

  MasterStatus status() override {
    MasterStatus status = observer_.status();
    const std::lock_guard lock(mutex_);
    status.tasks = number_;
    status.done = done_;
    return status;
  }

  size_t memory_bytes() const override { return options_.memory_bytes; }

  bool bundles() const override {
    return !journalled() && options_.retries == 0 && options_.task_timeout.count() == 0 &&
           options_.task_memory_bytes == 0 && !options_.fence && options_.chunk == 0;
  }

  int completion_fd() override {
    const std::lock_guard lock(mutex_);
    if (!completions_) completions_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    return completions_.get();
  }

  std::vector<uint64_t> TakeCompleted() override {
    const std::lock_guard lock(mutex_);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = read(completions_.get(), &count, sizeof count);
    return std::exchange(completed_, {});
  }

 private:
  static std::vector<PoolOptions> PlansOf(const MasterOptions& options) {
    std::vector<WorkerPool> pools = options.pools;
    if (pools.empty()) pools.push_back(Local());
    std::vector<PoolOptions> plans;
    unsigned number = 1;
    for (const WorkerPool& pool : pools) {
      PoolOptions plan;
      plan.scheduler = pool.scheduler;
      if (pool.scheduler != "local" && pool.scheduler != "slurm") {
        throw UsageError(
            fmt::format("unknown scheduler '{}'; there are: local, slurm", pool.scheduler));
      }
      plan.workers = pool.workers;
      plan.slots = pool.slots == 0 ? UsableCpus() : pool.slots;
      if (plan.workers == 0 || plan.slots > kSlotsMax) {
        throw UsageError(fmt::format(
            "a pool has at least one worker, and each of them at most {} slots", kSlotsMax));
      }
      plan.place = static_cast<unsigned>(plans.size());
      plan.first_number = number;
      // A pool may replace its workers for ever.
      number += 1'000'000;
      plan.program = OwnCommand();
      plan.worker_init = pool.worker_init;
      plan.template_file = pool.template_file;
      plan.template_values = pool.template_values;
      plans.push_back(std::move(plan));
    }
    return plans;
  }

  // Its arguments go nowhere; the call ends as an error, and is known by what stands for them.
  static void RefuseIfTooLarge(Call& call) {
    if (call.arguments.size() <= kTaskBytesMax) return;
    call.problem = fmt::format(
        "the arguments of this call of '{}' have {} bytes; at most {} ({} MiB) can be passed on: "
        "what many calls have in common is for the constants, what is larger for a file",
        call.function->name, call.arguments.size(), kTaskBytesMax, kTaskBytesMax >> 20);
    call.arguments = fmt::format("{} bytes, {:x}", call.arguments.size(),
                                 std::hash<std::string>{}(call.arguments));
  }

  bool journalled() const { return private_ == nullptr; }

  /// Whether some workers are on other machines.
  bool elsewhere() const {
    return std::any_of(plans_.begin(), plans_.end(),
                       [](const PoolOptions& plan) { return plan.scheduler != "local"; });
  }

  void Check() const {
    size_t bytes = 0;
    for (const auto& [name, packed] : options_.constants.packed()) bytes += packed.size();
    if (bytes > kConstantsMax) {
      throw UsageError(fmt::format(
          "the constants have {} bytes; at most {} can be passed on: put what is larger into a "
          "file that the functions read",
          bytes, kConstantsMax));
    }
    if (options_.keep && options_.rerun) throw UsageError("keep and rerun: choose one");
    const auto within = [](const char* name, std::chrono::milliseconds value,
                           std::chrono::milliseconds least) {
      constexpr auto kMost = std::chrono::hours(24 * 365);
      if (value >= least && value <= kMost) return;
      throw UsageError(fmt::format("{} is {} ms: it must be {} ms to a year", name, value.count(),
                                   least.count()));
    };
    within("lease", options_.lease, std::chrono::milliseconds(100));
    within("task_timeout", options_.task_timeout, std::chrono::milliseconds(0));
    if (options_.on_master_loss) {
      within("on_master_loss", *options_.on_master_loss, std::chrono::milliseconds(0));
    }
    RequireOneOfEachName(FunctionsFromTheStart());
    if (options_.crash_limit == 0) throw UsageError("crash_limit is 0: it must be at least 1");
  }

  // ---- setting up ----

  void SetUp() {
    RunDefinition& d = definition_;
    d.calls = true;
    d.program = OwnCommand();
    d.program.emplace_back("slot");
    d.constants = options_.constants.packed();
    d.env = options_.env;
    d.cwd = fs::current_path().string();
    if (private_ == nullptr && IsRunDirectory(run_dir_) && !options_.fresh) {
      Resume();
    } else {
      Begin();
    }
    MakeRoom(shares_);
    keys_ = std::make_unique<RunKeys>(*directory_, d.run);
    Transport transport = Listen(shares_, *directory_, *keys_, observer_, address_);
    for (const auto& pool : pools_) pool->HoldOpen(directory_->workers_lock());
    if (journal_) TakeOver(shares_, *journal_, recovered_);
    workforce_ = std::make_unique<Workforce>(shares_);

    CoreOptions core;
    core.epoch = epoch_;
    core.text = Text();
    core.tasks = last_;
    core.open = true;
    core.lease = options_.lease;
    core.crash_limit = options_.crash_limit;
    core.retries = options_.retries;
    core.explained_late = elsewhere();
    core.expected_slots = 0;
    for (const PoolOptions& plan : plans_) {
      core.expected_slots += uint64_t{plan.workers} * plan.slots;
    }
    MasterLoop::Options loop;
    loop.spool = directory_->File("spool");
    loop.copies = directory_->File("copy-");
    loop.keep_alive = [this] {
      directory_->RenewOwner();
      LookAtFiles();
    };
    loop.ending = [this](const std::string& reason) { OnEnding(reason); };
    const auto deliver = [this](std::vector<TaskResult> results) { Deliver(std::move(results)); };
    const auto make_writer =
        [&](RecordWriter::Callbacks callbacks) -> std::unique_ptr<RecordWriter> {
      if (!journal_) return std::make_unique<MemoryWriter>(std::move(callbacks), deliver);
      auto writer = std::make_unique<DurableWriter>(
          std::move(*journal_), std::move(callbacks), [this](std::vector<TaskResult> results) {
            const std::lock_guard lock(mutex_);
            std::move(results.begin(), results.end(), std::back_inserter(durable_results_));
            // Before the loop is made there is none.
            if (loop_ != nullptr) loop_->Post([this](Core&, Time) { DeliverDurable(); });
          });
      durable_ = writer.get();
      return writer;
    };
    calls_.set_seed(d.seed);
    loop_ = std::make_unique<MasterLoop>(std::move(loop), Core(core, std::move(recovered_)),
                                         std::move(transport), calls_, *workforce_, make_writer,
                                         observer_);
    if (private_ == nullptr) directory_->Keep();
  }

  RunText Text() const {
    RunText text;
    text.run = definition_.run;
    text.run_dir = directory_->path();
    text.cwd = definition_.cwd;
    text.env = definition_.env;
    text.check = options_.worker_check;
    text.timeout_ms = static_cast<uint64_t>(options_.task_timeout.count());
    text.memory_bytes = options_.task_memory_bytes;
    text.fence = options_.fence;
    text.chunk = options_.chunk;
    // Without a directory nobody can come for them again.
    const auto loss = options_.on_master_loss.value_or(journalled() ? std::chrono::minutes(30)
                                                                    : std::chrono::minutes(1));
    text.on_master_loss_ms = static_cast<uint64_t>(loss.count());
    text.program.words = definition_.program;
    text.program.calls = true;
    text.program.constants = {definition_.constants.begin(), definition_.constants.end()};
    return text;
  }

  void LookAtFiles() {
    const std::string changed = files_->Look();
    if (!changed.empty()) observer_.Warning(changed);
  }

  void Begin() {
    definition_.run = Random64();
    definition_.seed = options_.seed ? *options_.seed : Random64() >> 33;
    directory_ = std::make_unique<RunDirectory>(RunDirectory::Make(run_dir_, options_.fresh));
    const auto fingerprints = TakeFingerprints(definition_, {}, FilesOf(FunctionsFromTheStart()));
    files_.emplace(fingerprints);
    if (private_ != nullptr) {
      directory_->Publish();
      return;
    }
    auto meta = definition_.ToMeta();
    meta["fingerprints"] = ToJson(fingerprints);
    meta["record"] = "null";
    CreateJournal(directory_->File("journal.db"), meta, {});
    directory_->Publish();
    journal_ = OpenJournal(directory_->File("journal.db"));
  }

  void Resume() {
    directory_ = std::make_unique<RunDirectory>(
        RunDirectory::Open(run_dir_, options_.take_over, options_.trust_owner));
    const std::string path = directory_->File("journal.db");
    journal_ = OpenJournal(path);
    const RunDefinition before = ReadDefinition(*journal_);
    const auto refuse = [&](const std::string& what) {
      throw UsageError(
          fmt::format("the run in '{}' is another one: {}; `fresh` moves it aside and starts anew",
                      run_dir_, what));
    };
    if (!before.calls) refuse("it is over a CSV");
    if (before.constants != definition_.constants) refuse("its constants are others");
    if (options_.seed && *options_.seed != before.seed) {
      refuse(fmt::format("its seed is {}", before.seed));
    }
    definition_.run = before.run;
    definition_.seed = before.seed;
    Restart restart;
    const auto now = TakeFingerprints(definition_, {}, FilesOf(FunctionsFromTheStart()));
    files_.emplace(now);
    const auto changed = Changed(FingerprintsFromJson(MetaText(*journal_, "fingerprints")), now);
    const uint64_t results = CountResults(*journal_);
    if (!changed.empty() && results > 0 && !options_.keep && !options_.rerun) {
      throw UsageError(
          fmt::format("{} results in '{}' are older than the last change of {}: `keep` keeps them, "
                      "`rerun` runs "
                      "their calls again",
                      results, run_dir_, Joined(changed, ", ")));
    }
    restart.rerun = options_.rerun    ? Restart::Rerun::kAll
                    : options_.failed ? Restart::Rerun::kFailed
                                      : Restart::Rerun::kCancelled;
    restart.meta = definition_.ToMeta();
    restart.meta["fingerprints"] = ToJson(now);
    epoch_ = StartEpoch(*journal_, restart);
    const auto say = [this](const std::string& text) { observer_.Warning(text); };
    for (const std::string& job :
         CancelAllocations(*journal_, elsewhere() ? "slurm" : "local", say)) {
      observer_.Warning(fmt::format("cancelled {}, left by an earlier master", job));
    }
    recovered_ = Recover(*journal_, {}, 0);
    known_ = std::make_unique<KnownCalls>(ReaderOfKnown(path));
    CloseTheRest();
  }

  // Of a journal that nobody else can read, a copy as it is now.
  Database ReaderOfKnown(const std::string& path) {
    if (!journal_->exclusive()) return {path, Database::Mode::kRead};
    const std::string copy = directory_->File("known.db");
    unlink(copy.c_str());
    {
      DatabaseCopy copying(*journal_, copy);
      while (!copying.Step(std::chrono::seconds(1))) {
      }
    }
    return {copy, Database::Mode::kImmutable};
  }

  // Numbers up to the mark may have been given out for calls that the journal does not know; nobody
  // gets them again.
  void CloseTheRest() {
    last_ = std::max(recovered_.mark, known_->last());
    TaskSet called;
    for (const TaskId task : known_->tasks()) called.Insert(task);
    for (TaskId task = 1; task <= last_; ++task) {
      if (called.Contains(task)) continue;
      recovered_.closed.Insert(task);
      ++recovered_.closed_count;
    }
    recovered_.held_back = known_->open();
    // Known calls may go out before any other mark is durable.
    recovered_.mark = last_;
    journal_->Prepare("INSERT OR REPLACE INTO meta VALUES('mark', ?1)")
        .BindText(1, std::to_string(last_))
        .Run();
  }

  // ---- the master's thread ----

  void Run() {
    try {
      loop_->Run();
      loop_->Close();
    } catch (const std::exception& error) {
      OnEnding(error.what());
    }
    // What became durable at the very end.
    DeliverDurable();
    // What was submitted and not looked at yet is in nobody's books but ours.
    for (auto* list : {&added_, &wanted_}) {
      for (Call& call : *list) calls_.Add(std::move(call));
      list->clear();
    }
    for (const TaskId task : calls_.Of(nullptr)) {
      const auto owner = calls_.Take(task);
      {
        const std::lock_guard lock(mutex_);
        done_ += owner.count;
      }
      ReceiveNone(*owner.receiver, owner.tag, owner.count);
      NoteCompletedLocking(task);
    }
    unlink(directory_->File("owner.json").c_str());
    unlink(directory_->File("known.db").c_str());
    keys_->Remove();
  }

  // The master is over.
  void ReceiveNone(Receiver& receiver, uint64_t tag, uint32_t count) {
    std::vector<detail::Ended> ended;
    for (uint32_t i = 0; i < count; ++i) ended.push_back(NeverRun(*over_));
    receiver.ReceiveAll(tag, std::move(ended));
    receiver.Received();
  }

  // From now on nothing is taken any more; and nobody else reads the journal, so that it is closed
  // as one file.
  void OnEnding(const std::string& reason) {
    LookAtFiles();
    {
      const std::lock_guard lock(mutex_);
      if (!over_) over_ = reason.empty() ? "the master has ended" : reason;
      known_.reset();
    }
    room_.notify_all();
  }

  void TakeCalls(Core& core, Time now) {
    std::vector<Call> added;
    std::vector<Call> wanted;
    {
      const std::lock_guard lock(mutex_);
      added.swap(added_);
      wanted.swap(wanted_);
      posted_ = false;
    }
    if (durable_ != nullptr && !added.empty()) {
      std::vector<JournalRecord> records;
      for (const Call& call : added) {
        records.emplace_back(CallRecord{call.task, call.function->name, call.arguments});
      }
      durable_->Push(std::move(records));
    }
    if (!added.empty()) core.OnAdded(added.size());
    for (Call& call : added) calls_.Add(std::move(call));
    for (Call& call : wanted) {
      const TaskId task = call.task;
      calls_.Add(std::move(call));
      core.OnWanted(now, task);
      DeliverLate(task);
    }
  }

  // A worker of an earlier master may have brought the result before the call was submitted again.
  void DeliverLate(TaskId task) {
    const auto early = unclaimed_.extract(task);
    if (early) Deliver({std::move(early.mapped())});
  }

  void DeliverDurable() {
    std::vector<TaskResult> results;
    {
      const std::lock_guard lock(mutex_);
      results.swap(durable_results_);
    }
    if (!results.empty()) Deliver(std::move(results));
  }

  /// A result on its way to whom it is for.
  struct Delivery {
    CallTable::Owner owner;
    /// Of a bundle: of its calls, as far as they ran, and those that run now each for itself.
    std::vector<detail::Ended> ended;
    std::vector<Call> rest;
  };

  void Deliver(std::vector<TaskResult> results) {
    std::vector<Delivery> deliveries(results.size());
    size_t bytes = 0;
    uint64_t done = 0;
    for (size_t i = 0; i < results.size(); ++i) {
      Delivery& d = deliveries[i];
      const TaskId task = results[i].task;
      if (calls_.CountOf(task) > 1) {
        d.ended = EndedOfBundle(results[i], calls_.CountOf(task));
        d.rest = calls_.Apart(task, d.ended.size());
      }
      d.owner = calls_.Take(task);
      bytes += d.owner.bytes;
      if (d.owner.receiver != nullptr) done += d.owner.count > 1 ? d.ended.size() : 1;
    }
    // Whoever has seen a result finds its room free, and whoever is told of one finds it ready.
    {
      const std::lock_guard lock(mutex_);
      bytes_ -= bytes;
      done_ += done;
    }
    room_.notify_all();
    for (size_t i = 0; i < results.size(); ++i) {
      const TaskId task = results[i].task;
      Delivery& d = deliveries[i];
      const auto& receiver = d.owner.receiver;
      if (receiver == nullptr) {
        unclaimed_[task] = std::move(results[i]);
        continue;
      }
      if (d.owner.count > 1) {
        DeliverBundle(d);
      } else {
        receiver->Receive(d.owner.tag, EndedOf(std::move(results[i])));
      }
      const bool last = i + 1 == results.size() || deliveries[i + 1].owner.receiver != receiver;
      if (last) receiver->Received();
    }
    const std::lock_guard lock(mutex_);
    if (!completions_) return;
    for (size_t i = 0; i < results.size(); ++i) {
      if (deliveries[i].owner.receiver != nullptr) NoteCompleted(results[i].task);
    }
  }

  void DeliverBundle(Delivery& d) {
    d.owner.receiver->ReceiveAll(d.owner.tag, std::move(d.ended));
    bool post = false;
    {
      const std::lock_guard lock(mutex_);
      for (Call& call : d.rest) {
        call.task = ++last_;
        bytes_ += CallTable::BytesOf(call);
        added_.push_back(std::move(call));
      }
      if (!d.rest.empty()) post = !std::exchange(posted_, true);
    }
    if (post) loop_->Post([this](Core& core, Time now) { TakeCalls(core, now); });
  }

  void NoteCompletedLocking(TaskId task) {
    const std::lock_guard lock(mutex_);
    NoteCompleted(task);
  }
  void NoteCompleted(TaskId task) {
    if (!completions_ || singles_.erase(task) == 0) return;
    completed_.push_back(task);
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(completions_.get(), &one, sizeof one);
  }

  const MasterOptions options_;
  EmbeddingObserver observer_;
  std::vector<PoolOptions> plans_;
  std::string run_dir_;
  std::unique_ptr<PrivateDirectory> private_;
  RunDefinition definition_;
  Epoch epoch_ = 1;
  std::unique_ptr<RunDirectory> directory_;
  std::unique_ptr<RunKeys> keys_;
  std::string address_;
  std::optional<FileWatch> files_;
  std::optional<Database> journal_;
  Recovered recovered_;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::vector<PoolShare> shares_;
  std::unique_ptr<Workforce> workforce_;
  CallTable calls_;
  DurableWriter* durable_ = nullptr;
  /// Results that came before their calls were submitted again.
  std::unordered_map<TaskId, TaskResult> unclaimed_;
  std::unique_ptr<MasterLoop> loop_;

  std::mutex mutex_;
  std::condition_variable room_;
  /// Why nothing runs any more.
  std::optional<std::string> over_;
  TaskId last_ = 0;
  /// Of the last call, counted from 1.
  uint64_t number_ = 0;
  /// Calls whose results are there to be taken.
  uint64_t done_ = 0;
  std::unique_ptr<KnownCalls> known_;
  /// Durable, and not handed out yet.
  std::vector<TaskResult> durable_results_;
  /// Submitted, and not yet looked at by the master's thread, which was told if `posted_`.
  std::vector<Call> added_;
  std::vector<Call> wanted_;
  bool posted_ = false;
  /// Of calls without a result.
  size_t bytes_ = 0;
  Fd completions_;
  std::set<TaskId> singles_;
  std::vector<uint64_t> completed_;

  Continuations continuations_;
  std::thread thread_;
};

}  // namespace

namespace detail {

const Function& RegisteredFunction(void (*address)()) { return FunctionAt(address); }

std::shared_ptr<Engine> StartEngine(const MasterOptions& options) {
  try {
    return std::make_shared<MasterEngine>(options);
  } catch (const UsageError& error) {
    throw UsageError(InWordsOfTheApi(error.what()));
  }
}

}  // namespace detail
}  // namespace cq
