#include "worker/task_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cq/error.h"
#include "protocol/spool.h"
#include "worker/log.h"
#include "worker/processes/descendants.h"
#include "worker/slots/slots.h"
#include "worker/trial_lock.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// How long the loop waits at most while short tasks come and go (Slots::OwnerSleeps).
constexpr milliseconds kShortNap{10};
/// How often new output of long tasks is sent.
constexpr std::chrono::seconds kOutputEvery{5};
/// How often a worker looks whether it is its turn to run a dangerous task.
constexpr milliseconds kTrialEvery{50};
constexpr const char* kWaitsForTurn =
    "has a task that a worker may have died of, and waits for another such task on this machine";
constexpr milliseconds kCheckLimit = std::chrono::minutes(5);

uint64_t Tasks(const Results& results) {
  uint64_t tasks = 0;
  for (const TaskResult& result : results.results) tasks += result.count;
  return tasks;
}

class TaskLoop final : public ServingLoop {
 public:
  TaskLoop(const WorkerOptions& options, ConnectionFile file)
      : ServingLoop(options, std::move(file)),
        slots_(
            options.slots, [this] { return Now(); }, machine().has, machine().gpus) {}

 private:
  std::vector<int> WatchedFds() override {
    std::vector<int> fds{slots_.wake_fd()};
    const auto programs = slots_.watched_fds();
    fds.insert(fds.end(), programs.begin(), programs.end());
    return fds;
  }

