// The slots with real processes: who runs what, and what is taken back and killed.
#include "worker/slots/slots.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "protocol/spans.h"

namespace cq {
namespace {

using std::chrono::nanoseconds;
using std::chrono::steady_clock;

class SlotsTest : public ::testing::Test {
 protected:
  // Tasks run their value in a shell.
  void Start(uint64_t slots) {
    slots_ = std::make_unique<Slots>(
        slots, [] { return nanoseconds(steady_clock::now().time_since_epoch()); });
    RunText text;
    text.run = 1;
    text.command = {{std::string("/bin/sh")}, {std::string("-c")}, {int64_t{0}}};
    slots_->SetRun(std::make_shared<RunContext>(std::move(text)));
    slots_->OwnerSleeps(true);
  }
  static Task TaskOf(TaskId number, const std::string& script) {
    Task task = For<Task>({number, MakeSerial(1, number)});
    task.values = {script};
    return task;
  }
  // Waits until the slots wake their owner.
  void Wait() {
    pollfd wake{slots_->wake_fd(), POLLIN, 0};
    ASSERT_EQ(poll(&wake, 1, 30'000), 1) << "nothing happened";
    slots_->ClearWake();
  }
  std::vector<CommandEnd> Ended(size_t count) {
    std::vector<CommandEnd> ended;
    while (ended.size() < count && !HasFatalFailure()) {
      for (CommandEnd& end : slots_->TakeEnded()) ended.push_back(std::move(end));
      if (ended.size() >= count) break;
      slots_->OwnerSleeps(true);
      Wait();
    }
    return ended;
  }
  // Until this task runs.
  void WaitForStart(TaskId task) {
    const auto runs = [&] {
      for (const RunningTask& running : slots_->Running()) {
        if (running.ref.task == task) return true;
      }
      return false;
    };
    while (!runs() && !HasFatalFailure()) {
      slots_->OwnerSleeps(true);
      if (!runs()) Wait();
    }
  }

  std::unique_ptr<Slots> slots_;
};

TEST_F(SlotsTest, EachTaskEndsOnceWithItsOwnResult) {
  Start(2);
  std::vector<Task> tasks;
  for (TaskId i = 1; i <= 20; ++i) tasks.push_back(TaskOf(i, "exit " + std::to_string(i % 3)));
  slots_->Push(std::move(tasks));
  std::set<TaskId> seen;
  for (const CommandEnd& end : Ended(20)) {
    EXPECT_TRUE(seen.insert(end.result.task).second) << end.result.task;
    EXPECT_EQ(end.result.details->exit, static_cast<int64_t>(end.result.task % 3));
    EXPECT_LT(end.result.slot, 2u);
  }
  EXPECT_EQ(seen.size(), 20u);
  EXPECT_EQ(slots_->ledger().tasks, 20u);
}

TEST_F(SlotsTest, WhatWaitsIsTakenBackAndWhatRunsIsKilled) {
  Start(1);
  std::vector<Task> tasks;
  tasks.push_back(TaskOf(1, "sleep 1000"));
  tasks.push_back(TaskOf(2, "true"));
  tasks.push_back(TaskOf(3, "true"));
  const std::vector<AttemptRef> refs{tasks[0].first(), tasks[1].first(), tasks[2].first()};
  slots_->Push(std::move(tasks));
  WaitForStart(1);
  // The one that runs cannot be taken back.
  EXPECT_EQ(slots_->TakeBack({refs[0], refs[1]}), std::vector<AttemptRef>{refs[1]});
  // One that is not there is nobody's.
  slots_->Kill({{9, MakeSerial(1, 9)}});
  slots_->Kill({refs[0]});
  const auto ended = Ended(2);
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_EQ(ended[0].result.task, 1u);
  EXPECT_TRUE(ended[0].killed);
  // The kill was for that one alone.
  EXPECT_EQ(ended[1].result.task, 3u);
  EXPECT_FALSE(ended[1].killed);
  EXPECT_EQ(ended[1].result.outcome, Outcome::kOk);
}

// A slot that is free takes the next task at once, unless its lease is over.
TEST_F(SlotsTest, NothingStartsAfterTheLease) {
  Start(1);
  const Task first = TaskOf(1, "sleep 1000");
  const Task second = TaskOf(2, "true");
  slots_->Push({first});
  WaitForStart(1);
  slots_->StartUntil(nanoseconds(1));
  slots_->Push({second});
  slots_->Kill({first.first()});
  EXPECT_EQ(Ended(1).at(0).result.task, 1u);
  while (!slots_->Idle()) std::this_thread::yield();
  EXPECT_EQ(slots_->TakeBack({second.first()}), std::vector<AttemptRef>{second.first()});
  slots_->Push({second});
  slots_->StartUntil(nanoseconds::max());
  EXPECT_EQ(Ended(1).at(0).result.task, 2u);
}

TEST_F(SlotsTest, ShutDownWhateverRunsEnds) {
  Start(2);
  std::vector<Task> tasks;
  for (TaskId i = 1; i <= 5; ++i) tasks.push_back(TaskOf(i, "sleep 1000"));
  slots_->Push(std::move(tasks));
  WaitForStart(1);
  const auto begin = steady_clock::now();
  slots_.reset();
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(60));
}

}  // namespace
}  // namespace cq
