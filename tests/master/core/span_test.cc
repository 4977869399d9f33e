// Short tasks that are out together, until something happens to one of them.
#include "protocol/spans.h"
#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

class CoreSpanTest : public CoreTest {
 protected:
  // A worker that has run one task in a microsecond, and what it was given then.
  AttemptSpan GiveSpan(uint64_t tasks, uint64_t slots = 1) {
    options_.span_time = milliseconds(10);
    Start(tasks, slots);
    Join(1, 1, slots);
    for (const AttemptRef& ref : std::vector(held_[1])) {
      Report(1, Results{kRun, {}, {ResultOf(ref, Outcome::kOk, 1)}});
      Commit(ref);
    }
    EXPECT_FALSE(spans_[1].empty());
    return spans_[1].empty() ? AttemptSpan{} : spans_[1][0];
  }

  // The results of so many tasks of a span, from the one at `at` on.
  static TaskResult Answers(const AttemptSpan& span, uint64_t at, uint64_t count) {
    auto results = For<TaskResult>({span.task + at, span.attempt + at, count});
    results.started_us = 1'000;
    results.wall_us = count;
    for (uint64_t i = 0; i < count; ++i)
      AppendAnswer(results.answers, 1, Value(span.task + at + i));
    return results;
  }
  static std::string Value(TaskId task) { return "v" + std::to_string(task); }
  std::vector<Action> Answer(ConnectionId from, TaskResult span) {
    Results results;
    results.run = kRun;
    results.results = {std::move(span)};
    return Report(from, std::move(results));
  }
  std::vector<Action> CommitAll(const std::vector<Action>& actions) {
    Committed committed;
    for (const Action& action : actions) {
      const auto* write = std::get_if<Write>(&action);
      if (write == nullptr) continue;
      for (const JournalRecord& record : write->records) committed.Add(record);
    }
    core_->OnCommitted(now_, committed);
    return Take();
  }
  uint64_t done() { return core_->counts().done; }
};

TEST(TaskSetTest, AnyRangeOfAnyLength) {
  for (const TaskId first : {1, 63, 64, 65, 100}) {
    for (const uint64_t count : {1, 2, 27, 28, 63, 64, 65, 128, 300}) {
      TaskSet set;
      set.Insert(first, count);
      for (TaskId task = 0; task < 500; ++task) {
        EXPECT_EQ(set.Contains(task), task >= first && task < first + count)
            << first << " " << task;
      }
    }
  }
}

TEST_F(CoreSpanTest, TogetherTheyGoOutComeBackAndAreAcknowledged) {
  const AttemptSpan span = GiveSpan(1000);
  ASSERT_GT(span.count, 10u);
  const uint64_t before = done();
  const auto answered = Answer(1, Answers(span, 0, span.count));
  EXPECT_TRUE(All<Ack>(answered).empty());
  const auto written = Written<ResultRecord>(answered);
  ASSERT_EQ(written.size(), 1u);
  EXPECT_EQ(AttemptSpan(written[0].result), span);
  EXPECT_EQ(done(), before + span.count);
  const auto acks = All<Ack>(CommitAll(answered));
  ASSERT_EQ(acks.size(), 1u);
  EXPECT_EQ(std::get<Ack>(acks[0].message).attempts, (std::vector<AttemptSpan>{span}));
}

TEST_F(CoreSpanTest, PartsComeInAnyOrderAndByThemselves) {
  const AttemptSpan span = GiveSpan(1000);
  const uint64_t before = done();
  const auto middle = Answer(1, Answers(span, 4, 3));
  EXPECT_EQ(Written<ResultRecord>(middle)[0].result.task, span.task + 4);
  EXPECT_EQ(Written<ResultRecord>(Answer(1, Answers(span, 0, 4))).size(), 1u);
  const AttemptRef one{span.task + 7, span.attempt + 7};
  const auto failed = Finish(1, one, Outcome::kError);
  EXPECT_EQ(Written<ResultRecord>(failed)[0].result.outcome, Outcome::kError);
  EXPECT_EQ(Written<ResultRecord>(Answer(1, Answers(span, 8, span.count - 8))).size(), 1u);
  EXPECT_EQ(done(), before + span.count);
}

TEST_F(CoreSpanTest, OfALostWorkerOnlyTheTaskThatRanIsCharged) {
  const AttemptSpan span = GiveSpan(60);
  Report(1, Started{kRun, {{span.task + 5, span.attempt + 5, 0}}});
  const auto lost = Pass(seconds(32));
  const auto charges = Written<FailureRecord>(lost);
  ASSERT_EQ(charges.size(), 1u);
  EXPECT_EQ(charges[0].attempt, (AttemptRef{span.task + 5, span.attempt + 5}));
  // The others go out again, and that one as the second try.
  std::map<TaskId, uint64_t> tries;
  for (const Action& action : Join(2, 2, 60)) {
    const auto* give = std::get_if<Give>(&action);
    if (give == nullptr) continue;
    for (const auto& grant : give->grants) tries[grant.span.task] = grant.attempt_number;
  }
  for (uint64_t i = 0; i < span.count; ++i) {
    EXPECT_EQ(tries[span.task + i], i == 5 ? 2u : 1u) << i;
  }
}

