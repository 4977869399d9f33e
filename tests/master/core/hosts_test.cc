// Hosts where tasks fail though they do not elsewhere.
#include <deque>

#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

class CoreHostsTest : public CoreTest {
 protected:
  // Plays a run whose workers, one a host with one slot, end their oldest task in turn; worker 1
  // three times as often, since failing is fast. `ends` says how a task ends on a worker.
  template <class F>
  void Play(uint64_t tasks, ConnectionId workers, const F& ends) {
    Start(tasks, workers);
    for (ConnectionId w = 1; w <= workers; ++w) {
      for (const Action& action : Join(w, static_cast<uint8_t>(w), 1)) Look(action);
    }
    std::map<ConnectionId, size_t> next;
    for (int turn = 0; turn < 10'000 && !finished_; ++turn) {
      for (ConnectionId w = 1; w <= workers; ++w) {
        for (int i = 0; i < (w == 1 ? 3 : 1); ++i) {
          if (next[w] == held_[w].size()) break;
          const AttemptRef ref = held_[w][next[w]++];
          TaskResult result = ResultOf(ref, ends(w, ref.task));
          result.details.Edit().error = "exit status 1";
          for (const Action& action : Report(w, Results{kRun, {}, {result}})) Look(action);
        }
      }
      for (const Action& action : Tick(milliseconds(200))) Look(action);
      Committed committed;
      for (const JournalRecord& record : std::exchange(records_, {})) committed.Add(record);
      core_->OnCommitted(now_, committed);
      for (const Action& action : Take()) Look(action);
    }
  }
  void Look(const Action& action) {
    if (const auto* avoid = std::get_if<AvoidHost>(&action)) avoided_.push_back(avoid->host);
    if (std::holds_alternative<Finished>(action)) finished_ = true;
    const auto* write = std::get_if<Write>(&action);
    if (write == nullptr) return;
    for (const JournalRecord& record : write->records) {
      records_.push_back(record);
      const auto* result = std::get_if<ResultRecord>(&record);
      if (result != nullptr) ++outcomes_[result->result.outcome];
    }
  }

  std::vector<JournalRecord> records_;
  std::vector<std::string> avoided_;
  std::map<Outcome, uint64_t> outcomes_;
  bool finished_ = false;
};

TEST_F(CoreHostsTest, OneHostOfFourWhereEverythingFailsIsAvoidedAndNoRowIsLost) {
  options_.retries = 2;
  Play(400, 4,
       [](ConnectionId worker, TaskId) { return worker == 1 ? Outcome::kError : Outcome::kOk; });
  EXPECT_TRUE(finished_);
  EXPECT_EQ(outcomes_[Outcome::kOk], 400u);
  EXPECT_EQ(avoided_, std::vector<std::string>{"h1"});
}

TEST_F(CoreHostsTest, WithoutRetriesAHostWhereEverythingFailsLosesFewRows) {
  Play(400, 4,
       [](ConnectionId worker, TaskId) { return worker == 1 ? Outcome::kError : Outcome::kOk; });
  EXPECT_TRUE(finished_);
  EXPECT_LE(outcomes_[Outcome::kError], 40u);
  EXPECT_EQ(avoided_, std::vector<std::string>{"h1"});
}

TEST_F(CoreHostsTest, AHostIsNotJudgedByItsFirstResults) {
  uint64_t on_first = 0;
  Play(400, 4, [&](ConnectionId worker, TaskId) {
    return worker == 1 && ++on_first <= 6 ? Outcome::kError : Outcome::kOk;
  });
  EXPECT_TRUE(finished_);
  EXPECT_EQ(outcomes_[Outcome::kError], 6u);
  EXPECT_TRUE(avoided_.empty());
}

// Every other row, or a block of rows: one host may get them all.
TEST_F(CoreHostsTest, RowsThatFailWhereverTheyRunCostNoHost) {
  for (const uint32_t retries : {0u, 2u}) {
    options_.retries = retries;
    for (const bool block : {false, true}) {
      outcomes_.clear();
      finished_ = false;
      Play(800, 4, [&](ConnectionId, TaskId task) {
        return (block ? task <= 400 : task % 2 == 0) ? Outcome::kError : Outcome::kOk;
      });
      EXPECT_TRUE(finished_);
      EXPECT_EQ(outcomes_[Outcome::kOk], 400u);
      EXPECT_TRUE(avoided_.empty());
    }
  }
}

// Four workers on one host say no more than one.
TEST_F(CoreHostsTest, WorkersOfOneHostRefuseATaskOnlyOnce) {
  Start(1, 4);
  for (uint8_t w = 1; w <= 3; ++w) {
    Hello hello = HelloOf(w, 1);
    hello.host = "bad";
    const auto offered = Tell(w, 0, 0, hello);
    session_[w] = Only<Who>(offered).session;
    const auto joined = Tell(w, session_[w], 0, hello);
    core_->OnCommitted(now_, {{}, {w}, 0, {}});
    Take();
  }
  core_->OnExpected(1);
  const AttemptRef first = held_[1].at(0);
  EXPECT_TRUE(Written<ResultRecord>(CannotStart(1, first)).empty());
  EXPECT_TRUE(held_[2].empty());
  EXPECT_TRUE(held_[3].empty());
  const auto joined = Join(4, 4, 1);
  core_->OnExpected(0);
  EXPECT_EQ(Given(joined, 4).size(), 1u);
}

}  // namespace
}  // namespace cq
