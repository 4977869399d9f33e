#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "master/core/core.h"
#include "master/core/dispatch.h"
#include "protocol/limits.h"

namespace cq {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr RunId kRun = 9;

// Drives a core with time that moves only when a test moves it; invariants are checked after every
// step.
class CoreTest : public ::testing::Test {
 protected:
  void Start(uint64_t tasks, uint64_t expected_slots = 1, Recovered recovered = {},
             bool marked = true) {
    options_.text.run = kRun;
    options_.tasks = tasks;
    options_.gather_acks = {};
    options_.expected_slots = expected_slots;
    core_ = std::make_unique<Core>(options_, std::move(recovered));
    held_.clear();
    spans_.clear();
    core_->OnTick(now_);
    core_->Flush(now_);
    core_->TakeActions();
    if (marked) core_->OnCommitted(now_, {{}, {}, tasks, {}});
  }

  // What a second master finds: one worker of the first, and tasks that it may have given out.
  Recovered OneKnownWorker(TaskId mark, const std::string& allocation, bool watched) {
    options_.epoch = 2;
    Recovered recovered;
    recovered.mark = mark;
    KnownWorker known;
    known.number = 1;
    known.id = {9};
    known.allocation = allocation;
    known.watched = watched;
    recovered.workers = {known};
    recovered.last_worker = known.number;
    return recovered;
  }

  // Time passes in steps, as it does for a master that runs.
  std::vector<Action> Pass(seconds time) {
    std::vector<Action> all;
    for (int64_t i = 0; i < time.count(); ++i) {
      for (Action& action : Tick(seconds(1))) all.push_back(std::move(action));
    }
    return all;
  }
  std::vector<Action> Tick(Time by) {
    now_ += by;
    core_->OnTick(now_);
    return Take();
  }

  std::vector<Action> Take() {
    core_->Flush(now_);
    core_->CheckInvariants();
    auto actions = core_->TakeActions();
    for (const Action& action : actions) {
      const auto* give = std::get_if<Give>(&action);
      if (give == nullptr) continue;
      for (const auto& grant : give->grants) {
        if (grant.span.count > 1) {
          spans_[give->to].push_back(grant.span);
        } else {
          held_[give->to].push_back(grant.span.first());
        }
      }
    }
    return actions;
  }

  std::vector<Action> Tell(ConnectionId from, SessionId session, uint64_t sequence,
                           FromWorker message) {
    core_->OnMessage(now_, from, {session, sequence}, std::move(message));
    return Take();
  }

  static Hello HelloOf(uint8_t id, uint64_t slots, std::vector<Held> held = {}) {
    Hello hello;
    hello.run = kRun;
    hello.worker = {id};
    hello.host = "h" + std::to_string(id);
    hello.allocation = "local " + std::to_string(id);
    hello.slots = slots;
    hello.capacity = slots * 100;
    hello.held = std::move(held);
    return hello;
  }

  // Knocks, answers the `who`, and returns what the accepted hello led to, once its row in the
  // journal is durable.
  std::vector<Action> Join(ConnectionId connection, uint8_t id, uint64_t slots,
                           std::vector<Held> held = {}) {
    return JoinAs(connection, HelloOf(id, slots, std::move(held)));
  }
  std::vector<Action> JoinAs(ConnectionId connection, const Hello& hello) {
    Hello knock = hello;
    knock.held.clear();
    session_[connection] = Only<Who>(Tell(connection, 0, 0, knock)).session;
    sequence_[connection] = 0;
    auto actions = Tell(connection, session_[connection], 0, hello);
    for (const Action& action : actions) {
      const auto* write = std::get_if<Write>(&action);
      if (write == nullptr) continue;
      for (const JournalRecord& record : write->records) {
        const auto* worker = std::get_if<WorkerRecord>(&record);
        if (worker != nullptr) core_->OnCommitted(now_, {{}, {worker->worker}, 0, {}});
      }
    }
    for (Action& action : Take()) actions.push_back(std::move(action));
    return actions;
  }

  std::vector<Action> Report(ConnectionId from, FromWorker message) {
    return Tell(from, session_[from], ++sequence_[from], std::move(message));
  }

  static TaskResult ResultOf(AttemptRef ref, Outcome outcome = Outcome::kOk,
                             uint64_t wall_us = 1'000'000) {
    TaskResult result;
    result.task = ref.task;
    result.attempt = ref.attempt;
    result.outcome = outcome;
    result.wall_us = wall_us;
    return result;
  }
  std::vector<Action> Finish(ConnectionId from, AttemptRef ref, Outcome outcome = Outcome::kOk) {
    return Report(from, Results{kRun, {}, {ResultOf(ref, outcome)}});
  }
  // The worker could not start it.
  std::vector<Action> CannotStart(ConnectionId from, AttemptRef ref) {
    TaskResult result = ResultOf(ref, Outcome::kError);
    result.unstartable = true;
    result.details.Edit().exit = 127;
    return Report(from, Results{kRun, {}, {result}});
  }
  std::vector<Action> Commit(AttemptRef ref) {
    core_->OnCommitted(now_, {{{ref.task, ref.attempt}}, {}, 0, {}});
    return Take();
  }

  // The only message of type M among the actions.
  template <class M>
  static Send Only(const std::vector<Action>& actions) {
    const auto found = All<M>(actions);
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Send{} : found[0];
  }
  template <class M>
  static std::vector<Send> All(const std::vector<Action>& actions) {
    std::vector<Send> found;
    for (const Action& action : actions) {
      const auto* send = std::get_if<Send>(&action);
      if (send != nullptr && std::holds_alternative<M>(send->message)) found.push_back(*send);
    }
    return found;
  }
  // The attempts given to a connection.
  static std::vector<AttemptRef> Given(const std::vector<Action>& actions, ConnectionId to) {
    std::vector<AttemptRef> refs;
    for (const Action& action : actions) {
      const auto* give = std::get_if<Give>(&action);
      if (give == nullptr || give->to != to) continue;
      for (const auto& grant : give->grants) {
        if (grant.span.count == 1) refs.push_back(grant.span.first());
      }
    }
    return refs;
  }
  template <class R>
  static std::vector<R> Written(const std::vector<Action>& actions) {
    std::vector<R> records;
    for (const Action& action : actions) {
      const auto* write = std::get_if<Write>(&action);
      if (write == nullptr) continue;
      for (const JournalRecord& record : write->records) {
        if (const auto* wanted = std::get_if<R>(&record)) records.push_back(*wanted);
      }
    }
    return records;
  }
  static bool IsFinished(const std::vector<Action>& actions) {
    return std::any_of(actions.begin(), actions.end(),
                       [](const Action& a) { return std::holds_alternative<Finished>(a); });
  }

  CoreOptions options_;
  std::unique_ptr<Core> core_;
  /// All that was given to each connection so far.
  std::map<ConnectionId, std::vector<AttemptRef>> held_;
  std::map<ConnectionId, std::vector<AttemptSpan>> spans_;
  Time now_ = seconds(100);
  std::map<ConnectionId, SessionId> session_;
  std::map<ConnectionId, uint64_t> sequence_;
};

}  // namespace cq