  milliseconds Nap(milliseconds due) override {
    if (!dangerous_.empty()) due = std::min(due, kTrialEvery);
    // Not more often than heartbeats come, unless something runs that may print.
    if (!last_running_.empty()) {
      due = std::min(due, std::chrono::ceil<milliseconds>(next_output_ - Now()));
    }
    due = std::clamp(due, milliseconds(0), milliseconds(60'000));
    // Something began or ended a moment ago: the next change is likely near, and is collected then.
    const bool lively = std::exchange(changed_, false);
    slots_.OwnerSleeps(!lively);
    return lively ? std::min(due, kShortNap) : due;
  }

  void OnReadable(const std::vector<bool>& readable) override {
    if (std::find(readable.begin() + 1, readable.end(), true) != readable.end()) {
      slots_.LookAtPrograms();
    }
  }

  void EndAll() override {
    // A slot whose task has just been killed must not start the next one behind our back.
    slots_.Shut();
    const nanoseconds limit = Now() + std::chrono::seconds(10);
    while (!slots_.Idle() && Now() < limit) KillAllDescendants(10);
  }

  void Collect() override {
    slots_.ClearWake();
    // What runs is asked first: what ended since is then known to have been started.
    auto running = slots_.Running();
    changed_ = running != last_running_;
    core().OnRunning(running);
    last_running_ = std::move(running);
    if (Now() >= next_output_) {
      next_output_ = Now() + kOutputEvery;
      core().OnOutput(slots_.TakeOutput());
    }
    core().OnLedger(slots_.ledger());
    slots_.LookAtMemory();
    std::string waits = slots_.WaitsFor();
    if (waits.empty() && !dangerous_.empty() && !trial_) waits = kWaitsForTurn;
    core().OnWaits(waits);
    const nanoseconds now = Now();
    auto ended = slots_.TakeEnded();
    // A signal that has ended a task has come to us before.
    HearSignals();
    for (CommandEnd& end : ended) {
      EndTrial(end.result.attempt);
      changed_ = true;
      if (end.result.task == 0) {
        OnChecked(end.result);
        continue;
      }
      if (end.no_room.empty()) {
        core().OnFinished(now, std::move(end.result), end.killed);
      } else {
        LogWarning(end.no_room);
        core().OnNoRoom(now, {end.result.task, end.result.attempt}, end.no_room);
      }
    }
    Pump();
  }

  void Do(Prepare& prepare) override {
    prepared_ = std::make_shared<RunContext>(prepare.text);
    const std::string problem = prepared_->Problem();
    if (!problem.empty()) {
      Prepared(problem);
    } else if (prepare.text.check.empty()) {
      CheckProgram();
    } else {
      RunText check = std::move(prepare.text);
      check.command = {{"/bin/sh"}, {"-c"}, {check.check}};
      check.parse = Parse::kNothing;
      check.timeout_ms = kCheckLimit.count();
      check.program = {};
      checking_ = Checking::kCommand;
      slots_.Check(std::make_shared<RunContext>(std::move(check)));
    }
  }

  // A program that is started once must be able to run tasks of this run.
  void CheckProgram() {
    if (prepared_->text().program.empty()) {
      Prepared("");
    } else {
      checking_ = Checking::kProgram;
      slots_.Check(prepared_);
    }
  }

  void OnChecked(const TaskResult& result) {
    const bool command = checking_ == Checking::kCommand;
    if (result.outcome != Outcome::kOk) {
      Prepared(command ? fmt::format("--worker-check failed on {}: {}", HostName(),
                                     result.details->error)
                       : result.details->error);
    } else if (command) {
      CheckProgram();
    } else {
      Prepared("");
    }
  }

  void Prepared(const std::string& problem) {
    if (!problem.empty()) LogError(problem);
    slots_.SetRun(prepared_);
    core().OnPrepared(problem);
  }

  void Do(Enqueue& enqueue) override {
    changed_ = true;
    if (options().trial.empty()) return slots_.Push(std::move(enqueue.tasks));
    for (Task& task : enqueue.tasks) {
      (IsDangerous(task) ? dangerous_ : others_).push_back(std::move(task));
    }
    Pump();
  }
  void Do(TakeBack& take) override {
    auto taken = slots_.TakeBack(take.attempts);
    for (const AttemptRef& ref : taken) EndTrial(ref.attempt);
    for (auto* waiting : {&dangerous_, &others_}) {
      std::erase_if(*waiting, [&](const Task& task) {
        const auto& asked = take.attempts;
        const AttemptRef ref{task.task, task.attempt};
        if (std::find(asked.begin(), asked.end(), ref) == asked.end()) return false;
        taken.push_back(ref);
        return true;
      });
    }
    core().OnTakenBack(taken, take.reason);
  }

  // Another worker of this machine may have died of it: none of its like runs here beside it.
  static bool IsDangerous(const Task& task) {
    const Extras& extras = task.details->extras;
    return std::any_of(extras.begin(), extras.end(),
                       [](const auto& extra) { return extra.first == kDangerous; });
  }

  // While a dangerous task waits the slots get one task at a time, so that it starts at once when
  // it is its turn: nobody else's turn comes before it has ended.
  void Pump() {
    if (dangerous_.empty()) {
      if (!others_.empty()) Push(others_, others_.size());
      return;
    }
    if (trial_ || !slots_.HasNothing()) return;
    if (trial_lock_.Take()) {
      trial_ = dangerous_.front().attempt;
      Push(dangerous_, 1);
    } else if (!others_.empty()) {
      Push(others_, 1);
    }
  }

  void Push(std::deque<Task>& from, size_t count) {
    const auto end = from.begin() + static_cast<ptrdiff_t>(count);
    slots_.Push({std::make_move_iterator(from.begin()), std::make_move_iterator(end)});
    from.erase(from.begin(), end);
  }

  void EndTrial(AttemptId attempt) {
    if (trial_ != attempt) return;
    trial_.reset();
    trial_lock_.Release();
  }

  void Do(cq::Kill& k) override { slots_.Kill(k.attempts); }

  void Do(StartUntil& start) override { slots_.StartUntil(start.until); }

  void Do(Spool& spool) override {
    try {
      const std::string path =
          WriteSpoolFile(prepared_->text().run_dir + "/spool", core().worker(), spool.results);
      LogWarning(fmt::format("results that no master took are in '{}'", path));
    } catch (const Error& error) {
      LogError(fmt::format("{} results are lost: {}", Tasks(spool.results), error.what()));
    }
  }

  void DoExit() override { slots_.KillAll(); }

  Slots slots_;
  std::vector<RunningTask> last_running_;
  bool changed_ = false;
  std::shared_ptr<const RunContext> prepared_;
  enum class Checking { kCommand, kProgram };
  Checking checking_ = Checking::kCommand;
  nanoseconds next_output_ = kOutputEvery;
  TrialLock trial_lock_{options().trial};
  /// Those that wait for it, others that came meanwhile, and the one that has it.
  std::deque<Task> dangerous_;
  std::deque<Task> others_;
  std::optional<AttemptId> trial_;
};

}  // namespace

std::unique_ptr<ServingLoop> MakeTaskLoop(const WorkerOptions& options, ConnectionFile file) {
  // A slot has two pipes, three other descriptors, and a moment's more while it spawns.
  RequireDescriptors(64 + 10 * options.slots, "fewer slots");
  // Those of the slots, and the transport's.
  RequireThreads(options.slots + 2, "fewer slots");
  return std::make_unique<TaskLoop>(options, std::move(file));
}

}  // namespace cq
