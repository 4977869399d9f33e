#include "worker/trial_lock.h"

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

TEST(TrialLock, OneHasItAtATime) {
  const TemporaryDirectory directory;
  const std::string path = directory.File("lock");
  ReplaceFile(path, "", 0600);
  TrialLock a(path);
  {
    TrialLock b(path);
    EXPECT_TRUE(b.Take());
    EXPECT_FALSE(a.Take());
    b.Release();
    EXPECT_TRUE(a.Take());
    EXPECT_FALSE(b.Take());
    a.Release();
    EXPECT_TRUE(b.Take());
  }
  // It went with its holder.
  EXPECT_TRUE(a.Take());
}

TEST(TrialLock, WithoutAFileNobodyWaits) {
  TrialLock a("");
  TrialLock b("");
  EXPECT_TRUE(a.Take());
  EXPECT_TRUE(b.Take());
}

}  // namespace
}  // namespace cq
