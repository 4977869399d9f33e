#include "master/run/run_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/files.h"
#include "cq/error.h"
#include "master/journal/run_definition.h"
#include "master/run/fingerprints.h"
#include "master/run/output_file.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

template <class F>
std::string ErrorOf(F&& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class RunDirectoryTest : public ::testing::Test {
 protected:
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  TemporaryDirectory directory_;
  const std::string path_ = directory_.File("p.cq");
};

TEST_F(RunDirectoryTest, WhatIsNotPublishedLeavesNothing) {
  {
    RunDirectory run = RunDirectory::Make(path_, false);
    ReplaceFile(run.File("journal.db"), "x", 0600);
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  EXPECT_TRUE(Names().empty());
}

TEST_F(RunDirectoryTest, ItIsForItsUserAloneWhateverTheMask) {
  const mode_t before = umask(0);
  RunDirectory run = RunDirectory::Make(path_, false);
  run.Publish();
  umask(before);
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST_F(RunDirectoryTest, ADirectoryHasOneMaster) {
  RunDirectory run = RunDirectory::Make(path_, false);
  ReplaceFile(run.File("journal.db"), "x", 0600);
  run.Publish();
  run.Keep();
  run.WriteOwner("tcp://127.0.0.1:1");
  EXPECT_TRUE(IsRunDirectory(path_));
  EXPECT_TRUE(HeldByMaster(path_));
  EXPECT_NE(ErrorOf([&] { RunDirectory::Open(path_, false); }).find(path_), std::string::npos);
  EXPECT_NE(ErrorOf([&] { RunDirectory::Make(path_, true); }), "no error");
  // As a master does at its end.
  unlink(run.File("owner.json").c_str());
  { const RunDirectory gone = std::move(run); }
  EXPECT_FALSE(HeldByMaster(path_));
  RunDirectory::Open(path_, false).Keep();
}

TEST_F(RunDirectoryTest, AFreshOneMovesTheOldAsideAndAFailedOneBringsItBack) {
  std::filesystem::create_directory(path_);
  ReplaceFile(path_ + "/journal.db", "old", 0600);
  EXPECT_NE(ErrorOf([&] { RunDirectory::Make(path_, false); }), "no error");
  {
    RunDirectory run = RunDirectory::Make(path_, true);
    run.Publish();
    EXPECT_FALSE(std::filesystem::exists(path_ + "/journal.db"));
    EXPECT_EQ(Names().size(), 2u);
  }
  EXPECT_EQ(ReadFile(path_ + "/journal.db"), "old");
  EXPECT_EQ(Names(), (std::vector<std::string>{"p.cq"}));
}

TEST_F(RunDirectoryTest, WhatIsInTheWayIsNamedAndKept) {
  ReplaceFile(path_, "a file", 0600);
  EXPECT_NE(ErrorOf([&] { RunDirectory::Make(path_, false); }).find(path_), std::string::npos);
  EXPECT_EQ(ReadFile(path_), "a file");
  EXPECT_EQ(DefaultRunDirectory("some/where/params.csv"), "params.cq");
  EXPECT_EQ(DefaultRunDirectory("-"), "stdin.cq");
}

TEST_F(RunDirectoryTest, AResultNeverGoesWhereItWouldDestroySomething) {
  const std::string input = directory_.File("p.csv");
  ReplaceFile(input, "a\n1\n", 0600);
  std::filesystem::create_directory(path_);
  ReplaceFile(path_ + "/journal.db", "x", 0600);
  ReplaceFile(path_ + "/lock", "", 0600);
  const std::string data = directory_.File("data.txt");
  ReplaceFile(data, "x", 0600);
  CheckOutput(directory_.File("out.csv"), input, {});
  CheckOutput(path_ + "/results.csv", input, {});
  const std::string link = directory_.File("link.csv");
  ASSERT_EQ(symlink(input.c_str(), link.c_str()), 0);
  for (const std::string& bad : {input, link, path_ + "/journal.db", path_ + "/new", path_,
                                 directory_.File("none/out.csv"), directory_.File("p.csv")}) {
    EXPECT_NE(ErrorOf([&] { CheckOutput(bad, input, {}); }), "no error") << bad;
  }
  EXPECT_NE(ErrorOf([&] { CheckOutput(data, input, {data}); }), "no error");
}

TEST_F(RunDirectoryTest, AnOutputFileTakesTheOldOnesPlaceOnceItIsWhole) {
  const std::string path = directory_.File("out.csv");
  const std::string link = directory_.File("link.csv");
  ReplaceFile(path, "old", 0600);
  ASSERT_EQ(symlink(path.c_str(), link.c_str()), 0);
  { OutputFile(link).Append("half"); }
  EXPECT_EQ(ReadFile(path), "old");
  OutputFile whole(link);
  whole.Append("new");
  whole.Close();
  EXPECT_EQ(ReadFile(path), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_NE(ErrorOf([&] {
              OutputFile full("/dev/full");
              full.Append("x");
              full.Close();
            }).find("/dev/full"),
            std::string::npos);
}

TEST_F(RunDirectoryTest, AFileThatChangedIsToldOnce) {
  const std::string data = directory_.File("data.txt");
  const std::string program = directory_.File("program");
  ReplaceFile(data, "1", 0600);
  ReplaceFile(program, "#!/bin/sh\n", 0700);
  RunDefinition definition;
  definition.columns = {"a"};
  definition.command = {program, "--in", data, "{a}"};
  definition.cwd = directory_.path();
  const Fingerprints before = TakeFingerprints(definition, {});
  EXPECT_TRUE(before.contains(data) && before.contains(program));
  EXPECT_EQ(FingerprintsFromJson(ToJson(before)), before);
  FileWatch watch(before);
  EXPECT_EQ(watch.Look(), "");
  ReplaceFile(data, "22", 0600);
  EXPECT_EQ(Changed(before, TakeFingerprints(definition, {})), (std::vector<std::string>{data}));
  EXPECT_NE(watch.Look().find(data), std::string::npos);
  EXPECT_EQ(watch.Look(), "");
  EXPECT_NE(ErrorOf([&] { TakeFingerprints(definition, {directory_.File("none")}); }), "no error");
}

}  // namespace
}  // namespace cq
