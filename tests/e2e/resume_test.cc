// Runs that go on where they stopped: after kill -9 of the master, interrupts, edits of the input,
// changes of the program.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "master/journal/database.h"
#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A run whose tasks note each execution in `ran`, as "TASK SEED VALUE".
class ResumeTest : public ::testing::Test {
 protected:
  ResumeTest() {
    WriteProgram(directory_.File("task"),
                 "#!/bin/sh\necho $CQ_TASK $CQ_SEED $1 >> ran\n"
                 "[ \"$1\" = bad ] && exit 3\n"
                 "[ \"$1\" = block ] && while [ ! -e go ]; do sleep 0.02; done\n"
                 "echo out-$1\n");
  }
  void Input(const std::string& rows) { WriteFile(directory_.File("in.csv"), "a,b\n" + rows); }
  Ended Run(const Words& options = {}) {
    Words words = {"run", "in.csv"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "./task", "{a}"});
    return Cq(words, directory_.path());
  }
  Ended Resume(const Words& options = {}) {
    Words words = {"resume"};
    words.insert(words.end(), options.begin(), options.end());
    return Cq(words, directory_.path());
  }
  // What ran since the last call, sorted by number.
  std::map<int, std::string> Ran() {
    std::map<int, std::string> ran;
    std::istringstream lines(Slurp(directory_.File("ran")));
    for (std::string task, seed, value; lines >> task >> seed >> value;) {
      EXPECT_TRUE(ran.emplace(std::stoi(task), value).second) << "task " << task << " ran twice";
      seeds_[std::stoi(task)] = seed;
    }
    WriteFile(directory_.File("ran"), "");
    return ran;
  }
  Words Column(const std::string& name) {
    return cq::Column(directory_.File("in.cq/results.csv"), name);
  }
  std::string Integrity() {
    Database journal(directory_.File("in.cq/journal.db"), Database::Mode::kRead);
    auto check = journal.Prepare("PRAGMA integrity_check");
    return check.Step() ? std::string(check.Text(0)) : "";
  }

  TemporaryDirectory directory_;
  std::map<int, std::string> seeds_;
};

using Ran = std::map<int, std::string>;

TEST_F(ResumeTest, AfterTheMasterIsKilledOnlyWhatHasNoResultRuns) {
  Input("1,x\n2,x\nblock,x\n4,x\n5,x\n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--", "./task", "{a}"},
                     directory_.path());
  ASSERT_TRUE(Eventually([&] {
    return Slurp(directory_.File("ran")).find("block") != std::string::npos &&
           Cq({"status", "in.cq"}, directory_.path()).out.find("2 of 5") != std::string::npos;
  })) << master.Err();
  master.Signal(SIGKILL);
  master.Wait();
  EXPECT_EQ(Ran().size(), 3u);
  const auto seed_before = seeds_[3];
  EXPECT_EQ(Cq({"status", "in.cq"}, directory_.path()).status, 5);
  WriteFile(directory_.File("go"), "");
  const Ended ended = Run();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Ran(), (::cq::Ran{{3, "block"}, {4, "4"}, {5, "5"}}));
  EXPECT_EQ(seeds_[3], seed_before);
  EXPECT_EQ(Column("cq_stdout"), (Words{"out-1", "out-2", "out-block", "out-4", "out-5"}));
  EXPECT_EQ(Integrity(), "ok");
}

TEST_F(ResumeTest, AfterAnInterruptTheCommandThatResumesIsPrintedAndWorks) {
  Input("1,x\nblock,x\n3,x\n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--", "./task", "{a}"},
                     directory_.path());
  ASSERT_TRUE(Eventually([&] {
    return Slurp(directory_.File("ran")).find("block") != std::string::npos &&
           Cq({"status", "in.cq"}, directory_.path()).out.find("1 of 3") != std::string::npos;
  })) << master.Err();
  master.Signal(SIGTERM);
  const Ended stopped = master.Wait();
  EXPECT_EQ(stopped.status, 130);
  EXPECT_NE(stopped.err.find("cq resume"), std::string::npos) << stopped.err;
  Ran();
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(Resume().status, 0);
  EXPECT_EQ(Ran(), (::cq::Ran{{2, "block"}, {3, "3"}}));
}

