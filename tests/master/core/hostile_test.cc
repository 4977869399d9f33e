// Peers that say anything at all, in any order: no assertion of the core's may be theirs to trip.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "master/core/core.h"
#include "protocol/spans.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr RunId kHostileRun = 9;

class HostileWorld {
 public:
  explicit HostileWorld(uint64_t seed) : random_(seed) {
    options_.text.run = kHostileRun;
    options_.text.fence = Below(4) == 0;
    options_.tasks = Below(3) == 0 ? 20 : 6;
    options_.epoch = 1 + Below(2);
    options_.lease = seconds(10);
    options_.crash_limit = 1 + static_cast<uint32_t>(Below(3));
    options_.retries = static_cast<uint32_t>(Below(3));
    options_.explained_late = Below(2) == 0;
    options_.open = Below(4) == 0;
    options_.gather_acks = {};
    if (Below(2) == 0) options_.span_time = milliseconds(50);
    if (Below(6) == 0) options_.halts = {{Halt::Of::kFailed, 3, false, false, "--max-failures"}};
    if (Below(4) == 0) {
      options_.tasks = 6;
      options_.order.tasks = {1, 2, 3, 4, 5, 6};
      options_.order.sections = {{0, 0}, {3, 0}};
      options_.order.grouped = true;
    }
    core_ = std::make_unique<Core>(options_, Earlier());
  }

  void Live(int steps) {
    core_->OnTick(now_);
    Act();
    for (int i = 0; i < steps; ++i) {
      Step();
      Act();
    }
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }

  Recovered Earlier() {
    Recovered recovered;
    if (options_.epoch == 1) return recovered;
    recovered.mark = Below(2) == 0 ? options_.tasks : Below(options_.tasks);
    recovered.last_worker = Below(4);
    for (uint8_t i = 1; i <= recovered.last_worker; ++i) {
      KnownWorker known;
      known.number = i;
      known.id = {i};
      known.host = "h" + std::to_string(i);
      known.allocation = "slurm " + std::to_string(Below(3));
      known.watched = Below(2) == 0;
      recovered.workers.push_back(known);
    }
    if (Below(3) == 0) {
      TriedTask tried;
      tried.task = 1 + Below(options_.tasks);
      tried.attempts = 1;
      tried.given_up = MakeSerial(1, 1 + Below(5));
      tried.charged = {tried.given_up};
      recovered.tried.push_back(tried);
    }
    return recovered;
  }

  // An attempt that was given out lately, at its own task or another; or one that never was.
  AttemptRef Ref() {
    if (given_.empty() || Below(8) == 0) {
      return {1 + Below(options_.tasks),
              MakeSerial(Below(2) == 0 ? 1 : options_.epoch, 1 + Below(6))};
    }
    const size_t last = std::min<size_t>(given_.size(), 12);
    AttemptRef ref = given_[given_.size() - last + Below(last)];
    if (Below(10) == 0) ref.task = 1 + Below(options_.tasks);
    return ref;
  }

  void Act() {
    core_->Flush(now_);
    for (Action& action : core_->TakeActions()) {
      if (const auto* send = std::get_if<Send>(&action)) {
        if (std::holds_alternative<Who>(send->message)) offered_[send->to] = send->session;
      } else if (const auto* give = std::get_if<Give>(&action)) {
        for (const auto& grant : give->grants) {
          for (uint64_t i = 0; i < grant.span.count; ++i) {
            given_.push_back({grant.span.task + i, grant.span.attempt + i});
          }
        }
      } else if (const auto* write = std::get_if<Write>(&action);
                 write != nullptr && Below(5) > 0) {
        Committed committed;
        for (const JournalRecord& record : write->records) committed.Add(record);
        core_->OnCommitted(now_, committed);
      }
    }
  }

