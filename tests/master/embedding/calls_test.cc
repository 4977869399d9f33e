#include <gtest/gtest.h>

#include <future>

#include "master/embedding/call_table.h"
#include "master/embedding/continuations.h"
#include "master/embedding/ended.h"
#include "master/embedding/observer.h"
#include "protocol/bundle.h"
#include "protocol/pieces.h"

namespace cq {
namespace {

using detail::Call;
using detail::Ended;

class Nobody final : public detail::Receiver {
 public:
  bool Numbered(uint64_t) override { return false; }
  void Receive(uint64_t, Ended) override {}
};

class CallTableTest : public ::testing::Test {
 protected:
  Call CallOf(TaskId task, uint32_t count = 1) {
    Call call;
    call.task = task;
    call.number = task;
    call.count = count;
    call.function = &function_;
    call.receiver = receiver_;
    call.tag = task * 10;
    call.arguments = "a" + std::to_string(task);
    return call;
  }
  Function function_ = [] {
    Function f{};
    f.name = "f";
    return f;
  }();
  std::shared_ptr<Nobody> receiver_ = std::make_shared<Nobody>();
  CallTable calls_;
};

TEST_F(CallTableTest, ACallIsThereUntilItsResultIsTakenAndOnlyOnce) {
  for (TaskId task = 1; task <= 5000; ++task) calls_.Add(CallOf(task));
  EXPECT_EQ(calls_.Get(4000).values.at(1), "a4000");
  EXPECT_EQ(calls_.Of(receiver_.get()).size(), 5000u);
  EXPECT_TRUE(calls_.Of(std::make_shared<Nobody>().get()).empty());
  for (TaskId task = 1; task <= 5000; ++task) {
    calls_.Forget({task});
    const CallTable::Owner owner = calls_.Take(task);
    EXPECT_EQ(owner.receiver, receiver_);
    EXPECT_EQ(owner.tag, task * 10);
    EXPECT_EQ(calls_.Take(task).receiver, nullptr);
  }
  EXPECT_TRUE(calls_.Of(nullptr).empty());
  EXPECT_EQ(calls_.CountOf(7), 0u);
}

TEST_F(CallTableTest, SeedsAreThoseOfTheRunAndTheCallsNumber) {
  calls_.set_seed(7);
  Call call = CallOf(3);
  call.number = 100;
  calls_.Add(std::move(call));
  CallTable other;
  other.set_seed(7);
  Call same = CallOf(9);
  same.number = 100;
  other.Add(std::move(same));
  EXPECT_EQ(calls_.Get(3).seed, other.Get(9).seed);
}

TEST(EndedTest, ABundleThatBrokeOffTellsWhatItHas) {
  TaskResult result;
  result.outcome = Outcome::kOk;
  result.wall_us = 100;
  result.blob.Edit().format = kBundleFormat;
  std::string& bytes = result.blob.Edit().bytes;
  AppendPiece(bytes, std::string(1, kPieceOk) + "one");
  AppendPiece(bytes, std::string(1, kPieceError) + "bad");
  const auto ended = EndedOfBundle(result, 5);
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_EQ(ended[0].value, "one");
  ASSERT_NE(ended[1].error, nullptr);
  EXPECT_EQ(ended[1].error->outcome, Outcome::kError);
  result.outcome = Outcome::kCancelled;
  EXPECT_EQ(EndedOfBundle(result, 5).size(), 5u);
  result.outcome = Outcome::kCrashed;
  EXPECT_TRUE(EndedOfBundle(result, 5).empty());
}

TEST(ContinuationsTest, ACallMayGiveAnotherAndFinishWaitsForAll) {
  std::vector<int> order;
  Continuations continuations;
  std::function<void()> second = [&] { order.push_back(2); };
  std::function<void()> first = [&] {
    order.push_back(1);
    EXPECT_TRUE(continuations.Put(second));
  };
  EXPECT_TRUE(continuations.Put(first));
  continuations.Finish();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  std::function<void()> late = [] {};
  EXPECT_FALSE(continuations.Put(late));
}

TEST(ObserverTest, MessagesNameTheOptionsOfTheApi) {
  EXPECT_EQ(InWordsOfTheApi("--task-memory: end it; --run-dir DIR puts it elsewhere"),
            "`task_memory_bytes`: end it; `run_dir` puts it elsewhere");
  std::vector<std::string> told;
  EmbeddingObserver observer([&](const std::string& text) { told.push_back(text); });
  observer.Warning("a worker was lost");
  EXPECT_EQ(told, (std::vector<std::string>{"a worker was lost"}));
}

}  // namespace
}  // namespace cq
