// Rows that tasks push, as their journal has them.
#include "master/journal/pushed_table.h"

#include <gtest/gtest.h>

#include "master/journal/journal.h"
#include "master/journal/journal_tables.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/journal/tally.h"

namespace cq {
namespace {

class PushedTableTest : public ::testing::Test {
 protected:
  PushedTableTest() : journal_(":memory:", Database::Mode::kCreate) {
    FillNewJournal(journal_, {}, {{1, 1, 3}});
    tables_.emplace(journal_);
  }
  static PushedRow Row(const std::string& field) { return {HashOf({field}), {field}}; }
  // A task ends so, having pushed these.
  Committed End(TaskId task, const std::vector<std::string>& rows, Outcome outcome = Outcome::kOk) {
    ResultRecord record;
    record.result.task = task;
    record.result.attempt = task;
    record.result.outcome = outcome;
    for (const std::string& row : rows) record.pushed.push_back(Row(row));
    return tables_->Commit({record});
  }
  // Another master.
  Recovered Restarted(const Restart& restart) {
    tables_.reset();
    StartEpoch(journal_, restart);
    Recovered recovered = Recover(journal_, ReadRanges(journal_), 0);
    tables_.emplace(journal_);
    return recovered;
  }
  static std::vector<TaskId> TasksOf(const std::vector<AddedRow>& rows) {
    std::vector<TaskId> tasks;
    for (const AddedRow& row : rows) tasks.push_back(row.task);
    return tasks;
  }
  // Where the input has two rows.
  Tally TallyOfTwo() {
    RunDefinition definition;
    definition.rows = 2;
    return TallyOf(journal_, definition);
  }
  using Tasks = std::vector<TaskId>;

  Database journal_;
  std::optional<JournalTables> tables_;
};

TEST_F(PushedTableTest, ARowIsOneTaskWhoeverPushesIt) {
  const Committed first = End(1, {"a", "b", "a"});
  EXPECT_EQ(TasksOf(first.added), (Tasks{4, 5}));
  EXPECT_EQ(first.added[1].row, Row("b"));
  EXPECT_EQ(TasksOf(End(2, {"b", "c"}).added), Tasks{6});
  EXPECT_TRUE(End(4, {"a"}).added.empty());
  EXPECT_EQ(LivePushed(journal_), (Tasks{4, 5, 6}));
  EXPECT_EQ(PushedFields(journal_, 6), std::vector<std::string>{"c"});
  EXPECT_EQ(PushedFields(journal_, 3), std::nullopt);
  EXPECT_EQ(LastTask(journal_, ReadRanges(journal_)), 6u);
}

TEST_F(PushedTableTest, ALaterMasterKnowsThem) {
  End(1, {"a", "b"});
  End(4, {});
  const Recovered recovered = Restarted({});
  EXPECT_EQ(TasksOf(recovered.pushed), Tasks{5});
  EXPECT_TRUE(recovered.closed.Contains(4));
  EXPECT_FALSE(recovered.closed.Contains(5));
  EXPECT_EQ(recovered.outcomes[0], 2u);
  EXPECT_EQ(TasksOf(End(2, {"b", "c"}).added), Tasks{6});
}

// 1 -> a -> b: without 1's push neither is wanted, though both are ok.
TEST_F(PushedTableTest, WhatNobodyWhoIsOkPushesIsNotWantedAndComesBackAsItWas) {
  End(1, {"a"});
  End(4, {"b"});
  End(5, {});
  Restart gone;
  gone.ranges = {{1, 2, 2}};
  gone.removed = {1};
  const Recovered recovered = Restarted(gone);
  EXPECT_TRUE(LivePushed(journal_).empty());
  EXPECT_EQ(recovered.outcomes[0], 0u);
  EXPECT_EQ(recovered.closed_count, 3u);
  EXPECT_EQ(TallyOfTwo().done(), 0u);
  const Committed back = End(2, {"a", "c"});
  ASSERT_EQ(TasksOf(back.added), (Tasks{4, 5, 6}));
  EXPECT_TRUE(back.added[0].back());
  ASSERT_NE(back.added[1].ended(), nullptr);
  EXPECT_EQ(back.added[1].ended()->outcome, Outcome::kOk);
  EXPECT_EQ(back.added[1].row, Row("b"));
  EXPECT_FALSE(back.added[2].back());
  EXPECT_EQ(LivePushed(journal_), (Tasks{4, 5, 6}));
  EXPECT_EQ(TallyOfTwo().done(), 3u);
  EXPECT_EQ(TallyOfTwo().tasks, 5u);
}

TEST_F(PushedTableTest, WhoIsToRunAgainHasPushedNothing) {
  End(1, {"a", "b"});
  End(4, {}, Outcome::kError);
  Restart again;
  again.rerun = Restart::Rerun::kAll;
  const Recovered recovered = Restarted(again);
  EXPECT_TRUE(recovered.pushed.empty());
  EXPECT_EQ(recovered.closed_count, 2u);
  // Attempts at all of them count no more, at those without a result neither.
  ASSERT_EQ(recovered.resets.size(), 1u);
  EXPECT_EQ(recovered.resets[0].last, 5u);
  const Committed other = End(1, {"b"});
  ASSERT_EQ(TasksOf(other.added), Tasks{5});
  EXPECT_TRUE(other.added[0].back());
  EXPECT_EQ(other.added[0].ended(), nullptr);
  EXPECT_EQ(LivePushed(journal_), Tasks{5});
  // The same after another start: what was pushed in its earlier life counts no more.
  EXPECT_EQ(TasksOf(Restarted({}).pushed), Tasks{5});
}

// Two that push each other are wanted by nobody else.
TEST_F(PushedTableTest, ACircleIsNoReason) {
  End(1, {"a"});
  End(4, {"b"});
  End(5, {"a"});
  Restart gone;
  gone.ranges = {{1, 2, 2}};
  gone.removed = {1};
  Restarted(gone);
  EXPECT_TRUE(LivePushed(journal_).empty());
}

// They are wanted whatever becomes of others.
TEST_F(PushedTableTest, WhatSomebodyAddsStays) {
  const Committed added = tables_->Commit({AddRecord{7, {Row("a"), Row("b"), Row("a")}}});
  EXPECT_EQ(TasksOf(added.added), (Tasks{4, 5}));
  EXPECT_EQ(added.requests, (std::vector<std::pair<uint64_t, size_t>>{{7, 2}}));
  EXPECT_TRUE(End(1, {"b"}).added.empty());
  Restart again;
  again.rerun = Restart::Rerun::kAll;
  EXPECT_EQ(TasksOf(Restarted(again).pushed), (Tasks{4, 5}));
  EXPECT_EQ(tables_->Commit({AddRecord{8, {Row("b")}}}).requests[0].second, 0u);
}

TEST_F(PushedTableTest, AnEditedInputsNewRowsComeAfterThem) {
  End(1, {"a"});
  EXPECT_EQ(LastTask(journal_, ReadRanges(journal_)), 4u);
}

}  // namespace
}  // namespace cq
