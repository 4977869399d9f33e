// Run directories on file systems that lack what a local disk has: shared memory, permissions,
// being writable, room.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>

#include "master/journal/database.h"
#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

/// `source` seen through FUSE at `target`, with these options of bindfs(1), as long as it lives.
class Mount {
 public:
  Mount(const Words& options, const std::string& source, const std::string& target)
      : target_(target) {
    std::filesystem::create_directories(source);
    std::filesystem::create_directories(target);
    Words words = {"bindfs", "-f"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {source, target});
    server_ = std::make_unique<TestProcess>(words, "/");
    there_ = Eventually(
                 [&] { return DeviceOf(target) != DeviceOf(source) || !Lives(server_->pid()); }) &&
             Lives(server_->pid());
  }
  ~Mount() { TestProcess({"umount", "--lazy", target_}, "/").Wait(); }
  bool there() const { return there_; }

 private:
  static dev_t DeviceOf(const std::string& path) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 ? status.st_dev : 0;
  }
  const std::string target_;
  std::unique_ptr<TestProcess> server_;
  bool there_ = false;
};

class FileSystemTest : public ::testing::Test {
 protected:
  FileSystemTest() {
    WriteFile(directory_.File("in.csv"), "a\n1\nblock\n3\n");
    WriteProgram(directory_.File("task"),
                 "#!/bin/sh\n[ \"$1\" = block ] && while [ ! -e go ]; do sleep 0.02; done\n"
                 "echo $CQ_TASK >> ran; echo out-$1\n");
  }
  Words RunIn(const std::string& run_dir) {
    return {CQ_PROGRAM, "run", "in.csv", "--run-dir", run_dir,
            "--slots",  "1",   "--",     "./task",    "{a}"};
  }
  Ended Ask(const Words& words) { return Cq(words, directory_.path(), environment_); }
  std::string Query(const std::string& run, const std::string& sql) {
    return Ask({"query", run, sql}).out;
  }

  TemporaryDirectory directory_;
  const std::map<std::string, std::string> environment_ = {
      {"XDG_STATE_HOME", directory_.File("state")}};
};

constexpr const char* kNoFuse = "bindfs cannot mount here: no file system without shared memory";

TEST_F(FileSystemTest, WithoutSharedMemoryAMasterKeepsItsJournalAndAnswersForIt) {
  const Mount mount({"-o", "direct_io"}, directory_.File("source"), directory_.File("mount"));
  if (!mount.there()) GTEST_SKIP() << kNoFuse;
  const std::string run = "mount/in.cq";
  TestProcess master(RunIn(run), directory_.path(), environment_);
  ASSERT_TRUE(Eventually([&] {
    return Ask({"status", run}).out.find("1 of 3") != std::string::npos;
  })) << master.Err()
      << Ask({"status", run}).err;
  EXPECT_EQ(Ask({"status", run}).status, 4);
  EXPECT_EQ(Query(run, "SELECT task FROM results"), "task\n1\n");
  EXPECT_NE(Ask({"log", run, "1"}).out.find("out-1"), std::string::npos);
  EXPECT_EQ(Ask({"export", run, "-o", "so_far.csv"}).status, 0);
  EXPECT_EQ(Column(directory_.File("so_far.csv"), "cq_status"),
            (Words{"ok", "pending", "pending"}));
  // A copy goes with who asked for it.
  for (const auto& entry : std::filesystem::directory_iterator(directory_.File("source/in.cq"))) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("copy-")) << entry.path();
  }
  master.Signal(SIGKILL);
  master.Wait();
  EXPECT_EQ(Query(run, "SELECT task FROM results"), "task\n1\n");
  WriteFile(directory_.File("go"), "");
  const Ended resumed = Ask({"resume", run});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_EQ(Column(directory_.File(run + "/results.csv"), "cq_stdout"),
            (Words{"out-1", "out-block", "out-3"}));
  EXPECT_EQ(Query(run, "PRAGMA integrity_check"), "integrity_check\nok\n");
}

