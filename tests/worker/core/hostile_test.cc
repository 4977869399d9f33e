// A master that says anything at all, and slots that do as they are told: no assertion of the
// core's may be its master's to trip, and its books agree at every step.
#include <gtest/gtest.h>

#include <random>

#include "protocol/spans.h"
#include "worker/core/worker_core.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr RunId kHostileRun = 9;

class HostileMaster {
 public:
  explicit HostileMaster(uint64_t seed) : random_(seed) {
    WorkerCoreOptions options;
    options.run = kHostileRun;
    options.slots = 1 + Below(3);
    options.local = Below(2) == 0;
    slots_.resize(options.slots);
    core_ = std::make_unique<WorkerCore>(options);
    core_->OnConnected(now_);
    Act();
  }

  void Live(int steps) {
    for (int i = 0; i < steps && !exited_; ++i) {
      Below(2) == 0 ? Say() : Work();
      Act();
    }
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }

  AttemptSpan Span() { return {1 + Below(6), MakeSerial(1, 1 + Below(8)), 1 + Below(4)}; }
  AttemptRef Ref() { return {1 + Below(6), MakeSerial(1, 1 + Below(8))}; }
  template <class T, class F>
  std::vector<T> Some(F&& one) {
    std::vector<T> some;
    for (uint64_t i = Below(3); i > 0; --i) some.push_back(one());
    return some;
  }

  void Tell(ToWorker message) {
    core_->OnMessage(now_, {session_, ++sequence_}, std::move(message));
  }

  void Say() {
    switch (Below(8)) {
      case 0: {
        session_ = MakeSerial(1, ++sessions_);
        sequence_ = 0;
        core_->OnMessage(now_, {session_, 0}, Who{});
        Tell(Welcome{100, 3000, {}});
        RunText text;
        text.run = kHostileRun;
        text.command = {{"x"}};
        text.fence = Below(2) == 0;
        return Below(2) == 0 ? Tell(text) : void();
      }
      case 1:
      case 2:
      case 3: {
        Assign assign;
        assign.run = kHostileRun;
        assign.tasks = Some<Task>([this] {
          Task task;
          task.task = Ref().task;
          task.attempt = Ref().attempt;
          return task;
        });
        for (Task& span : Some<Task>([this] { return For<Task>(Span()); })) {
          assign.tasks.push_back(std::move(span));
        }
        return Tell(assign);
      }
      case 4:
        return Tell(Ack{kHostileRun, Some<AttemptSpan>([this] { return Span(); })});
      case 5:
        return Tell(Retract{kHostileRun, Some<AttemptRef>([this] { return Ref(); })});
      case 6:
        return Tell(Cancel{kHostileRun, Some<AttemptRef>([this] { return Ref(); })});
      default:
        if (Below(20) == 0) core_->OnToldToGo(now_, "go");
        if (Below(20) == 0) Tell(Drain{"d"});
        if (Below(5) > 0) return;
        core_->OnDisconnected();
        core_->OnConnected(now_);
    }
  }

  // What slots do: they begin, tell what runs, end it well or by a signal, or have no room.
  void Work() {
    AttemptSpan& slot = slots_[Below(slots_.size())];
    switch (Below(5)) {
      case 0: {
        if (slot.count > 0 || queue_.empty()) return;
        const size_t at = Below(queue_.size());
        slot = queue_[at];
        queue_.erase(queue_.begin() + static_cast<ptrdiff_t>(at));
        if (slot.count > 1 && Below(2) == 0) {
          const AttemptSpan front = CutFront(slot, 1 + Below(slot.count - 1));
          queue_.push_back(std::exchange(slot, front));
        }
        return;
      }
      case 1: {
        std::vector<RunningTask> running;
        for (size_t i = 0; i < slots_.size(); ++i) {
          if (slots_[i].count == 0) continue;
          running.push_back({{slots_[i].task, slots_[i].attempt}, i, now_});
        }
        return core_->OnRunning(running);
      }
      case 2:
        return slot.count > 0 ? End(slot) : void();
      case 3:
        now_ += milliseconds(Below(3000));
        return core_->OnTick(now_);
      default:
        if (slot.count == 0 || Below(3) > 0) return;
        const AttemptSpan first = CutFront(slot, 1);
        if (slot.count > 0) queue_.push_back(std::exchange(slot, {0, 0, 0}));
        core_->OnNoRoom(now_, {first.task, first.attempt}, "full");
    }
  }

  void End(AttemptSpan& slot) {
    if (slot.count > 1 && Below(2) == 0) {
      auto answers = For<TaskResult>(CutFront(slot, 1 + Below(slot.count)));
      for (uint64_t i = 0; i < answers.count; ++i) AppendAnswer(answers.answers, 5, "x");
      return core_->OnFinished(now_, std::move(answers), false);
    }
    core_->OnFinished(now_, First(slot, static_cast<Outcome>(Below(2)), Below(3) == 0 ? -9 : 0),
                      false);
  }

  static TaskResult First(AttemptSpan& slot, Outcome outcome, int64_t exit) {
    const AttemptSpan first = CutFront(slot, 1);
    TaskResult result;
    result.task = first.task;
    result.attempt = first.attempt;
    result.outcome = outcome;
    if (exit != 0) result.details.Edit().exit = exit;
    return result;
  }

  void Act() {
    core_->CheckInvariants();
    for (WorkerAction& action : core_->TakeActions()) {
      if (auto* enqueue = std::get_if<Enqueue>(&action)) {
        queue_.insert(queue_.end(), enqueue->tasks.begin(), enqueue->tasks.end());
      } else if (const auto* take = std::get_if<TakeBack>(&action)) {
        Take(*take);
      } else if (const auto* kill = std::get_if<cq::Kill>(&action)) {
        Kill(*kill);
      } else if (std::holds_alternative<Exit>(action)) {
        exited_ = true;
      }
    }
    core_->CheckInvariants();
  }

  void Take(const TakeBack& take) {
    std::vector<AttemptRef> taken;
    for (const AttemptRef& ref : take.attempts) {
      for (size_t i = 0; i < queue_.size(); ++i) {
        AttemptSpan span = queue_[i];
        if (ref.attempt - span.attempt >= span.count) continue;
        queue_.erase(queue_.begin() + static_cast<ptrdiff_t>(i));
        const uint64_t before = ref.attempt - span.attempt;
        if (before > 0) queue_.push_back(CutFront(span, before));
        const AttemptSpan one = CutFront(span, 1);
        taken.push_back({one.task, one.attempt});
        if (span.count > 0) queue_.push_back(span);
        break;
      }
    }
    core_->OnTakenBack(taken, take.reason);
  }

  void Kill(const cq::Kill& kill) {
    for (const AttemptRef& ref : kill.attempts) {
      for (AttemptSpan& slot : slots_) {
        if (slot.count == 0 || slot.attempt != ref.attempt) continue;
        core_->OnFinished(now_, First(slot, Outcome::kError, 0), true);
      }
    }
  }

  std::mt19937_64 random_;
  std::unique_ptr<WorkerCore> core_;
  WorkerCore::Time now_ = seconds(100);
  SessionId session_ = 0;
  uint64_t sessions_ = 0;
  uint64_t sequence_ = 0;
  std::vector<AttemptSpan> queue_;
  std::vector<AttemptSpan> slots_;
  bool exited_ = false;
};

TEST(HostileTest, NoMasterEndsAWorker) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) HostileMaster(seed).Live(250);
}

}  // namespace
}  // namespace cq