  void Step() {
    const ConnectionId from = 1 + Below(4);
    switch (Below(13)) {
      case 0:
      case 1:
        return SayHello(from);
      case 2:
        return Tell(from, SomeStarted());
      case 3:
      case 4:
      case 5: {
        Results results = SomeResults();
        return Below(8) == 0 ? core_->OnSpooled(now_, results) : Tell(from, results);
      }
      case 6:
      case 7:
        return Tell(from, SomeReturned());
      case 8:
        return Tell(from, WorkerHeartbeat{0, Below(60), Below(9) == 0 ? "bad" : ""});
      case 9:
        return Tell(from, Below(2) == 0 ? FromWorker(Goodbye{"x"}) : FromWorker(Leaving{"x"}));
      case 10:
        return core_->OnAllocationEnded(now_, "slurm " + std::to_string(Below(4)), "r",
                                        static_cast<Blame>(Below(4)));
      case 11:
        return Pass();
      default:
        return Order(from);
    }
  }

  void Tell(ConnectionId from, FromWorker message) {
    core_->OnMessage(now_, from, {session_[from], ++sequence_[from]}, std::move(message));
  }

  void SayHello(ConnectionId from) {
    Hello hello;
    hello.run = kHostileRun;
    hello.worker = {static_cast<uint8_t>(1 + Below(4))};
    hello.host = "h" + std::to_string(Below(3));
    hello.allocation = "slurm " + std::to_string(Below(4));
    hello.slots = Below(4);
    hello.capacity = Below(50);
    hello.leaving = Below(6) == 0;
    for (uint64_t i = Below(6); i > 0; --i) {
      const AttemptRef ref = Ref();
      hello.held.push_back({kHostileRun, ref.task, ref.attempt, static_cast<HeldState>(Below(3))});
    }
    const SessionId session = offered_.contains(from) && Below(5) > 0 ? offered_[from] : 0;
    core_->OnMessage(now_, from, {session, 0}, hello);
    if (session == 0) return;
    session_[from] = session;
    sequence_[from] = 0;
  }

  FromWorker SomeStarted() {
    Started started{kHostileRun, {}};
    for (uint64_t i = Below(5); i > 0; --i) {
      const AttemptRef ref = Ref();
      started.attempts.push_back({ref.task, ref.attempt, Below(3)});
    }
    return started;
  }

  FromWorker SomeReturned() {
    Returned returned{kHostileRun, {}};
    for (uint64_t i = Below(4); i > 0; --i) {
      const AttemptRef ref = Ref();
      returned.attempts.push_back(
          {ref.task, ref.attempt, static_cast<ReturnReason>(Below(4)), 0, {}});
    }
    return returned;
  }

  Results SomeResults() {
    Results results{kHostileRun, {}, {}};
    for (uint64_t i = Below(3); i > 0; --i) {
      const AttemptRef ref = Ref();
      TaskResult result;
      result.task = ref.task;
      result.attempt = ref.attempt;
      result.wall_us = Below(3000);
      result.outcome = static_cast<Outcome>(Below(kOutcomes));
      result.unstartable = Below(6) == 0;
      results.results.push_back(result);
    }
    if (Below(2) == 0) {
      const AttemptRef ref = Ref();
      auto span = For<TaskResult>({ref.task, ref.attempt, 1 + Below(5)});
      for (uint64_t i = 0; i < span.count; ++i) AppendAnswer(span.answers, 5, "x");
      span.wall_us = 5 * span.count;
      results.results.push_back(span);
    }
    return results;
  }

  void Pass() {
    for (uint64_t i = Below(40); i > 0; --i) {
      now_ += seconds(1);
      core_->OnTick(now_);
      Act();
    }
  }

  // What the loop and the program say.
  void Order(ConnectionId connection) {
    switch (Below(5)) {
      case 0:
        return core_->OnCancelled({1 + Below(options_.tasks)});
      case 1:
        return options_.open ? core_->OnAdded(1) : void();
      case 2:
        return core_->OnUnreachable(now_, connection);
      default:
        core_->OnExpected(Below(3));
        now_ += milliseconds(Below(2000));
        core_->OnTick(now_);
    }
  }

  std::mt19937_64 random_;
  CoreOptions options_;
  std::unique_ptr<Core> core_;
  Time now_ = seconds(100);
  std::map<ConnectionId, SessionId> offered_;
  std::map<ConnectionId, SessionId> session_;
  std::map<ConnectionId, uint64_t> sequence_;
  std::vector<AttemptRef> given_;
};

TEST(HostileTest, NoPeerEndsAMaster) {
  for (uint64_t seed = 1; seed <= 1500; ++seed) HostileWorld(seed).Live(200);
}

}  // namespace
}  // namespace cq
