#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <tuple>
#include <vector>

#include "base/files.h"
#include "base/mutex.h"
#include "worker/core/worker_core.h"
#include "worker/slots/command_task.h"
#include "worker/slots/program_runner.h"
#include "worker/slots/run_context.h"

namespace cq {

/// What a slot was given, until it is free again.
struct GivenTasks {
  std::vector<AttemptSpan> attempts;
  /// The one that it works on.
  AttemptRef current;
  std::chrono::nanoseconds started{};
  /// Who does: the owner waits for its program, or its thread is to go on with what the owner
  /// began.
  enum class By : uint8_t { kThread, kOwner, kHandedOver } by = By::kThread;
  /// What is to be killed.
  std::set<AttemptRef> unwanted;
  bool kill_sent = false;
  /// Since when it has been at tasks; none while it only checks whether it can run any.
  std::optional<std::chrono::nanoseconds> since;
  /// What its tasks ran.
  std::chrono::nanoseconds ran{};
};

/// The slots of a worker: a thread each, which takes the next task from the common queue as soon as
/// it is free, without asking anybody. The owner's thread fills the queue, takes back, kills, and
/// collects what ended. A task that comes alone to a free slot whose program is ready it gives to
/// that program itself, and watches for the answer: to wake the slot's thread for it, and to be
/// woken by it, would cost more than all the rest. The thread goes on if anything else happens.
class Slots {
 public:
  using Clock = std::function<std::chrono::nanoseconds()>;

  /// `clock` is the owner's; it is called from the slots' threads. `has`: what there is for tasks,
  /// of which a task that is started takes its share; as many `gpus` as it says, by their names.
  Slots(uint64_t count, Clock clock, Capacity has = {}, std::vector<std::string> gpus = {});
  /// Kills what runs and waits for it.
  ~Slots();

  /// Before the first Push of the run.
  void SetRun(std::shared_ptr<const RunContext> run);
  std::shared_ptr<const RunContext> run();
  void Push(std::vector<Task> tasks);
  /// Those of `attempts` that had not been started; they will not be.
  std::vector<AttemptRef> TakeBack(const std::vector<AttemptRef>& attempts);
  void Kill(const std::vector<AttemptRef>& attempts);
  void KillAll();
  /// No task is started after this time, as the clock tells it, until a later word. The slots look
  /// themselves, so that a worker that was stopped for long starts nothing when it goes on.
  void StartUntil(std::chrono::nanoseconds until);
  /// Starts nothing more, ever, and kills what runs.
  void Shut();
  /// Whether no slot runs anything; and nothing waits for one either.
  bool Idle();
  bool HasNothing();

  /// Runs the command of `check`, or starts its program, before anything else; it ends as task 0.
  /// What a user's program loads may take long: the other slots start theirs at the same time, as
  /// many as there are tasks for.
  void Check(std::shared_ptr<const RunContext> check);
  /// What a slot has been waiting for for long; empty if none has.
  std::string WaitsFor();
  /// What tasks that run for long have printed since the last call.
  std::vector<OutputPart> TakeOutput();
  /// What ended since the last call, and what runs now.
  std::vector<CommandEnd> TakeEnded();
  /// Readable when LookAtPrograms may find something.
  std::vector<int> watched_fds() const;
  void LookAtPrograms();
  std::vector<RunningTask> Running();
  SlotLedger ledger();
  /// Call now and then (OomCounter).
  void LookAtMemory() { oom_.Look(); }

  /// Readable when the owner should look: it said that it would sleep long and something began or
  /// ended, or something ended and the queue is nearly empty.
  int wake_fd() const { return wake_.get(); }
  void ClearWake();
  /// Whether the owner is about to wait for long: then the first change wakes it. While it looks
  /// every few milliseconds anyway, a wake-up for each short task would cost more than it brings.
  void OwnerSleeps(bool for_long);

 private:
  struct Slot {
    ProgramRunner* program = nullptr;
    ProgramRunner::Listener listener;
    Fd kill;
    LiveOutput live;
    std::optional<GivenTasks> given;
    /// What that takes, and the places of its GPUs: the last ones, if it takes none.
    TaskRequest share;
    std::vector<size_t> gpus;
    bool kill_all = false;
    /// For the user, while its program does not get ready.
    std::string waits_for;
    /// Of its last task.
    std::string group;
    /// Since when it has had no task; none before its first.
    std::optional<std::chrono::nanoseconds> idle_since;
  };
  using By = GivenTasks::By;

