// A run directory's birth, killed at each operation on files: what is left is nothing, or a run
// that the same command, or a resume, goes on with.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

class BirthTest : public ::testing::TestWithParam<std::string> {
 protected:
  // False once the operation comes less than `nth` times.
  bool KillAt(const std::string& operation, int nth) {
    std::filesystem::remove_all(directory_.File("in.cq"));
    WriteFile(directory_.File("in.csv"), "a\n1\n2\n");
    const Ended killed =
        TestProcess({"strace", "-f", "-o", "/dev/null", "-e", "trace=" + operation, "-e",
                     fmt::format("inject={}:signal=KILL:when={}", operation, nth), CQ_PROGRAM,
                     "run", "in.csv", "-w", "1", "--quiet", "--", "echo", "{a}"},
                    directory_.path())
            .Wait();
    return killed.status != 0;
  }
  TemporaryDirectory directory_;
};

TEST_P(BirthTest, KilledAnywhereItCanBeGoneOnWith) {
  if (TestProcess({"sh", "-c", "command -v strace"}, "/").Wait().status != 0) {
    GTEST_SKIP() << "strace is not installed";
  }
  // Many writes of one kind follow each other: every third of them later on. A process takes ten
  // times as long to start with a sanitizer, which has its say about the same lines either way.
#ifdef CQ_SANITIZED
  constexpr int kStep = 5;
#else
  constexpr int kStep = 1;
#endif
  for (int nth = 1; nth < 200; nth += nth < 12 ? kStep : 3 * kStep) {
    if (!KillAt(GetParam(), nth)) return;
    const bool there = std::filesystem::exists(directory_.File("in.cq"));
    const Words again = there && nth % 2 == 0
                            ? Words{"resume", "in.cq", "--quiet"}
                            : Words{"run", "in.csv", "-w", "1", "--quiet", "--", "echo", "{a}"};
    const Ended ended = Cq(again, directory_.path());
    ASSERT_EQ(ended.status, 0) << GetParam() << " " << nth << " " << again[0] << ": " << ended.err;
    ASSERT_EQ(Column(directory_.File("in.cq/results.csv"), "cq_stdout"), (Words{"1", "2"}))
        << GetParam() << " " << nth;
  }
}

INSTANTIATE_TEST_SUITE_P(Operations, BirthTest,
                         ::testing::Values("mkdir", "openat", "rename", "linkat", "unlink", "fsync",
                                           "fdatasync", "ftruncate", "pwrite64"));

}  // namespace
}  // namespace cq
