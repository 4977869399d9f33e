#include "base/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "tests/support/temporary_directory.h"

extern char** environ;

namespace cq {
namespace {

/// What `sh -c script` says and how it ends.
struct Told {
  std::string out;
  int status = -1;
};

Told TalkOf(Spawner& spawner, const std::string& script, int out_as = 1) {
  Pipe pipe = MakePipe();
  spawner.Give(pipe.write.get(), out_as);
  pid_t pid = 0;
  EXPECT_EQ(spawner.Start(pid, "/bin/sh", {"sh", "-c", script}, environ, 0), 0);
  pipe.write.Close();
  Told told;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(pipe.read.get(), buffer, sizeof buffer)) > 0;) {
    told.out.append(buffer, static_cast<size_t>(n));
  }
  EXPECT_TRUE(WaitFor(pid, told.status));
  return told;
}

TEST(SpawnTest, AChildHasNoSignalBlockedOrIgnoredWhateverItsParentHas) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &all, &before), 0);
  const auto old = signal(SIGUSR1, SIG_IGN);
  Spawner spawner(Spawner::Group::kOwn);
  const Told told = TalkOf(spawner, "grep -E '^Sig(Blk|Ign)' /proc/self/status");
  signal(SIGUSR1, old);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  EXPECT_EQ(told.out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(SpawnTest, AChildIsWhereItIsToldWithWhatItIsGivenAndNothingElse) {
  TemporaryDirectory directory;
  const Fd ours(open(directory.File("ours").c_str(), O_CREAT | O_RDWR, 0600));
  const Fd other(open(directory.File("other").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  Spawner spawner(Spawner::Group::kOwnSession);
  spawner.StartIn(directory.path());
  spawner.GiveNoInput();
  spawner.Give(ours.get(), 9);
  const Told told =
      TalkOf(spawner, "exec >&7; pwd; cat; readlink /proc/self/fd/9; ls -l /proc/self/fd", 7);
  EXPECT_EQ(told.status, 0);
  EXPECT_EQ(told.out.find(directory.path() + "\n" + directory.File("ours") + "\n"), 0u) << told.out;
  EXPECT_EQ(told.out.find(directory.File("other")), std::string::npos) << told.out;
}

TEST(SpawnTest, WhatCannotBeStartedIsAnErrorNumberAndNoChild) {
  Spawner spawner(Spawner::Group::kOwn);
  pid_t pid = 0;
  EXPECT_EQ(spawner.Start(pid, "/no/such/program", {"x"}, environ, 0), ENOENT);
  EXPECT_EQ(spawner.Start(pid, "/etc/passwd", {"x"}, environ, 0), EACCES);
  Spawner elsewhere(Spawner::Group::kOwn);
  elsewhere.StartIn("/no/such/directory");
  EXPECT_EQ(elsewhere.Start(pid, "/bin/true", {"x"}, environ, 0), ENOENT);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(SpawnTest, AScriptWithoutAFirstLineIsOneForTheShell) {
  TemporaryDirectory directory;
  const std::string script = directory.File("script");
  ReplaceFile(script, "exit 7\n", 0700);
  Spawner spawner(Spawner::Group::kOwn);
  pid_t pid = 0;
  ASSERT_EQ(spawner.Start(pid, script, {"script"}, environ, 0), 0);
  int status = 0;
  ASSERT_TRUE(WaitFor(pid, status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(SpawnTest, APatientStartEndsAtOnceForWhatIsNoWantOfRoom) {
  Spawner spawner(Spawner::Group::kOwn);
  pid_t pid = 0;
  EXPECT_EQ(spawner.StartPatiently(pid, "/no/such/program", {"x"}, environ, 0,
                                   std::chrono::minutes(10), -1),
            ENOENT);
  EXPECT_TRUE(IsWantOfRoom(EAGAIN));
  EXPECT_FALSE(IsWantOfRoom(ENOENT));
}

}  // namespace
}  // namespace cq