// Each of two slots runs a part of the span.
TEST_F(CoreSpanTest, OfEachSlotTheTaskThatRanIsCharged) {
  const AttemptSpan span = GiveSpan(60, 2);
  Report(1, Started{kRun, {{span.task + 9, span.attempt + 9, 1}, {span.task, span.attempt, 0}}});
  const auto charges = Written<FailureRecord>(Pass(seconds(32)));
  ASSERT_EQ(charges.size(), 2u);
  EXPECT_EQ(charges[0].attempt.task, span.task);
  EXPECT_EQ(charges[1].attempt.task, span.task + 9);
}

TEST_F(CoreSpanTest, ARepetitionIsNoSecondOutcomeAndIsAcknowledgedOnceDurable) {
  const AttemptSpan span = GiveSpan(1000);
  const auto first = Answer(1, Answers(span, 0, 10));
  const uint64_t after = done();
  // Of all of them, and of a part.
  for (const uint64_t count : {uint64_t{10}, uint64_t{4}}) {
    const auto again = Answer(1, Answers(span, 3, count - 3));
    EXPECT_TRUE(Written<ResultRecord>(again).empty());
    EXPECT_TRUE(All<Ack>(again).empty());
  }
  EXPECT_EQ(done(), after);
  EXPECT_EQ(All<Ack>(CommitAll(first)).size(), 1u);
  EXPECT_EQ(All<Ack>(Answer(1, Answers(span, 0, 10))).size(), 1u);
  EXPECT_EQ(done(), after);
}

TEST_F(CoreSpanTest, ACancelledOneKeepsItsOutcome) {
  const AttemptSpan span = GiveSpan(1000);
  core_->OnCancelled({span.task + 2});
  const auto cancelled = Take();
  const auto word = Only<Cancel>(cancelled);
  EXPECT_EQ(std::get<Cancel>(word.message).attempts,
            (std::vector<AttemptRef>{{span.task + 2, span.attempt + 2}}));
  const uint64_t before = done();
  const auto answered = Answer(1, Answers(span, 0, 6));
  const auto each = Written<ResultRecord>(answered);
  EXPECT_EQ(each.size(), 5u);
  for (const ResultRecord& record : each) {
    std::string_view answers = record.result.answers;
    cq::Answer answer;
    ASSERT_TRUE(TakeAnswer(answers, answer));
    EXPECT_EQ(answer.value, Value(record.result.task));
    EXPECT_NE(record.result.task, span.task + 2);
  }
  EXPECT_EQ(done(), before + 5);
}

TEST_F(CoreSpanTest, WhatIsAskedBackIsTakenFromItsEnd) {
  GiveSpan(60);
  const auto joined = Join(2, 2, 4);
  const auto asked = All<cq::Retract>(joined);
  ASSERT_EQ(asked.size(), 1u);
  const auto attempts = std::get<cq::Retract>(asked[0].message).attempts;
  ASSERT_EQ(attempts.size(), 4u);
  EXPECT_EQ(attempts[0].task, 60u);
  EXPECT_EQ(attempts[3].task, 57u);
  Returned returned;
  returned.run = kRun;
  for (const AttemptRef& ref : attempts) {
    returned.attempts.push_back({ref.task, ref.attempt, ReturnReason::kRetracted, 0, {}});
  }
  EXPECT_EQ(Given(Report(1, returned), 2).size(), 4u);
}

// What stands behind the one that runs waits, and may go elsewhere; that one may not.
TEST_F(CoreSpanTest, WhatStandsBehindTheOneThatRunsIsAskedBack) {
  const AttemptSpan span = GiveSpan(60);
  const TaskId last = span.task + span.count - 1;
  Report(1, Started{kRun, {{last - 3, span.attempt + span.count - 4, 0}}});
  const auto asked = All<cq::Retract>(Join(2, 2, 4));
  ASSERT_EQ(asked.size(), 1u);
  const auto attempts = std::get<cq::Retract>(asked[0].message).attempts;
  ASSERT_GE(attempts.size(), 3u);
  EXPECT_EQ(attempts[0].task, last);
  for (const AttemptRef& ref : attempts) EXPECT_NE(ref.task, last - 3);
}

// Of what went out in a span under an older session the worker has a part.
TEST_F(CoreSpanTest, AHelloThatLacksSomeOfThemGivesThoseBackFreeOfCharge) {
  const AttemptSpan span = GiveSpan(60);
  std::vector<Held> held;
  for (uint64_t i = 0; i < 5; ++i) {
    held.push_back(
        {kRun, span.task + i, span.attempt + i, i == 0 ? HeldState::kRunning : HeldState::kQueued});
  }
  const auto joined = Join(3, 1, 1, held);
  EXPECT_TRUE(Written<FailureRecord>(joined).empty());
  EXPECT_TRUE(All<Cancel>(joined).empty());
  const auto answered = Answer(3, Answers(span, 0, 5));
  EXPECT_EQ(Written<ResultRecord>(answered).size(), 5u);
}

// It says what it never got.
TEST_F(CoreSpanTest, ASpanThatWasNeverGivenOutIsRejected) {
  const AttemptSpan span = GiveSpan(60);
  const uint64_t before = done();
  AttemptSpan other = span;
  other.attempt += 1000;
  Answer(1, Answers(other, 0, 3));
  other = span;
  other.task += 1000;
  Answer(1, Answers(other, 0, 3));
  EXPECT_EQ(done(), before);
  EXPECT_EQ(core_->counts().rejected, 6u);
}

}  // namespace
}  // namespace cq
