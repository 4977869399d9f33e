#include "master/journal/journal.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "base/files.h"
#include "cq/error.h"
#include "master/journal/journal_tables.h"
#include "master/journal/pushed_table.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

RunDefinition Definition() {
  RunDefinition d;
  d.run = 77;
  d.command = {"echo", "{a}", "\xff\xfe"};
  d.shell = true;
  d.function = "lib\xfc.so:f";
  d.types = {ColumnType::kInteger, ColumnType::kBool};
  d.wide = {"a"};
  d.constants = {{"k", "v\x80"}};
  d.columns = {"a", "gr\xfc\"n"};
  d.env = {{"X", ""}, {"X", "2"}};
  d.cwd = "/tmp/\xff";
  d.parse_json = true;
  d.seed = UINT64_MAX;
  d.seed_by = {"a"};
  d.rows = 10;
  d.limit = 3;
  d.input = "/tmp/\xfe.csv";
  d.output = "-";
  d.stdout_column = 0;
  return d;
}

TaskResult ResultOf(TaskId task, AttemptId attempt, Outcome outcome) {
  TaskResult result;
  result.task = task;
  result.attempt = attempt;
  result.outcome = outcome;
  if (outcome == Outcome::kOk) result.values = {{"y", int64_t{5}}};
  return result;
}

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() { CreateJournal(path_, Definition().ToMeta(), ranges_); }

  // Writes and waits for it; what was told as durable.
  Committed Write(std::vector<JournalRecord> records) {
    Committed all;
    std::mutex mutex;
    RecordWriter::Callbacks callbacks;
    callbacks.committed = [&](Committed committed) {
      const std::lock_guard lock(mutex);
      all.attempts.insert(all.attempts.end(), committed.attempts.begin(), committed.attempts.end());
      all.workers.insert(all.workers.end(), committed.workers.begin(), committed.workers.end());
      all.mark = std::max(all.mark, committed.mark);
      all.spool.insert(all.spool.end(), committed.spool.begin(), committed.spool.end());
    };
    callbacks.failed = [](std::string reason) { ADD_FAILURE() << reason; };
    JournalWriter writer(OpenJournal(path_), std::move(callbacks));
    writer.Push(std::move(records));
    EXPECT_TRUE(writer.Flush());
    const std::lock_guard lock(mutex);
    return all;
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.File("journal.db");
  const std::vector<RowRange> ranges_{{1, 1, 10}};
};

TEST_F(JournalTest, ADefinitionOfAnyBytesComesBackAsItWas) {
  Database journal = OpenJournal(path_);
  const RunDefinition read = ReadDefinition(journal);
  EXPECT_EQ(read.ToMeta(), Definition().ToMeta());
  EXPECT_EQ(read.cwd, "/tmp/\xff");
  EXPECT_EQ(read.constants, Definition().constants);
  EXPECT_EQ(read.tasks(), 3u);
  EXPECT_EQ(ReadRanges(journal), ranges_);
}