TEST_F(FileSystemTest, WhereNothingIsPrivateTheKeysLieInTheHomeDirectory) {
  const Mount mount({"-p", "0666,a+X"}, directory_.File("source"), directory_.File("mount"));
  if (!mount.there()) GTEST_SKIP() << kNoFuse;
  const std::string run = "mount/in.cq";
  TestProcess master(RunIn(run), directory_.path(), environment_);
  ASSERT_TRUE(Eventually([&] {
    return Ask({"status", run}).out.find("1 of 3") != std::string::npos;
  })) << master.Err();
  EXPECT_NE(master.Err().find(directory_.File("state/cq/")), std::string::npos) << master.Err();
  EXPECT_FALSE(std::filesystem::exists(directory_.File(run + "/server.key")));
  int keys = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(directory_.File("state"))) {
    if (!entry.is_regular_file()) continue;
    ++keys;
    EXPECT_EQ(entry.status().permissions(), std::filesystem::perms(0600)) << entry.path();
    const std::string secret = Slurp(entry.path()).substr(0, 40);
    EXPECT_EQ(Slurp(directory_.File(run + "/connect.json")).find(secret), std::string::npos);
  }
  EXPECT_EQ(keys, 2);
  EXPECT_NE(Ask({"cancel", run, "--drain"}).out.find("finishes 1"), std::string::npos);
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(master.Wait().status, 130);
  EXPECT_EQ(Ask({"resume", run}).status, 0);
  EXPECT_TRUE(std::filesystem::is_empty(directory_.File("state/cq")));
}

TEST_F(FileSystemTest, WhatCannotBeWrittenIsToldAndCanBeReadAllTheSame) {
  WriteFile(directory_.File("go"), "");
  std::filesystem::create_directory(directory_.File("source"));
  ASSERT_EQ(TestProcess(RunIn("source/in.cq"), directory_.path()).Wait().status, 0);
  const Mount mount({"-r", "-o", "direct_io"}, directory_.File("source"), directory_.File("mount"));
  if (!mount.there()) GTEST_SKIP() << kNoFuse;
  EXPECT_EQ(Ask({"status", "mount/in.cq"}).status, 0);
  EXPECT_EQ(Query("mount/in.cq", "SELECT count(*) AS n FROM results"), "n\n3\n");
  EXPECT_EQ(Ask({"export", "mount/in.cq", "-o", "again.csv"}).status, 0);
  EXPECT_EQ(Slurp(directory_.File("again.csv")),
            Slurp(directory_.File("source/in.cq/results.csv")));
  for (const Words& refused : {Words{"run", "in.csv", "--run-dir", "mount/new.cq", "--", "true"},
                               Words{"resume", "mount/in.cq", "--failed"}}) {
    const Ended ended = Ask(refused);
    EXPECT_EQ(ended.status, 2) << ended.err;
    EXPECT_NE(ended.err.find("Read-only"), std::string::npos) << ended.err;
  }
}

TEST_F(FileSystemTest, AtALimitOfFileSizesTheRunEndsAndSaysSo) {
  WriteFile(
      directory_.File("in.csv"), "a\n" + [] {
        std::string rows;
        for (int i = 1; i <= 600; ++i) rows += std::to_string(i) + "\n";
        return rows;
      }());
  const std::string run = std::string(CQ_PROGRAM) + " run in.csv -- head -c 3000 /dev/urandom";
  const Ended ended =
      TestProcess({"bash", "-c", "ulimit -f 1000; exec " + run}, directory_.path()).Wait();
  EXPECT_EQ(ended.status, 3) << ended.err;
  EXPECT_NE(ended.err.find("limit of file sizes"), std::string::npos) << ended.err;
  EXPECT_EQ(Query("in.cq", "PRAGMA integrity_check"), "integrity_check\nok\n");
  const Ended resumed = Ask({"resume", "in.cq"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
}

}  // namespace
}  // namespace cq
