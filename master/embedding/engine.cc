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
#include "base/mutex.h"
#include "cq/master.h"
#include "master/embedding/call_journal.h"
#include "master/embedding/call_table.h"
#include "master/embedding/continuations.h"
#include "master/embedding/ended.h"
#include "master/embedding/observer.h"
#include "master/journal/recovery.h"
#include "master/run/private_directory.h"
#include "master/run/run_session.h"
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

// The fields of both have the same names.
CommonOptions CommonOf(const MasterOptions& options) {
  return {.fresh = options.fresh,
          .failed = options.failed,
          .rerun = options.rerun,
          .keep = options.keep,
          .trust_owner = options.trust_owner,
          .take_over = options.take_over,
          .seed = options.seed,
          .env = options.env,
          .task_timeout = options.task_timeout,
          .task_memory_bytes = options.task_memory_bytes,
          .retries = options.retries,
          .crash_limit = options.crash_limit,
          .fence = options.fence,
          .chunk = options.chunk,
          .ports = options.ports,
          .interface = options.interface,
          .worker_check = options.worker_check,
          .lease = options.lease,
          .on_master_loss = options.on_master_loss};
}

class MasterEngine final : public detail::Engine {
 public:
  explicit MasterEngine(const MasterOptions& options) : options_(options), observer_(options.warn) {
    Check();
    if (options_.run_dir.empty()) private_ = std::make_unique<PrivateDirectory>(Elsewhere());
    // Signals are for the program's own threads.
    const BlockedSignals blocked;
    session_ = std::make_unique<RunSession>(CommonOf(options_), Plans(), observer_);
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
      const Lock lock(mutex_);
      if (!wait && !HasRoom(bytes)) return false;
      while (!HasRoom(bytes)) room_.Wait(mutex_);
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
    const Lock lock(mutex_);
    if (over_) return;
    loop_->Post([this, tasks = std::move(tasks)](Core& core, Time now) {
      TakeCalls(core, now);
      core.OnCancelled(tasks);
    });
  }

  void CancelAllOf(std::shared_ptr<const Receiver> receiver) override {
    const Lock lock(mutex_);
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
    const Lock lock(mutex_);
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
    const Lock lock(mutex_);
    if (!completions_) completions_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    return completions_.get();
  }

  std::vector<uint64_t> TakeCompleted() override {
    const Lock lock(mutex_);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = read(completions_.get(), &count, sizeof count);
    return std::exchange(completed_, {});
  }

 private:
  std::vector<PoolOptions> Plans() const {
    std::vector<PoolOptions> plans;
    unsigned number = 1;
    for (const WorkerPool& pool : Pools()) {
      PoolOptions plan;
      plan.scheduler = pool.scheduler;
      const SchedulerTraits traits = TraitsOf(pool.scheduler);
      plan.workers = traits.lends && pool.workers == 0 ? traits.lent_at_most : pool.workers;
      plan.at_most = pool.workers != 0;
      plan.least = pool.workers_least;
      plan.idle_timeout = pool.idle_timeout;
      if (plan.least && traits.lends) {
        throw UsageError("workers_least: what a warm pool lends follows the work by itself");
      }
      if (plan.least && *plan.least > plan.workers) {
        throw UsageError(
            fmt::format("workers_least {} is more than workers {}", *plan.least, plan.workers));
      }
      plan.slots = pool.slots == 0 ? UsableCpus() : pool.slots;
      plan.place = static_cast<unsigned>(plans.size());
      plan.first_number = number;
      // A pool may replace its workers for ever.
      number += 1'000'000;
      plan.program = OwnCommand();
      plan.run_dir = journalled() ? AbsolutePath(options_.run_dir) : private_->path() + "/run";
      plan.worker_init = pool.worker_init;
      plan.template_file = pool.template_file;
      plan.template_values = pool.template_values;
      plans.push_back(std::move(plan));
    }
    return plans;
  }