// Here its output is a pipe that nobody reads.
TEST_F(ResumeTest, ASignalDuringTheExportLosesNothing) {
  Input("1,x\n2,x\n");
  ASSERT_EQ(mkfifo(directory_.File("pipe").c_str(), 0600), 0);
  TestProcess master(
      {CQ_PROGRAM, "run", "in.csv", "--slots", "1", "-o", "pipe", "--", "./task", "{a}"},
      directory_.path());
  // The kernel's word for a process that opens a pipe which has no reader, where it says one.
  const auto waits_for = [&] { return Slurp("/proc/" + std::to_string(master.pid()) + "/wchan"); };
  const bool opening = Eventually([&] { return waits_for() == "wait_for_partner"; });
  if (waits_for().size() <= 1) GTEST_SKIP() << "this kernel does not say what a process waits for";
  ASSERT_TRUE(opening) << master.Err();
  master.Signal(SIGTERM);
  EXPECT_EQ(master.Wait().status, 128 + SIGTERM);
  EXPECT_EQ(Integrity(), "ok");
  Ran();
  EXPECT_EQ(Cq({"export", "in.cq", "-o", "in.cq/results.csv"}, directory_.path()).status, 0);
  EXPECT_EQ(Column("cq_stdout"), (Words{"out-1", "out-2"}));
  EXPECT_TRUE(Ran().empty());
}

TEST_F(ResumeTest, AFinishedRunRunsNothingAndExitsAsItDid) {
  Input("1,x\nbad,x\n");
  EXPECT_EQ(Run().status, 1);
  Ran();
  EXPECT_EQ(Run().status, 1);
  EXPECT_EQ(Resume().status, 1);
  EXPECT_TRUE(Ran().empty());
}

TEST_F(ResumeTest, FailedRunsAgainEveryRowThatDidNotEndOk) {
  Input("1,x\nbad,x\n3,x\nbad,y\n");
  const Ended first = Run();
  EXPECT_EQ(first.status, 1);
  EXPECT_NE(first.err.find("--failed"), std::string::npos) << first.err;
  Ran();
  WriteProgram(directory_.File("task"), "#!/bin/sh\necho $CQ_TASK $CQ_SEED $1 >> ran\n");
  EXPECT_EQ(Resume({"--failed", "--keep"}).status, 0);
  EXPECT_EQ(Ran(), (::cq::Ran{{2, "bad"}, {4, "bad"}}));
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "ok", "ok"}));
}

TEST_F(ResumeTest, ADryRunOfARunThatExistsStartsNothingAndTakesNothingBack) {
  Input("1,x\nbad,x\n3,x\n");
  EXPECT_EQ(Run().status, 1);
  EXPECT_EQ(Ran().size(), 3u);
  const std::string before = Slurp(directory_.File("in.cq/results.csv"));
  const auto shows = [&](const Ended& ended, const char* text) {
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_TRUE(Has(ended.out, "task 1: ")) << ended.out;
    EXPECT_TRUE(Has(ended.out, text)) << ended.out;
  };
  shows(Resume({"--dry-run"}), "results so far: 3, of which 3 are kept");
  shows(Resume({"--dry-run", "--failed"}), "results so far: 3, of which 2 are kept");
  shows(Resume({"--dry-run", "--rerun"}), "results so far: 3, of which 0 are kept");
  shows(Run({"--dry-run"}), "results so far: 3, of which 3 are kept");
  std::filesystem::remove(directory_.File("in.csv"));
  shows(Resume({"--dry-run"}), "results so far: 3, of which 3 are kept");
  EXPECT_TRUE(Ran().empty());
  EXPECT_EQ(Slurp(directory_.File("in.cq/results.csv")), before);
}

