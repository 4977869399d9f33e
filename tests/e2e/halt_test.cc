// When a run stops before its rows are through, and in which order and at which pace they start.
#include <algorithm>
#include <cstdlib>

#include "tests/e2e/run_fixture.h"

namespace cq {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string Rows(int count) {
  std::string csv = "i\n";
  for (int i = 1; i <= count; ++i) csv += std::to_string(i) + "\n";
  return csv;
}

class HaltTest : public RunTest {
 protected:
  auto CountOf(const std::string& status) {
    const Words all = Column("cq_status");
    return std::count(all.begin(), all.end(), status);
  }
  Ended Resume(const Words& options) {
    Words words = {"resume", "in.cq"};
    words.insert(words.end(), options.begin(), options.end());
    return Cq(words, directory_.path());
  }
};

TEST_F(HaltTest, SoManyThatAreOkAreEnoughAndWhatRunsIsEnded) {
  const Ended ended = Run(Rows(30), {"--slots", "4", "--halt", "now,success=3"},
                          {"sh", "-c", "test {i} -gt 5 && sleep 600; true"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_TRUE(Has(ended.err, "(--halt now,success=3)")) << ended.err;
  EXPECT_TRUE(Has(ended.err, "in.cq' --halt never")) << ended.err;
  const auto ok = CountOf("ok");
  EXPECT_GE(ok, 3);
  EXPECT_LE(ok, 5);
  EXPECT_EQ(CountOf("pending"), 30 - ok);
  // That is what it was to come to.
  const Ended again = Resume({});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(CountOf("ok"), ok);
  const Ended more = Resume({"--halt", "soon,success=5", "--limit", "5"});
  EXPECT_EQ(more.status, 0) << more.err;
  EXPECT_EQ(CountOf("ok"), 5);
}

TEST_F(HaltTest, FailuresCountInTheirStartAloneAndWhatRunsIsFinished) {
  const Ended ended = Run(Rows(30), {"--slots", "2", "--halt", "soon,fail=10%"},
                          {"sh", "-c", "sleep 0.2; test {i} -gt 10"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_TRUE(Has(ended.err, "(--halt soon,fail=10%)")) << ended.err;
  EXPECT_GE(CountOf("error"), 3);
  EXPECT_GT(CountOf("pending"), 0);
  // Those stay failed, and the next ones count from nothing.
  const Ended again = Resume({});
  EXPECT_EQ(again.status, 1) << again.err;
  EXPECT_GE(CountOf("error"), 6);
  const Ended all = Resume({"--halt", "never"});
  EXPECT_EQ(all.status, 1) << all.err;
  EXPECT_EQ(CountOf("error"), 10);
  EXPECT_EQ(CountOf("ok"), 20);
}

TEST_F(HaltTest, APartOfTheRowsIsDoneAndThatIsWellIfTheyAre) {
  const Words options = {"--slots", "2", "--halt", "soon,done=25%"};
  const Ended ended = Run(Rows(20), options, {"sh", "-c", "sleep 0.3"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_GE(CountOf("ok"), 5);
  EXPECT_GT(CountOf("pending"), 0);
  std::filesystem::remove_all(directory_.File("in.cq"));
  const Ended failed = Run(Rows(20), options, {"sh", "-c", "sleep 0.3; test {i} != 3"});
  EXPECT_EQ(failed.status, 1) << failed.err;
}

TEST_F(HaltTest, WhatIsNoRuleIsRefused) {
  for (const char* rule :
       {"", "now", "now,success", "now,success=0", "soon,fail=1.5", "soon,done=101%",
        "later,done=3", "now,fail=x", "now,=3", "now,fail=3 "}) {
    ExpectRefused(Run(Rows(2), {"--halt", rule}, {"true"}), "now or soon, a comma");
  }
  ExpectRefused(Cq({"run", "--halt", "soon,done=10%", "--ask", "cat", "--", "echo", "{x}"},
                   directory_.path()),
                "a proposer names them");
  ExpectRefused(Cq({"run", "--task-timeout", "100%", "--", "echo", ":::", "a"}, directory_.path()),
                "above 100");
  ExpectRefused(Cq({"run", "--shuffle", "--order", "lpt", "--cost", "1", "--", "echo", ":::", "a"},
                   directory_.path()),
                "choose one");
}

TEST_F(HaltTest, WhatRunsMuchLongerThanTheOthersIsEnded) {
  const Ended ended = Run(Rows(16), {"--slots", "4", "--task-timeout", "3000%"},
                          {"sh", "-c", "echo began; test {i} = 2 && sleep 600; sleep 0.1"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(CountOf("ok"), 15);
  const Words statuses = Column("cq_status");
  EXPECT_EQ(statuses[1], "timeout");
  EXPECT_TRUE(Has(Column("cq_error")[1], "3000 % of the median")) << Column("cq_error")[1];
  // What it had printed is kept.
  EXPECT_EQ(Column("cq_stdout")[1], "began");
}

// As it does for programs, whose slot goes on with a fresh one.
TEST_F(HaltTest, ACallThatRunsMuchLongerIsEndedToo) {
  WriteFile(directory_.File("p.py"), R"(import cq, time
def f(i):
    time.sleep(600 if i == 3 else 0.1)
    return i
cq.serve(f)
)");
  WriteFile(directory_.File("in.csv"), Rows(16));
  const Ended ended =
      Cq({"run", "in.csv", "--slots", "2", "--task-timeout", "3000%", "--program", "python3 p.py"},
         directory_.path());
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(CountOf("ok"), 15) << ended.err;
  EXPECT_EQ(Column("cq_status")[2], "timeout");
}

TEST_F(HaltTest, NoTwoTasksStartSoonerThanTheDelay) {
  // The eighth begins 0.7 s after the first at the soonest.
  const Ended ended = Run(Rows(8), {"--slots", "8", "--delay", "100ms", "--json"}, {"true"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const size_t at = ended.out.find("\"seconds\":");
  ASSERT_NE(at, std::string::npos) << ended.out;
  EXPECT_GE(std::stod(ended.out.substr(at + 10)), 0.7);
}

TEST_F(HaltTest, AShuffledOrderFollowsFromTheSeed) {
  const auto order = [&](const char* seed) {
    const Ended ended =
        Run(Rows(30), {"--fresh", "--slots", "1", "--shuffle", "--seed", seed, "--tail"},
            {"echo", "{i}"});
    EXPECT_EQ(ended.status, 0) << ended.err;
    return ended.out;
  };
  const std::string first = order("1");
  EXPECT_EQ(order("1"), first);
  EXPECT_NE(order("2"), first);
  EXPECT_NE(first.substr(0, 10), "1\n2\n3\n4\n5\n");
  // The output is as ever.
  EXPECT_EQ(Column("i")[4], "5");
}

// What fails at once says nothing of how long others take, and what is short is no hang.
TEST_F(HaltTest, OnlyWhatEndsWellSaysWhatIsLong) {
  const Ended ended =
      Run(Rows(20), {"--slots", "2", "--task-timeout", "300%"},
          {"sh", "-c", "test {i} -gt 8 || exit 1; test {i} -lt 15 || sleep 0.3; true"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(CountOf("error"), 8);
  EXPECT_EQ(CountOf("ok"), 12);
}

// Rows that tasks push are a part of all, before they are there.
TEST_F(HaltTest, APartOfAllRowsIsOfThoseThatArePushedToo) {
  WriteFile(directory_.File("p.py"), R"(import cq, time
def f(i):
    if i == 0: cq.push([{"i": n} for n in range(1, 20)])
    time.sleep(0.2)
    return i
cq.serve(f)
)");
  WriteFile(directory_.File("in.csv"), "i\n0\n");
  const Ended ended =
      Cq({"run", "in.csv", "--slots", "2", "--halt", "soon,done=50%", "--program", "python3 p.py"},
         directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_GE(CountOf("ok"), 10) << ended.err;
  EXPECT_GT(CountOf("pending"), 0);
}

TEST_F(HaltTest, WhoAsksOrWaitsHearsThatItIsAsFarAsItWasToCome) {
  ASSERT_EQ(Run(Rows(30), {"--slots", "2", "--halt", "soon,success=3"}, {"sleep", "0.1"}).status,
            0);
  for (int start = 0; start < 2; ++start) {
    const Ended status = Cq({"status", "in.cq"}, directory_.path());
    EXPECT_EQ(status.status, 0) << status.out;
    EXPECT_TRUE(Has(status.out, "halted")) << status.out;
    const Ended wait = Cq({"wait", "in.cq"}, directory_.path());
    EXPECT_EQ(wait.status, 0) << wait.out;
    EXPECT_TRUE(Has(wait.out, "--halt never")) << wait.out;
    EXPECT_EQ(Resume({}).status, 0);
    const Ended failed = Resume({"--failed"});
    EXPECT_EQ(failed.status, 2) << failed.err;
    EXPECT_TRUE(Has(failed.err, "add --halt never")) << failed.err;
  }
  EXPECT_EQ(Resume({"--halt", "never"}).status, 0);
  EXPECT_TRUE(Has(Cq({"status", "in.cq"}, directory_.path()).out, "finished"));
}

}  // namespace
}  // namespace cq
