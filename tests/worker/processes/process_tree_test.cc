#include "worker/processes/process_tree.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/files.h"
#include "base/spawn.h"
#include "worker/processes/descendants.h"
#include "worker/processes/signal_names.h"

extern char** environ;

namespace cq {
namespace {

/// A child that has `bytes` of memory, shared with its own child or not, until it is ended.
class Child {
 public:
  explicit Child(size_t bytes) {
    Pipe ready = MakePipe();
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      volatile char* memory = static_cast<char*>(
          mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      for (size_t at = 0; at < bytes; at += 4096) memory[at] = 1;
      // It shares all of that with its parent.
      if (fork() == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
      [[maybe_unused]] const ssize_t n = write(ready.write.get(), "x", 1);
      for (;;) pause();
    }
    ready.write.Close();
    char byte = 0;
    for (int i = 0; i < 2; ++i) EXPECT_EQ(read(ready.read.get(), &byte, 1), 1);
  }
  ~Child() {
    for (const pid_t pid : ProcessTree(pid_)) kill(pid, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

TEST(ProcessTreeTest, ATreeIsItsRootAndAllBelowIt) {
  const Child child(4096);
  const auto tree = ProcessTree(child.pid());
  ASSERT_EQ(tree.size(), 2u);
  EXPECT_EQ(tree[0], child.pid());
}

TEST(ProcessTreeTest, MemoryThatSeveralShareCountsOnce) {
#ifdef CQ_SANITIZED
  GTEST_SKIP() << "the memory of the sanitizer itself, which the child shares, would count";
#endif
  constexpr size_t kBytes = size_t{256} << 20;
  const Child child(kBytes);
  const auto tree = ProcessTree(child.pid());
  EXPECT_TRUE(HaveMoreThan(kBytes / 2, tree));
  EXPECT_FALSE(HaveMoreThan(kBytes + kBytes / 2, tree));
}

TEST(DescendantsTest, AProcessTellsWhoseItIsThoughItEmptiesItsEnvironment) {
  Spawner spawner(Spawner::Group::kOwnSession);
  spawner.GiveNoInput();
  pid_t pid = 0;
  constexpr uint64_t kMark = (uint64_t{3} << 40) + 7;
  ASSERT_EQ(spawner.Start(pid, "/usr/bin/env", {"env", "-i", "/bin/sleep", "1000"}, environ, kMark),
            0);
  EXPECT_EQ(AttemptOfProcess(pid), kMark);
  EXPECT_FALSE(AttemptOfProcess(getpid()));
  kill(pid, SIGKILL);
  int status = 0;
  ASSERT_TRUE(WaitFor(pid, status));
}

TEST(SignalNamesTest, SignalsGoByTheirNames) {
  EXPECT_EQ(SignalName(SIGKILL), "SIGKILL");
  EXPECT_EQ(SignalName(SIGXCPU), "SIGXCPU");
  EXPECT_EQ(SignalName(63), "signal 63");
}

}  // namespace
}  // namespace cq