TEST_F(ResumeTest, AnEditedInputKeepsTheResultsOfItsRows) {
  Input("1,x\n2,x\n2,x\n4,x\n5,x\n");
  ASSERT_EQ(Run().status, 0);
  Ran();
  const auto seeds = seeds_;
  // A row in front, one changed, one of two equal ones left (that in its place), one at the end.
  Input("new,x\n1,x\n2,x\n4,y\n5,x\nlast,x\n");
  const Ended ended = Run();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Ran(), (::cq::Ran{{6, "new"}, {7, "4"}, {8, "last"}}));
  EXPECT_EQ(Column("a"), (Words{"new", "1", "2", "4", "5", "last"}));
  EXPECT_EQ(Column("cq_task"), (Words{"6", "1", "3", "7", "5", "8"}));
  EXPECT_EQ(Column("cq_status"), (Words(6, "ok")));
  // A number is never used again, not even the highest.
  Input("new,x\n1,x\n2,x\n4,y\n5,x\n");
  ASSERT_EQ(Run().status, 0);
  Input("new,x\n1,x\n2,x\n4,y\n5,x\nother,x\n");
  ASSERT_EQ(Run().status, 0);
  EXPECT_EQ(Ran(), (::cq::Ran{{9, "other"}}));
}

TEST_F(ResumeTest, ReorderedRowsKeepTheirResults) {
  Input("1,x\n2,x\n3,x\n2,x\n");
  ASSERT_EQ(Run().status, 0);
  Ran();
  Input("2,x\n3,x\n2,x\n1,x\n");
  EXPECT_EQ(Run().status, 0);
  EXPECT_TRUE(Ran().empty());
  EXPECT_EQ(Column("cq_stdout"), (Words{"out-2", "out-3", "out-2", "out-1"}));
  EXPECT_EQ(Column("cq_task"), (Words{"2", "3", "4", "1"}));
}

TEST_F(ResumeTest, OneMasterAtATime) {
  Input("block,x\n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--", "./task", "{a}"}, directory_.path());
  ASSERT_TRUE(
      Eventually([&] { return Slurp(directory_.File("ran")).find("block") != std::string::npos; }));
  for (const Ended& second : {Run(), Resume()}) {
    EXPECT_EQ(second.status, 2) << second.err;
    EXPECT_NE(second.err.find("in use by a running master"), std::string::npos) << second.err;
  }
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(master.Wait().status, 0);
}

TEST_F(ResumeTest, FilesThatArgumentsNameAreFoundFromTheTasksDirectory) {
  std::filesystem::create_directory(directory_.File("work"));
  WriteFile(directory_.File("work/model"), "1");
  Input("1,x\n");
  const Words words = {"run",        "in.csv", "--cwd",   "work", "--depends",
                       "work/model", "--",     "../task", "{a}"};
  WriteFile(directory_.File("work/ran"), "");
  ASSERT_EQ(Cq(words, directory_.path()).status, 0);
  WriteFile(directory_.File("work/model"), "2");
  const Ended changed = Cq(words, directory_.path());
  EXPECT_EQ(changed.status, 2) << changed.err;
  EXPECT_NE(changed.err.find("work/model"), std::string::npos) << changed.err;
}