  void Serve(uint64_t index);
  Slot& SlotAt(uint64_t index) {
    const Lock lock(mutex_);
    return slots_[index];
  }
  void Join();
  /// The parts of Serve; what runs does so unlocked.
  bool HasWork(const Slot& slot) const CQ_REQUIRES(mutex_);
  void RunCheck(Slot& slot, CommandRunner& runner) CQ_REQUIRES(mutex_);
  bool MayStartAhead(const Slot& slot) const CQ_REQUIRES(mutex_);
  void StartAhead(Slot& slot) CQ_REQUIRES(mutex_);
  void RunNext(Slot& slot, CommandRunner& runner) CQ_REQUIRES(mutex_);
  /// The book of what the worker has.
  bool KeepsBook() const CQ_REQUIRES(mutex_);
  bool Fits(const Task& task) const CQ_REQUIRES(mutex_);
  std::shared_ptr<const RunContext> TakeShare(Slot& slot, const RunContext& run,
                                              const TaskRequest& request) CQ_REQUIRES(mutex_);
  void ChooseGpus(Slot& slot, uint64_t count) CQ_REQUIRES(mutex_);
  void ReturnShare(Slot& slot) CQ_REQUIRES(mutex_);
  std::shared_ptr<const RunContext> ForStart(Slot& slot,
                                             const std::shared_ptr<const RunContext>& run)
      CQ_REQUIRES(mutex_);
  bool AnotherIsOn(const std::string& group, const Slot& slot) const CQ_REQUIRES(mutex_);
  std::vector<Task> TakeWork(Slot& slot, size_t most) CQ_REQUIRES(mutex_);
  ProgramRunner::Listener ListenerOf(Slot& slot);
  /// False: none is free for it, or it is no task for that.
  bool Begin(Task& task);
  void Unwatch(Slot& slot, bool hand_over) CQ_REQUIRES(mutex_);
  /// How many slots can take a task without starting a program first, or are starting theirs.
  size_t Warm() const CQ_REQUIRES(mutex_);
  bool AnyCold() const CQ_REQUIRES(mutex_);
  void Occupy(Slot& slot, std::vector<AttemptSpan> attempts) CQ_REQUIRES(mutex_);
  void Free(Slot& slot) CQ_REQUIRES(mutex_);
  void TasksEnded(Slot& slot, std::vector<CommandEnd> ended);
  void Keep(Slot& slot, std::vector<CommandEnd> ended) CQ_REQUIRES(mutex_);
  void TellEnded() CQ_REQUIRES(mutex_);
  /// Whether another slot than this runs it.
  bool OthersRun(uint64_t index, AttemptId attempt);
  bool Alone(uint64_t index);
  void Wake();
  void KillSlot(Slot& slot) CQ_REQUIRES(mutex_);

  Clock clock_;
  const Capacity has_;
  const std::vector<std::string> gpus_;
  AdoptedChildren adopted_;
  OomCounter oom_;
  Fd wake_;
  Mutex mutex_;
  Condition work_;
  std::shared_ptr<const RunContext> run_ CQ_GUARDED_BY(mutex_);
  std::shared_ptr<const RunContext> check_ CQ_GUARDED_BY(mutex_);
  /// So many slots start their program of this run before they have a task.
  std::shared_ptr<const RunContext> ahead_run_ CQ_GUARDED_BY(mutex_);
  uint64_t ahead_ CQ_GUARDED_BY(mutex_) = 0;
  Commitment taken_ CQ_GUARDED_BY(mutex_);
  /// The run for tasks with some share, limit and GPUs, as it was made ready last.
  std::map<std::tuple<TaskRequest, uint64_t, std::vector<size_t>>,
           std::shared_ptr<const RunContext>>
      contexts_ CQ_GUARDED_BY(mutex_);
  struct Queued {
    Task task;
    std::chrono::nanoseconds since{};
  };
  std::deque<Queued> queue_ CQ_GUARDED_BY(mutex_);
  /// Each of a span counts.
  size_t queued_ CQ_GUARDED_BY(mutex_) = 0;
  std::vector<CommandEnd> ended_ CQ_GUARDED_BY(mutex_);
  std::vector<Slot> slots_ CQ_GUARDED_BY(mutex_);
  /// One for each.
  std::vector<std::thread> threads_;
  /// Those that the owner watches: of its thread alone.
  std::vector<Slot*> watched_;
  struct {
    uint64_t tasks = 0;
    std::chrono::nanoseconds idle{}, queue{}, spawn{}, run{};
  } spent_ CQ_GUARDED_BY(mutex_);
  bool owner_sleeps_ CQ_GUARDED_BY(mutex_) = true;
  std::chrono::nanoseconds start_until_ CQ_GUARDED_BY(mutex_) = std::chrono::nanoseconds::max();
  bool closing_ CQ_GUARDED_BY(mutex_) = false;
};

}  // namespace cq
