// What a proposer has heard of, as its journal has it.
#include "master/journal/endings_table.h"

#include <gtest/gtest.h>

#include "master/journal/journal.h"
#include "master/journal/journal_tables.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"

namespace cq {
namespace {

class EndingsTableTest : public ::testing::Test {
 protected:
  EndingsTableTest() : journal_(":memory:", Database::Mode::kCreate) {
    FillNewJournal(journal_, {}, {{1, 1, 5}});
    tables_.emplace(journal_);
  }
  static JournalRecord Result(TaskId task, bool told = true, Outcome outcome = Outcome::kOk) {
    ResultRecord record;
    record.result.task = task;
    record.result.attempt = task;
    record.result.outcome = outcome;
    record.told = told;
    return record;
  }
  static JournalRecord Answer(TaskId told, const std::vector<std::string>& rows,
                              bool done = false) {
    AddRecord record;
    record.request = 1;
    for (const std::string& row : rows) record.rows.push_back({HashOf({row}), {row}});
    record.proposed = {told, done, std::vector<TaskId>(rows.size(), told)};
    return record;
  }
  void Restart(const cq::Restart& restart, uint64_t limit = 0) {
    tables_.reset();
    StartEpoch(journal_, restart);
    OrderEndings(journal_, ReadRanges(journal_), limit);
    tables_.emplace(journal_);
  }
  // "task", with ? behind those whose answer is not kept.
  std::string Heard(bool all = false) {
    EndingsCursor cursor(journal_, all);
    EndingsCursor::Ending ending;
    std::string heard;
    while (cursor.Next(ending)) {
      heard += std::to_string(ending.task) + (ending.answered ? " " : "? ");
    }
    return heard;
  }

  Database journal_;
  std::optional<JournalTables> tables_;
};

TEST_F(EndingsTableTest, TheyAreToldAgainAsTheyWereTold) {
  tables_->Commit({Result(4), Result(2), Answer(4, {"a"})});
  tables_->Commit({Result(3, true, Outcome::kError), Result(1)});
  EXPECT_EQ(Heard(), "4 2? 1? ");
  EXPECT_EQ(Heard(true), "4 2? 3? 1? ");
  tables_->Commit({Answer(1, {})});
  EXPECT_EQ(Heard(true), "4 2 3 1 ");
  EXPECT_TRUE(HasAnsweredAll(journal_));
}

TEST_F(EndingsTableTest, WhatItNamedIsThereUntilAllRunsAgain) {
  tables_->Commit({Result(1), Answer(1, {"a"})});
  EXPECT_EQ(LivePushed(journal_), std::vector<TaskId>{6});
  Restart({});
  EXPECT_EQ(LivePushed(journal_), std::vector<TaskId>{6});
  EXPECT_EQ(Heard(), "1 ");
  cq::Restart again;
  again.rerun = Restart::Rerun::kAll;
  Restart(again);
  EXPECT_TRUE(LivePushed(journal_).empty());
  EXPECT_EQ(Heard(), "");
  // Numbers of the first time say nothing of the second.
  tables_->Commit({Result(2)});
  EXPECT_EQ(Heard(), "2? ");
}

// The place of one that runs again goes to no other.
TEST_F(EndingsTableTest, WhatRunsAgainIsAnsweredAnew) {
  tables_->Commit({Result(1), Result(2, true, Outcome::kError), Answer(2, {})});
  cq::Restart again;
  again.rerun = Restart::Rerun::kFailed;
  Restart(again);
  tables_->Commit({Result(2)});
  EXPECT_EQ(Heard(true), "1 2? ");
}

TEST_F(EndingsTableTest, WhatEndedWithoutAProposerComesBehind) {
  tables_->Commit({Result(5, false), Result(3), Answer(3, {}), Result(2, false)});
  EXPECT_EQ(Heard(), "3 ");
  Restart({}, 3);
  EXPECT_EQ(Heard(), "3 2? ") << "task 5 is beyond the limit";
  tables_->Commit({Answer(2, {})});
  Restart({});
  EXPECT_EQ(Heard(), "3 2 5? ");
}

TEST_F(EndingsTableTest, WhoIsDoneIsSoUntilOthersAddRows) {
  tables_->Commit({Result(1), Answer(1, {}, true)});
  EXPECT_TRUE(ProposerIsDone(journal_));
  Restart({});
  EXPECT_TRUE(ProposerIsDone(journal_));
  AddRecord others;
  others.rows.push_back({HashOf({"x"}), {"x"}});
  tables_->Commit({others});
  EXPECT_FALSE(ProposerIsDone(journal_));
  tables_->Commit({Answer(1, {}, true)});
  cq::Restart again;
  again.rerun = Restart::Rerun::kFailed;
  Restart(again);
  EXPECT_FALSE(ProposerIsDone(journal_));
}

// A row that nobody wanted any more had an outcome.
TEST_F(EndingsTableTest, WhatComesBackIsToldAnew) {
  ResultRecord parent = std::get<ResultRecord>(Result(1));
  parent.pushed.push_back({HashOf({"a"}), {"a"}});
  tables_->Commit({parent, Answer(1, {})});
  tables_->Commit({Result(6), Answer(6, {})});
  cq::Restart gone;
  gone.removed = {1};
  gone.ranges = {{1, 2, 4}};
  Restart(gone);
  EXPECT_TRUE(LivePushed(journal_).empty());
  const Committed back = tables_->Commit({Answer(0, {"a"})});
  ASSERT_EQ(back.added.size(), 1u);
  EXPECT_TRUE(back.added[0].back());
  EXPECT_EQ(Heard(), "6? ");
}

}  // namespace
}  // namespace cq