// The wall clock goes back a day and forward again; what is timed goes by another clock.
TEST_F(ResumeTest, AWallClockThatJumpsDoesNoHarm) {
#ifdef CQ_SANITIZED
  GTEST_SKIP() << "the sanitizer wants to be preloaded first";
#endif
  const std::string library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
  if (!std::filesystem::exists(library)) GTEST_SKIP() << "libfaketime is not installed";
  Input("1,x\nblock,x\n3,x\n");
  WriteFile(directory_.File("clock"), "+0");
  TestProcess master(
      {CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--lease", "10s", "--", "./task", "{a}"},
      directory_.path(),
      {{"LD_PRELOAD", library},
       {"FAKETIME_TIMESTAMP_FILE", directory_.File("clock")},
       {"FAKETIME_NO_CACHE", "1"},
       {"DONT_FAKE_MONOTONIC", "1"}});
  ASSERT_TRUE(Eventually([&] {
    return Slurp(directory_.File("ran")).find("block") != std::string::npos;
  })) << master.Err();
  for (const char* jump : {"-1d", "+1d"}) {
    // At once, so that nobody reads half of it.
    WriteFile(directory_.File("next"), jump);
    std::filesystem::rename(directory_.File("next"), directory_.File("clock"));
    // What is tested is that many ticks pass after a jump over many leases, and nothing happens.
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  }
  WriteFile(directory_.File("go"), "");
  const Ended ended = master.Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.err.find("silent"), std::string::npos) << ended.err;
  EXPECT_EQ(Ran().size(), 3u);
}

TEST_F(ResumeTest, WithoutTheInputTheCopyIsUsedAndItIsSaid) {
  Input("1,x\nblock,x\n");
  EXPECT_EQ(Run({"--limit", "1"}).status, 0);
  Ran();
  std::filesystem::remove(directory_.File("in.csv"));
  WriteFile(directory_.File("go"), "");
  const Ended ended = Resume();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.err.find("is gone"), std::string::npos) << ended.err;
  EXPECT_EQ(Ran(), (::cq::Ran{{2, "block"}}));
}