  std::vector<WorkerPool> Pools() const {
    return options_.pools.empty() ? std::vector{Local()} : options_.pools;
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

  /// Whether arguments of so many bytes may be taken in.
  bool HasRoom(size_t bytes) const CQ_REQUIRES(mutex_) {
    return over_ || bytes_ == 0 || bytes_ + bytes <= options_.memory_bytes;
  }

  /// Whether some workers are on other machines.
  bool Elsewhere() const {
    return std::any_of(options_.pools.begin(), options_.pools.end(),
                       [](const WorkerPool& pool) { return !TraitsOf(pool.scheduler).same_host; });
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
    RequireOneOfEachName(FunctionsFromTheStart());
  }

  // ---- setting up ----

  void SetUp() {
    RunDefinition& definition = session_->definition();
    const RunSession::Files files{{}, FilesOf(FunctionsFromTheStart())};
    Recovered recovered;
    if (journalled() && session_->Exists()) {
      session_->Open();
      if (!definition.calls) session_->Refuse("it is over a CSV");
      session_->RequireSame(options_.constants.packed());
      Define(definition);
      session_->Continue(files, {}, Restart::Rerun::kCancelled);
      session_->CancelLeft(false);
      recovered = Recover(*session_->journal(), {}, 0);
      const Lock lock(mutex_);
      known_ = std::make_unique<KnownCalls>(ReaderOfKnown());
      CloseTheRest(recovered);
    } else {
      session_->Make();
      Define(definition);
      journalled() ? session_->Publish(files, {}, {}) : session_->PublishWithoutJournal(files);
    }
    calls_.set_seed(definition.seed);

    CoreOptions core;
    core.tasks = last();
    core.open = true;
    core.text = Text(definition);
    MasterLoop::Options loop;
    loop.ending = [this](const std::string& reason) { OnEnding(reason); };
    loop_ = &session_->Start(
        std::move(core), std::move(loop), std::move(recovered), calls_,
        [this](std::optional<Database>& journal, RecordWriter::Callbacks callbacks) {
          return MakeWriter(journal, std::move(callbacks));
        });
  }

  void Define(RunDefinition& definition) const {
    definition.calls = true;
    definition.program = OwnCommand();
    definition.program.emplace_back("slot");
    definition.constants = options_.constants.packed();
    definition.env = options_.env;
    definition.cwd = fs::current_path().string();
    session_->RequireSendable(Text(definition));
  }

  static RunText Text(const RunDefinition& definition) {
    RunText text;
    text.program.words = definition.program;
    text.program.calls = true;
    text.program.constants = {definition.constants.begin(), definition.constants.end()};
    return text;
  }

  std::unique_ptr<RecordWriter> MakeWriter(std::optional<Database>& journal,
                                           RecordWriter::Callbacks callbacks) {
    if (!journal) {
      return std::make_unique<MemoryWriter>(
          std::move(callbacks),
          [this](std::vector<TaskResult> results) { Deliver(std::move(results)); });
    }
    auto writer = std::make_unique<DurableWriter>(
        std::move(*journal), std::move(callbacks), [this](std::vector<TaskResult> results) {
          const Lock lock(mutex_);
          std::move(results.begin(), results.end(), std::back_inserter(durable_results_));
          // Before the loop is made there is none.
          if (loop_ != nullptr) loop_->Post([this](Core&, Time) { DeliverDurable(); });
        });
    durable_ = writer.get();
    return writer;
  }

  // Of a journal that nobody else can read, a copy as it is now.
  Database ReaderOfKnown() {
    Database& journal = *session_->journal();
    if (!journal.exclusive()) {
      return {session_->directory().File("journal.db"), Database::Mode::kRead};
    }
    const std::string copy = session_->directory().File("known.db");
    unlink(copy.c_str());
    {
      DatabaseCopy copying(journal, copy);
      while (!copying.Step(std::chrono::seconds(1))) {
      }
    }
    return {copy, Database::Mode::kImmutable};
  }

  // Numbers up to the mark may have been given out for calls that the journal does not know; nobody
  // gets them again.
  void CloseTheRest(Recovered& recovered) CQ_REQUIRES(mutex_) {
    last_ = std::max(recovered.mark, known_->last());
    TaskSet called;
    for (const TaskId task : known_->tasks()) called.Insert(task);
    for (TaskId task = 1; task <= last_; ++task) {
      if (called.Contains(task)) continue;
      recovered.closed.Insert(task);
      ++recovered.closed_count;
    }
    recovered.held_back = known_->open();
    // Known calls may go out before any other mark is durable.
    recovered.mark = last_;
    session_->journal()
        ->Prepare("INSERT OR REPLACE INTO meta VALUES('mark', ?1)")
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
    {
      const Lock lock(mutex_);
      for (auto* list : {&added_, &wanted_}) {
        for (Call& call : *list) calls_.Add(std::move(call));
        list->clear();
      }
    }
    for (const TaskId task : calls_.Of(nullptr)) {
      const auto owner = calls_.Take(task);
      {
        const Lock lock(mutex_);
        done_ += owner.count;
      }
      ReceiveNone(*owner.receiver, owner.tag, owner.count);
      NoteCompletedLocking(task);
    }
    unlink(session_->directory().File("known.db").c_str());
    session_->Close(false);
  }

  std::string WhyOver() {
    const Lock lock(mutex_);
    return over_.value_or("the master has ended");
  }
  TaskId last() {
    const Lock lock(mutex_);
    return last_;
  }

  // The master is over.
  void ReceiveNone(Receiver& receiver, uint64_t tag, uint32_t count) {
    std::vector<detail::Ended> ended;
    const std::string why = WhyOver();
    for (uint32_t i = 0; i < count; ++i) ended.push_back(NeverRun(why));
    receiver.ReceiveAll(tag, std::move(ended));
    receiver.Received();
  }

  // From now on nothing is taken any more; and nobody else reads the journal, so that it is closed
  // as one file.
  void OnEnding(const std::string& reason) {
    session_->LookAtFiles();
    {
      const Lock lock(mutex_);
      if (!over_) over_ = reason.empty() ? "the master has ended" : InWordsOfTheApi(reason);
      known_.reset();
    }
    room_.NotifyAll();
  }

  void TakeCalls(Core& core, Time now) {
    std::vector<Call> added;
    std::vector<Call> wanted;
    {
      const Lock lock(mutex_);
      added.swap(added_);
      wanted.swap(wanted_);
      posted_ = false;
    }
    if (durable_ != nullptr && !added.empty()) {
      std::vector<JournalRecord> records;
      records.reserve(added.size());
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
      const Lock lock(mutex_);
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
      const Lock lock(mutex_);
      bytes_ -= bytes;
      done_ += done;
    }
    room_.NotifyAll();
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
    const Lock lock(mutex_);
    if (!completions_) return;
    for (size_t i = 0; i < results.size(); ++i) {
      if (deliveries[i].owner.receiver != nullptr) NoteCompleted(results[i].task);
    }
  }

  void DeliverBundle(Delivery& d) {
    d.owner.receiver->ReceiveAll(d.owner.tag, std::move(d.ended));
    bool post = false;
    {
      const Lock lock(mutex_);
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
    const Lock lock(mutex_);
    NoteCompleted(task);
  }
  void NoteCompleted(TaskId task) CQ_REQUIRES(mutex_) {
    if (!completions_ || singles_.erase(task) == 0) return;
    completed_.push_back(task);
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(completions_.get(), &one, sizeof one);
  }

  const MasterOptions options_;
  EmbeddingObserver observer_;
  std::unique_ptr<PrivateDirectory> private_;
  CallTable calls_;
  DurableWriter* durable_ = nullptr;
  /// Results that came before their calls were submitted again.
  std::unordered_map<TaskId, TaskResult> unclaimed_;
  MasterLoop* loop_ = nullptr;

  Mutex mutex_;
  Condition room_;
  /// Why nothing runs any more.
  std::optional<std::string> over_ CQ_GUARDED_BY(mutex_);
  TaskId last_ CQ_GUARDED_BY(mutex_) = 0;
  /// Of the last call, counted from 1.
  uint64_t number_ CQ_GUARDED_BY(mutex_) = 0;
  /// Calls whose results are there to be taken.
  uint64_t done_ CQ_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<KnownCalls> known_ CQ_GUARDED_BY(mutex_);
  /// Durable, and not handed out yet.
  std::vector<TaskResult> durable_results_ CQ_GUARDED_BY(mutex_);
  /// Submitted, and not yet looked at by the master's thread, which was told if `posted_`.
  std::vector<Call> added_ CQ_GUARDED_BY(mutex_);
  std::vector<Call> wanted_ CQ_GUARDED_BY(mutex_);
  bool posted_ CQ_GUARDED_BY(mutex_) = false;
  /// Of calls without a result.
  size_t bytes_ CQ_GUARDED_BY(mutex_) = 0;
  Fd completions_ CQ_GUARDED_BY(mutex_);
  std::set<TaskId> singles_ CQ_GUARDED_BY(mutex_);
  std::vector<uint64_t> completed_ CQ_GUARDED_BY(mutex_);

  Continuations continuations_;
  /// What its loop works with stands above.
  std::unique_ptr<RunSession> session_;
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
