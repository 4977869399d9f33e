#include "protocol/connection_file.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/files.h"
#include "base/nearest.h"
#include "cq/error.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

class ConnectionFileTest : public ::testing::Test {
 protected:
  TemporaryDirectory directory_;
  const std::string path_ = directory_.File("connect.json");
  const ConnectionFile file_{42, {"tcp://127.0.0.1:2"}, "server", {"public", "secret"}};
};

TEST_F(ConnectionFileTest, ComesBackAsItWasAndIsPrivate) {
  WriteConnectionFile(path_, file_);
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const ConnectionFile read = ReadConnectionFile(path_);
  EXPECT_EQ(read.run, 42u);
  EXPECT_EQ(read.endpoints, file_.endpoints);
  EXPECT_EQ(read.client.secret_key, "secret");
}

TEST_F(ConnectionFileTest, OneThatOthersCanReadIsRefusedWithTheRemedy) {
  WriteConnectionFile(path_, file_);
  ASSERT_EQ(chmod(path_.c_str(), 0644), 0);
  try {
    ReadConnectionFile(path_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("chmod 600"), std::string::npos);
  }
}

// A worker that is to trust whoever answers at a socket looks who may have put it there.
TEST_F(ConnectionFileTest, ASocketIsOursInADirectoryThatNobodyElseEnters) {
  const std::string directory = directory_.File("local");
  ASSERT_EQ(mkdir(directory.c_str(), 0700), 0);
  ConnectionFile file = file_;
  file.local = "ipc://" + directory + "/master";
  WriteConnectionFile(path_, file);
  EXPECT_EQ(ReadConnectionFile(path_).local, file.local);
  EXPECT_FALSE(IsOurs(file.local));
  const Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{AF_UNIX, {}};
  (directory + "/master").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_TRUE(IsOurs(file.local));
  EXPECT_FALSE(IsOurs(directory + "/master"));
  EXPECT_FALSE(IsOurs(""));
  ASSERT_EQ(chmod(directory.c_str(), 0750), 0);
  EXPECT_FALSE(IsOurs(file.local));
  ASSERT_EQ(chmod(directory.c_str(), 0700), 0);
  if (geteuid() == 0) {
    ASSERT_EQ(chown(directory.c_str(), 1, 1), 0);
    EXPECT_FALSE(IsOurs(file.local));
  }
}

TEST_F(ConnectionFileTest, WhatIsNoConnectionFileIsNamed) {
  ReplaceFile(path_, "{\"format\": 1}", 0600);
  EXPECT_THROW(ReadConnectionFile(path_), Error);
  ReplaceFile(path_, "not json", 0600);
  EXPECT_THROW(ReadConnectionFile(path_), Error);
  EXPECT_THROW(ReadConnectionFile(path_ + "x"), Error);
}

TEST(NearestTest, FindsTheMistypedWordAndNothingFar) {
  EXPECT_EQ(Nearest("rnu", {"run", "log", "status"}), "run");
  EXPECT_EQ(Nearest("--freshh", {"--fresh", "--force-all"}), "--fresh");
  EXPECT_EQ(Nearest("zebra", {"run", "log"}), "");
}

}  // namespace
}  // namespace cq
