#include "base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/mailbox.h"
#include "cq/error.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

class FilesTest : public ::testing::Test {
 protected:
  size_t Entries() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(directory_.path())) {
      ++count;
    }
    return count;
  }
  TemporaryDirectory directory_;
};

TEST_F(FilesTest, ANewFileIsThereWholeOrNotAtAll) {
  const std::string path = directory_.File("f");
  ReplaceFile(path, "old", 0600);
  {
    NewFile file(path, 0640);
    ASSERT_TRUE(WriteAll(file.fd(), "new"));
    EXPECT_EQ(ReadFile(path), "old");
  }
  EXPECT_EQ(ReadFile(path), "old");
  NewFile file(path, 0640);
  ASSERT_TRUE(WriteAll(file.fd(), "new"));
  file.Publish();
  EXPECT_EQ(ReadFile(path), "new");
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FilesTest, WhatCannotBeWrittenNamesItsPath) {
  try {
    ReplaceFile(directory_.File("none/f"), "x", 0600);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(directory_.File("none")), std::string::npos)
        << error.what();
  }
}

TEST_F(FilesTest, OnlyARegularFileIsOpened) {
  const std::string fifo = directory_.File("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_FALSE(OpenRegular(fifo));
  EXPECT_EQ(errno, EINVAL);
  EXPECT_FALSE(OpenRegular("/dev/zero"));
  EXPECT_FALSE(OpenRegular(directory_.path()));
  EXPECT_FALSE(OpenRegular(directory_.File("none")));
  EXPECT_EQ(errno, ENOENT);
  ReplaceFile(directory_.File("f"), "x", 0600);
  EXPECT_TRUE(OpenRegular(directory_.File("f")));
  EXPECT_EQ(ReadFile("/proc/self/comm").empty(), false);
}

TEST_F(FilesTest, AWriteThatFailsSaysSo) {
  const Fd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  EXPECT_FALSE(WriteAll(full.get(), "x"));
  EXPECT_EQ(errno, ENOSPC);
}

TEST_F(FilesTest, TooManyDescriptorsAreAnErrorThatSaysWhatToDo) {
  RequireDescriptors(8, "fewer slots");
  try {
    RequireDescriptors(UINT64_MAX / 2, "fewer slots");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("use fewer slots"), std::string::npos) << error.what();
  }
}

TEST_F(FilesTest, AProgramIsFoundByItsNameWhereThatIsAFileToBeRun) {
  std::filesystem::create_directories(directory_.File("a/tool"));
  std::filesystem::create_directory(directory_.File("b"));
  ReplaceFile(directory_.File("b/tool"), "", 0700);
  ReplaceFile(directory_.File("b/text"), "", 0600);
  ReplaceFile(directory_.File("here"), "", 0700);
  const std::string path = directory_.File("a") + "::b";
  EXPECT_EQ(FindProgram("tool", path, directory_.path()), "b/tool");
  EXPECT_EQ(FindProgram("here", path, directory_.path()), "./here");
  EXPECT_EQ(FindProgram("text", path, directory_.path()), "");
  EXPECT_EQ(FindProgram("none", path, directory_.path()), "");
  EXPECT_EQ(FindProgram("x/y", path, directory_.path()), "x/y");
}

TEST(MailboxTest, WhatComesFromOtherThreadsIsToldOnceAndTakenInOrder) {
  Mailbox<int> mailbox;
  pollfd ready{mailbox.fd(), POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 0), 0);
  std::thread([&] {
    for (int i = 0; i < 3; ++i) mailbox.Put(i);
  }).join();
  EXPECT_EQ(poll(&ready, 1, 0), 1);
  EXPECT_EQ(mailbox.TakeAll(), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(poll(&ready, 1, 0), 0);
  EXPECT_TRUE(mailbox.TakeAll().empty());
}

}  // namespace
}  // namespace cq
