// Functions of a program that embeds a master, in libraries of any kind: the right one is called,
// or it is refused by name.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/process.h"

namespace cq {
namespace {

const std::string kLibraries = CQ_LIBRARIES;

class EmbedLibrariesTest : public ::testing::Test {
 protected:
  Ended Run(const std::string& program, const std::vector<std::string>& words = {},
            std::map<std::string, std::string> environment = {}) {
    std::vector<std::string> all{kLibraries + "/" + program};
    all.insert(all.end(), words.begin(), words.end());
    return TestProcess(all, directory_.path(), environment).Wait();
  }
  TemporaryDirectory directory_;
};

TEST_F(EmbedLibrariesTest, WhateverALibraryExportsItsFunctionIsFound) {
  const Ended ended = Run("libraries_program");
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out,
            "hello from plain to 1 in task 1\nhello from hidden to 2 in task 2\n"
            "hello from symbolic to 3 in task 3\n");
}

TEST_F(EmbedLibrariesTest, TwoFunctionsOfOneNameAreRefusedAtTheStart) {
  const Ended ended = Run("libraries_twin_program");
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.out.find("two functions are registered as 'first'"), std::string::npos)
      << ended.out;
  EXPECT_NE(ended.out.find("liblibrary_plain.so"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find("liblibrary_twin.so"), std::string::npos) << ended.out;
}

TEST_F(EmbedLibrariesTest, ALibraryThatWorkersDoNotHaveIsRefused) {
  const Ended ended = Run("libraries_program", {"late", kLibraries + "/liblibrary_late.so"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.out.find("the function 'fourth' is in"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find("loaded after this program's start"), std::string::npos) << ended.out;
}

TEST_F(EmbedLibrariesTest, AChangedLibraryIsToldAtAResume) {
  for (const char* name : {"plain", "hidden", "symbolic"}) {
    std::filesystem::copy(fmt::format("{}/liblibrary_{}.so", kLibraries, name), directory_.path());
  }
  const std::map<std::string, std::string> here{{"LD_LIBRARY_PATH", directory_.path()},
                                                {"RUN_DIR", "in.cq"}};
  ASSERT_EQ(Run("libraries_program", {}, here).status, 0);
  ASSERT_EQ(Run("libraries_program", {}, here).status, 0);
  std::ofstream(directory_.File("liblibrary_hidden.so"), std::ios::app) << "more";
  const Ended ended = Run("libraries_program", {}, here);
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.out.find("are older than the last change of " +
                           directory_.File("liblibrary_hidden.so")),
            std::string::npos)
      << ended.out;
}

}  // namespace
}  // namespace cq
