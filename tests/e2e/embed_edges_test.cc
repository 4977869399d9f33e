// The edges of the embedding API: futures of nothing, long chains, options out of range, types.
#include <functional>

#include "cq/runtime.h"
#include "tests/e2e/embed_fixture.h"

char next_letter(char c) { return static_cast<char>(c + 1); }
CQ_FUNCTION(next_letter);
char32_t wide(char32_t c) { return c; }
CQ_FUNCTION(wide);

namespace cq {
namespace {

class EmbedEdgesTest : public EmbedTest {
 protected:
  static std::string Refusal(const MasterOptions& options) {
    try {
      Master master(options);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "taken";
  }
};

TEST_F(EmbedEdgesTest, AFutureOfNothingIsNotReadyAndTellsSo) {
  const Future<double> none;
  EXPECT_FALSE(none.valid());
  EXPECT_FALSE(none.ready());
  EXPECT_THROW(none.get(), Error);
  EXPECT_THROW(none.wait(), Error);
  EXPECT_THROW(none.cancel(), Error);
  EXPECT_THROW(none.id(), Error);
  EXPECT_THROW(none.then([](Result<double>) { return 1; }), Error);
  EXPECT_THROW(wait_any(std::vector<Future<double>>(2)), Error);
}

TEST_F(EmbedEdgesTest, WhatIsTooLargeToTravelIsThatCallsError) {
  const std::string large(9 << 20, 'x');
  for (const std::string& run_dir : {std::string(), File("in.cq")}) {
    Master master({.pools = {Local(1)}, .run_dir = run_dir});
    const auto result = master.submit(echo, large).get();
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().outcome, Outcome::kError);
    EXPECT_NE(result.error().message.find("at most 8388608 (8 MiB) can be passed on"),
              std::string::npos)
        << result.error().message;
    EXPECT_EQ(result.error().message.find("--"), std::string::npos);
    const std::vector<std::string> range{"a", large, "b"};
    std::vector<bool> ok;
    for (auto& element : master.map(echo, range)) ok.push_back(element.has_value());
    EXPECT_EQ(ok, (std::vector<bool>{true, false, true}));
  }
}

TEST_F(EmbedEdgesTest, StatusNeverLagsBehindResultsInHand) {
  Master master({.pools = {Local(2)}});
  uint64_t taken = 0;
  for (auto& result : master.map(twice, std::views::iota(0, 5000))) {
    ASSERT_TRUE(result.has_value());
    ++taken;
    const MasterStatus status = master.status();
    ASSERT_GE(status.done, taken);
    ASSERT_GE(status.tasks, status.done);
  }
  const auto one = master.submit(twice, 1.0);
  EXPECT_EQ(master.status().tasks, taken + 1);
  one.wait();
  EXPECT_EQ(master.status().done, taken + 1);
}

TEST_F(EmbedEdgesTest, MessagesNameTheOptionsOfTheApi) {
  Master limited({.pools = {Local(1)}, .task_timeout = std::chrono::milliseconds(100)});
  const auto late = limited.submit(slowly, 60.0).get();
  ASSERT_FALSE(late.has_value());
  EXPECT_NE(late.error().message.find("(`task_timeout`)"), std::string::npos)
      << late.error().message;
  const std::string refused =
      Refusal({.pools = {{.scheduler = "local", .template_file = "job.tmpl"}}});
  EXPECT_NE(refused.find("`template_file`"), std::string::npos) << refused;
  EXPECT_EQ(refused.find("--"), std::string::npos) << refused;
}

TEST_F(EmbedEdgesTest, AChainOfContinuationsMayBeOfAnyLength) {
  Master master({.pools = {Local(1)}});
  // Each returns the future of the next.
  std::function<Future<int64_t>(Future<int64_t>, int)> chain = [&](Future<int64_t> from, int left) {
    return from.then(
        [&chain, from, left](Result<int64_t>) { return left == 0 ? from : chain(from, left - 1); });
  };
  const auto first = master.submit(twice, 1.0).then([](Result<double>) { return int64_t{7}; });
  EXPECT_EQ(*chain(first, 100'000).get(), 7);
  Future<int64_t> plain = first;
  for (int i = 0; i < 100'000; ++i) plain = plain.then([](Result<int64_t> r) { return *r + 1; });
  EXPECT_EQ(*plain.get(), 100'007);
}

TEST_F(EmbedEdgesTest, OptionsOutOfRangeAreRefusedByTheirNames) {
  using std::chrono::milliseconds;
  for (const milliseconds lease : {milliseconds(0), milliseconds(-5), milliseconds::max()}) {
    EXPECT_EQ(Refusal({.pools = {Local(1)}, .lease = lease}).find("lease is"), 0u);
  }
  for (const milliseconds limit : {milliseconds(-1), milliseconds::max()}) {
    EXPECT_EQ(Refusal({.pools = {Local(1)}, .task_timeout = limit}).find("task_timeout is"), 0u);
    EXPECT_EQ(Refusal({.pools = {Local(1)}, .on_master_loss = limit}).find("on_master_loss is"),
              0u);
  }
  EXPECT_EQ(Refusal({.pools = {Local(1)}, .crash_limit = 0}).find("crash_limit is 0"), 0u);
}

TEST_F(EmbedEdgesTest, CharactersTravel) {
  Master master({.pools = {Local(1)}});
  EXPECT_EQ(*master.submit(next_letter, 'a').get(), 'b');
  EXPECT_EQ(*master.submit(wide, U'\U0001F404').get(), U'\U0001F404');
}

}  // namespace
}  // namespace cq
