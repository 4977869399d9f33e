// A program whose calls run on slots of a warm pool.
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <memory>
#include <ranges>
#include <set>
#include <string>

#include "cq/master.h"
#include "tests/e2e/embed_fixture.h"

// Shows whether the task has the program's environment.
int64_t mine(int64_t x) { return x + (getenv("EMBED_POOL_TEST") == nullptr ? 1'000'000 : 0); }
CQ_FUNCTION(mine);

namespace {

class EmbedPoolTest : public EmbedTest {
 protected:
  EmbedPoolTest() {
    setenv("XDG_STATE_HOME", File("state").c_str(), 1);
    pool_ = std::make_unique<cq::TestProcess>(
        std::vector<std::string>{CQ_PROGRAM, "pool", "start", "p", "--foreground", "-w", "3"},
        directory_.path(), std::map<std::string, std::string>{});
    EXPECT_TRUE(cq::Eventually([&] { return pool_->Err().find("is ready") != std::string::npos; }));
    setenv("EMBED_POOL_TEST", "1", 1);
  }
  ~EmbedPoolTest() override {
    unsetenv("XDG_STATE_HOME");
    unsetenv("EMBED_POOL_TEST");
  }

  std::unique_ptr<cq::TestProcess> pool_;
};

TEST_F(EmbedPoolTest, CallsRunThereWithTheProgramsEnvironment) {
  {
    cq::Master master({.pools = {cq::Warm("p")}});
    int64_t expected = 0;
    for (auto& result : master.map(mine, std::views::iota(int64_t{0}, int64_t{1000}))) {
      EXPECT_EQ(result.value(), expected++);
    }
    EXPECT_EQ(master.submit(fails, 1).get().error().outcome, cq::Outcome::kError);
    EXPECT_EQ(cq::DescendantsWith(pool_->pid(), "pool p ").size(), 6u);
  }
  // They ended with the master.
  EXPECT_TRUE(cq::Eventually([&] { return cq::DescendantsWith(pool_->pid(), "pool p ").empty(); }));
}

TEST_F(EmbedPoolTest, TwoMastersShareIt) {
  cq::Master one({.pools = {cq::Warm("p", 2)}});
  cq::Master other({.pools = {cq::Warm("p")}});
  auto a = one.map(mine, std::views::iota(int64_t{0}, int64_t{500}));
  auto b = other.map(mine, std::views::iota(int64_t{0}, int64_t{500}));
  for (auto& result : a) EXPECT_TRUE(result);
  for (auto& result : b) EXPECT_TRUE(result);
}

TEST_F(EmbedPoolTest, APoolThatThereIsNotIsRefused) {
  EXPECT_THROW(cq::Master({.pools = {cq::Warm("q")}}), cq::UsageError);
}

TEST_F(EmbedPoolTest, APoolThatDiesEndsWhatCannotGoOn) {
  cq::Master master({.pools = {cq::Warm("p")}, .warn = [](const std::string&) {}});
  EXPECT_EQ(master.submit(mine, 1).get().value(), 1);
  pool_->Signal(SIGKILL);
  pool_->Wait();
  // Its workers die with it, not before it.
  auto result = master.submit(mine, 2).get();
  while (result) result = master.submit(mine, 2).get();
  EXPECT_EQ(result.error().outcome, cq::Outcome::kCancelled);
  EXPECT_NE(result.error().message.find("pool 'p'"), std::string::npos) << result.error().message;
}

}  // namespace