TEST_F(JournalTest, WhatIsWrittenIsToldAsDurableAndFoundByTheNextMaster) {
  const AttemptId first = MakeSerial(1, 1);
  const Committed durable =
      Write({WorkerRecord{1, {9}, "n1", 5, 2, "slurm 3_1"}, MarkRecord{6},
             ResultRecord{ResultOf(1, first, Outcome::kOk), 1, 1},
             ResultRecord{ResultOf(2, first + 1, Outcome::kError), 2, 1},
             FailureRecord{{3, first + 2}, 1, FailureKind::kCharged, "lost"},
             FailureRecord{{3, first + 3}, 1, FailureKind::kSlotCrashed, "x"},
             FailureRecord{{4, first + 4}, 1, FailureKind::kRetried, "e"},
             AllocationIntent{"t1", "slurm", 0, 2}, AllocationSubmitted{"t1", "3"},
             AvoidRecord{"bad"}, SpoolTaken{"spool/a"}});
  EXPECT_EQ(durable.mark, 6u);
  EXPECT_EQ(durable.workers, (std::vector<uint64_t>{1}));
  EXPECT_EQ(durable.spool, (std::vector<std::string>{"spool/a"}));
  // A loss is nobody's report; the others are.
  EXPECT_EQ(durable.attempts.size(), 4u);

  Database journal = OpenJournal(path_);
  EXPECT_EQ(StartEpoch(journal, {}), 2u);
  const Recovered recovered = Recover(journal, ranges_, 0);
  EXPECT_EQ(recovered.mark, 6u);
  EXPECT_EQ(recovered.closed_count, 2u);
  EXPECT_TRUE(recovered.closed.Contains(1) && recovered.closed.Contains(2));
  EXPECT_EQ(recovered.outcomes[static_cast<size_t>(Outcome::kOk)], 1u);
  ASSERT_EQ(recovered.workers.size(), 1u);
  EXPECT_EQ(recovered.workers[0].allocation, "slurm 3_1");
  EXPECT_EQ(recovered.last_worker, 1u);
  ASSERT_EQ(recovered.tried.size(), 2u);
  EXPECT_EQ(recovered.tried[0].task, 3u);
  EXPECT_EQ(recovered.tried[0].charged.size(), 2u);
  EXPECT_EQ(recovered.tried[1].failures, 1u);
  ASSERT_EQ(OpenAllocations(journal).size(), 1u);
  EXPECT_EQ(OpenAllocations(journal)[0].job, "3");
  EXPECT_EQ(AvoidedHosts(journal), (std::vector<std::string>{"bad"}));
}

TEST_F(JournalTest, OutcomesThatAreTakenBackNoLongerCountNorTheirAttempts) {
  const AttemptId first = MakeSerial(1, 1);
  Write({MarkRecord{4}, ResultRecord{ResultOf(1, first, Outcome::kOk), 1, 0},
         ResultRecord{ResultOf(2, first + 1, Outcome::kError), 1, 0}});
  Database journal = OpenJournal(path_);
  Restart restart;
  restart.rerun = Restart::Rerun::kFailed;
  const Epoch epoch = StartEpoch(journal, restart);
  const Recovered recovered = Recover(journal, ranges_, 0);
  EXPECT_TRUE(recovered.closed.Contains(1));
  EXPECT_FALSE(recovered.closed.Contains(2));
  ASSERT_EQ(recovered.resets.size(), 1u);
  EXPECT_EQ(recovered.resets[0].first, 2u);
  EXPECT_EQ(recovered.resets[0].epoch, epoch);
  EXPECT_EQ(CountResults(journal), 1u);
}

TEST_F(JournalTest, RowsBeyondALimitAreLeftOutAndOfNoneThatIsGoneAnythingStays) {
  Write({MarkRecord{5}, ResultRecord{ResultOf(5, MakeSerial(1, 5), Outcome::kOk), 1, 0}});
  Database journal = OpenJournal(path_);
  Recovered recovered = Recover(journal, ranges_, 3);
  EXPECT_EQ(recovered.closed_count, 7u);
  EXPECT_TRUE(recovered.beyond.Contains(4));
  Restart restart;
  restart.ranges = {{1, 1, 4}, {5, 11, 1}};
  restart.removed = {5, 6, 7, 8, 9, 10};
  restart.meta["last_task"] = "11";
  StartEpoch(journal, restart);
  EXPECT_EQ(CountResults(journal), 0u);
  EXPECT_EQ(LastTask(journal, ReadRanges(journal)), 11u);
  recovered = Recover(journal, ReadRanges(journal), 0);
  EXPECT_TRUE(recovered.closed.Contains(7));
  EXPECT_FALSE(recovered.closed.Contains(11));
}