TEST_F(ResumeTest, WhatIsMissingInTheRunDirectoryIsToldInOneSentence) {
  Input("1,x\nblock,x\n");
  TestProcess run({CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--", "./task", "{a}"},
                  directory_.path());
  ASSERT_TRUE(Eventually([&] { return Has(Slurp(directory_.File("ran")), "block"); }));
  run.Signal(SIGKILL);
  run.Wait();
  std::filesystem::remove(directory_.File("in.cq/journal.db-wal"));
  std::filesystem::remove(directory_.File("in.cq/journal.db-shm"));
  const Ended status = Cq({"status"}, directory_.path());
  EXPECT_TRUE(Has(status.err, "journal.db-wal' is missing")) << status.err;

  const std::string copy = directory_.File("in.cq/params.csv");
  const std::string rows = Slurp(copy);
  std::filesystem::remove(copy);
  const Ended without_rows = Resume();
  EXPECT_EQ(without_rows.status, 3);
  EXPECT_TRUE(Has(without_rows.err, "journal.db-wal' is missing")) << without_rows.err;
  EXPECT_TRUE(Has(without_rows.err, "params.csv' is missing")) << without_rows.err;
  WriteFile(copy, rows);
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(Resume().status, 0);
  EXPECT_FALSE(Has(Cq({"status"}, directory_.path()).err, "missing"));

  std::filesystem::remove(directory_.File("in.cq/journal.db"));
  ASSERT_EQ(mkfifo(directory_.File("in.cq/journal.db").c_str(), 0600), 0);
  for (const Words& words : {Words{"status"}, Words{"resume"}, Words{"export"}}) {
    const Ended ended = Cq(words, directory_.path());
    EXPECT_NE(ended.status, 0);
    EXPECT_TRUE(Has(ended.err, "no regular file")) << words[0] << ended.err;
  }
}

// Whoever closes the journal last writes its log back: then nothing is lost.
TEST_F(ResumeTest, AJournalWithoutALogIsWholeIfItSaysWhatAMasterSaysFirst) {
  Input("block,x\n");
  TestProcess run({CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--", "./task", "{a}"},
                  directory_.path());
  ASSERT_TRUE(Eventually([&] { return Has(Slurp(directory_.File("ran")), "block"); }));
  run.Signal(SIGKILL);
  run.Wait();
  EXPECT_EQ(Resume({"--seed", "99"}).status, 2);
  EXPECT_FALSE(std::filesystem::exists(directory_.File("in.cq/journal.db-wal")));
  EXPECT_FALSE(Has(Cq({"status"}, directory_.path()).err, "missing"));
  // An empty one has its own sentence.
  WriteFile(directory_.File("in.cq/journal.db"), "");
  for (const Words& words : {Words{"status"}, Words{"resume"}}) {
    EXPECT_TRUE(Has(Cq(words, directory_.path()).err, "there is no run in")) << words[0];
  }
}

TEST_F(ResumeTest, AChangedProgramIsToldAndTheUserDecides) {
  Input("1,x\n2,x\n");
  ASSERT_EQ(Run().status, 0);
  Ran();
  WriteFile(directory_.File("task"), "#!/bin/sh\necho $CQ_TASK $CQ_SEED $1 >> ran; echo new\n");
  const Ended refused = Run();
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("2 results in '" + directory_.File("in.cq") + "' are older"),
            std::string::npos)
      << refused.err;
  EXPECT_NE(refused.err.find("task"), std::string::npos) << refused.err;
  EXPECT_EQ(Run({"--keep"}).status, 0);
  EXPECT_TRUE(Ran().empty());
  EXPECT_EQ(Run().status, 0);  // decided once
  EXPECT_EQ(Resume({"--rerun"}).status, 0);
  EXPECT_EQ(Ran().size(), 2u);
  EXPECT_EQ(Column("cq_stdout"), (Words{"new", "new"}));
  // The same bytes with another time are no change.
  const std::string same = Slurp(directory_.File("task"));
  WriteFile(directory_.File("task"), same);
  EXPECT_EQ(Run().status, 0);
}

TEST_F(ResumeTest, AProgramThatChangesWhileItsRunGoesOnIsToldAndAskedAbout) {
  Input("block,1\nx,2\n");
  TestProcess run({CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--", "./task", "{a}"},
                  directory_.path());
  ASSERT_TRUE(Eventually([&] { return !Slurp(directory_.File("ran")).empty(); })) << run.Err();
  WriteProgram(directory_.File("new"), "#!/bin/sh\necho new-$1\n");
  std::filesystem::rename(directory_.File("new"), directory_.File("task"));
  WriteFile(directory_.File("go"), "");
  const Ended ended = run.Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.err.find("task changed while this run goes on"), std::string::npos) << ended.err;
  const Ended again = Run();
  EXPECT_EQ(again.status, 2);
  EXPECT_NE(again.err.find("--keep keeps them"), std::string::npos) << again.err;
}

TEST_F(ResumeTest, AnotherCommandConstantHeaderOrSeedIsRefused) {
  Input("1,x\n");
  ASSERT_EQ(Run({"--const", "k=1", "--seed", "5"}).status, 0);
  for (const Words& words : {Words{"run", "in.csv", "--", "./task", "{b}"},
                             Words{"run", "in.csv", "--const", "k=2", "--", "./task", "{a}"},
                             Words{"run", "in.csv", "--seed", "6", "--", "./task", "{a}"},
                             Words{"run", "in.csv", "--program", "./task"}}) {
    const Ended ended = Cq(words, directory_.path());
    EXPECT_EQ(ended.status, 2) << ended.err;
    EXPECT_NE(ended.err.find("--fresh"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find("--run-dir"), std::string::npos) << ended.err;
  }
  WriteFile(directory_.File("in.csv"), "a,c\n1,x\n");
  const Ended header = Run({"--const", "k=1", "--seed", "5"});
  EXPECT_EQ(header.status, 2);
  EXPECT_NE(header.err.find("columns"), std::string::npos) << header.err;
}

TEST_F(ResumeTest, OptionsAreAsRecordedUnlessGiven) {
  Input("1,x\n2,x\n");
  WriteFile(directory_.File("task"), "#!/bin/sh\necho $CQ_TASK 0 $X$Y >> ran\n");
  ASSERT_EQ(Run({"--limit", "1", "--env", "X=one", "--env", "Y=two", "-o", "out.csv"}).status, 0);
  EXPECT_EQ(Ran(), (::cq::Ran{{1, "onetwo"}}));
  // From another directory, with one variable given again.
  std::filesystem::create_directory(directory_.File("elsewhere"));
  const Ended ended = Cq({"resume", "../in.cq", "--env", "X=three"}, directory_.File("elsewhere"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Ran(), (::cq::Ran{{2, "threetwo"}}));
  EXPECT_EQ(cq::Column(directory_.File("out.csv"), "cq_status"), (Words{"ok", "ok"}));
}

TEST_F(ResumeTest, ChargesAndRetriesOutliveTheMaster) {
  Input("1,x\n");
  WriteFile(directory_.File("task"), "#!/bin/sh\necho $CQ_ATTEMPT 0 x >> ran\nexit 1\n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--retries", "3", "--", "./task", "{a}"},
                     directory_.path());
  // After the second attempt the next one waits for two seconds.
  ASSERT_TRUE(Eventually([&] {
    return Cq({"query", "in.cq", "SELECT count(*) FROM failures"}, directory_.path())
               .out.find("2") != std::string::npos;
  }));
  master.Signal(SIGKILL);
  master.Wait();
  EXPECT_EQ(Ran().size(), 2u);
  EXPECT_EQ(Resume().status, 1);
  EXPECT_EQ(Ran(), (::cq::Ran{{3, "x"}, {4, "x"}}));
  EXPECT_EQ(Column("cq_attempts"), (Words{"4"}));
}

TEST_F(ResumeTest, ADamagedOrNewerJournalIsToldAndLeftAlone) {
  Input("1,x\n");
  ASSERT_EQ(Run().status, 0);
  {
    Database journal(directory_.File("in.cq/journal.db"), Database::Mode::kWrite);
    journal.Execute("UPDATE meta SET value = '99' WHERE name = 'format'");
  }
  const Ended newer = Run();
  EXPECT_EQ(newer.status, 3);
  EXPECT_NE(newer.err.find("format 99"), std::string::npos) << newer.err;
  for (const char* name : {"journal.db-wal", "journal.db-shm"}) {
    std::filesystem::remove(directory_.File(std::string("in.cq/") + name));
  }
  WriteFile(directory_.File("in.cq/journal.db"), std::string(5000, 'x'));
  const Ended damaged = Run();
  EXPECT_EQ(damaged.status, 3);
  EXPECT_NE(damaged.err.find("journal.db"), std::string::npos) << damaged.err;
  EXPECT_EQ(Slurp(directory_.File("in.cq/journal.db")), std::string(5000, 'x'));
}

TEST_F(ResumeTest, AMasterOnAnotherHostIsRespectedUntilItIsOverruled) {
  Input("1,x\n");
  ASSERT_EQ(Run().status, 0);
  const auto now = std::to_string(time(nullptr));
  WriteFile(directory_.File("in.cq/owner.json"),
            "{\"host\":\"elsewhere\",\"boot_id\":\"x\",\"pid\":1,\"start_ticks\":1,"
            "\"address\":\"tcp://127.0.0.1:1\",\"time\":" +
                now + "}");
  const Ended refused = Resume({"--failed"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("--take-over"), std::string::npos) << refused.err;
  EXPECT_EQ(Resume({"--failed", "--take-over"}).status, 0);
  // One of this host whose process is gone does not count.
  WriteFile(directory_.File("in.cq/owner.json"),
            "{\"host\":\"elsewhere\",\"boot_id\":\"x\",\"pid\":1,\"start_ticks\":1,"
            "\"address\":\"tcp://127.0.0.1:1\",\"time\":1}");
  EXPECT_EQ(Resume({"--failed"}).status, 0);
}

}  // namespace
}  // namespace cq