TEST_F(JournalTest, AFileThatIsNoJournalOrOfAnotherReleaseIsRefusedByName) {
  const auto reason = [](const std::string& path) {
    try {
      OpenJournal(path);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const std::string nonsense = directory_.File("nonsense.db");
  ReplaceFile(nonsense, std::string(4096, 'x'), 0600);
  EXPECT_NE(reason(nonsense).find(nonsense), std::string::npos) << reason(nonsense);
  EXPECT_NE(reason(directory_.File("none.db")).find("none.db"), std::string::npos);
  {
    Database journal = OpenJournal(path_);
    journal.Execute("UPDATE meta SET value = '99' WHERE name = 'format'");
  }
  EXPECT_NE(reason(path_).find("99"), std::string::npos) << reason(path_);
}

// As an older cq left them: its tables, and no others.
TEST_F(JournalTest, OneOfAnOlderFormatIsBroughtUpToDate) {
  const char* const kNotYet[] = {
      // 4, 3, 2
      "DROP VIEW live_pushed; DROP TABLE pushed; DROP TABLE claims; DROP TABLE endings",
      "ALTER TABLE ledgers DROP COLUMN vacant_us; ALTER TABLE ledgers DROP COLUMN cpu_us;"
      "ALTER TABLE ledgers DROP COLUMN lost_us; ALTER TABLE ledgers DROP COLUMN peak_kb;"
      "DROP TABLE raised",
      "ALTER TABLE workers DROP COLUMN waits_for; ALTER TABLE allocations DROP COLUMN pool"};
  for (int format = kJournalFormat - 1; format >= 1; --format) {
    {
      Database journal = OpenJournal(path_);
      for (int step = 0; step < kJournalFormat - format; ++step) journal.Execute(kNotYet[step]);
      journal.Prepare("UPDATE meta SET value = ?1 WHERE name = 'format'")
          .BindText(1, std::to_string(format))
          .Run();
    }
    {
      // Whoever only reads it changes nothing.
      Database journal(path_, Database::Mode::kRead);
      EXPECT_FALSE(HasPushed(journal));
      EXPECT_TRUE(LivePushed(journal).empty());
      EXPECT_EQ(LastTask(journal, ReadRanges(journal)), 10u);
    }
    Database journal = OpenJournal(path_);
    EXPECT_TRUE(LivePushed(journal).empty()) << format;
    JournalTables tables(journal);
    ResultRecord record{ResultOf(static_cast<TaskId>(format), 1, Outcome::kOk)};
    record.pushed = {{HashOf({"x"}), {"x"}}};
    const Committed committed = tables.Commit(
        {record, LedgerRecord{}, RaisedRecord{1, 2, 3, 4}, WorkerWaitsRecord{1, "x"}});
    EXPECT_EQ(committed.added.size(), 1u) << format;
    EXPECT_EQ(LivePushed(journal).size(), 1u) << format;
    journal.Execute("DELETE FROM results; DELETE FROM ledgers; DELETE FROM raised");
  }
}

TEST_F(JournalTest, ACopyIsAJournalOfItsOwn) {
  std::mutex mutex;
  std::condition_variable wake;
  std::string copied;
  RecordWriter::Callbacks callbacks;
  callbacks.committed = [](const Committed&) {};
  callbacks.failed = [](const std::string& reason) { ADD_FAILURE() << reason; };
  callbacks.copied = [&](std::string path, std::string problem) {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(problem, "");
    copied = std::move(path);
    wake.notify_all();
  };
  JournalWriter writer(OpenJournal(path_), std::move(callbacks));
  writer.Push({ResultRecord{ResultOf(1, MakeSerial(1, 1), Outcome::kOk), 1, 0}});
  ASSERT_TRUE(writer.Flush());
  writer.Copy(directory_.File("copy.db"));
  std::unique_lock lock(mutex);
  wake.wait(lock, [&] { return !copied.empty(); });
  Database copy(copied, Database::Mode::kRead);
  EXPECT_EQ(CountResults(copy), 1u);
}

}  // namespace
}  // namespace cq
