// Runs that go on without the terminal that started them, and how somebody hears of their end.
#include <filesystem>

#include "tests/e2e/run_fixture.h"

namespace cq {
namespace {

class DetachTest : public RunTest {
 protected:
  ~DetachTest() override {
    // Of a test that failed: nothing of it is to live on.
    for (const pid_t pid : ProcessesWith("DETACH_TEST=" + directory_.path())) kill(pid, SIGKILL);
  }
  Ended CqHere(const Words& words) {
    return Cq(words, directory_.path(), {{"DETACH_TEST", directory_.path()}});
  }
  // Rows that wait for the file `go`, but those with a 0; those with a 2 fail.
  Ended Detached(const std::string& csv, const Words& options) {
    WriteFile(directory_.File("in.csv"), csv);
    Words words = {"run", "in.csv", "--detach"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "sh", "-c",
                               "[ {a} = 0 ] || while [ ! -e go ]; do sleep 0.02; done; "
                               "[ {a} != 2 ]"});
    return CqHere(words);
  }
  void Go() { WriteFile(directory_.File("go"), ""); }
};

TEST_F(DetachTest, ItReturnsOnceTheRunHasStartedWhichOthersWaitFor) {
  const Ended started = Detached("a\n0\n1\n2\n", {});
  ASSERT_EQ(started.status, 0) << started.err;
  EXPECT_NE(started.out.find("in.cq: started"), std::string::npos) << started.out;
  EXPECT_EQ(CqHere({"status", "in.cq"}).status, 4);
  TestProcess waiting({CQ_PROGRAM, "wait", "in.cq"}, directory_.path());
  TestProcess attached({CQ_PROGRAM, "attach", "in.cq"}, directory_.path());
  ASSERT_TRUE(Eventually([&] { return attached.Err().find("worker 1 on") != std::string::npos; }))
      << attached.Err();
  Go();
  const Ended waited = waiting.Wait();
  EXPECT_EQ(waited.status, 1);
  EXPECT_NE(waited.out.find("finished, 2 of 3 tasks ok"), std::string::npos) << waited.out;
  const Ended followed = attached.Wait();
  EXPECT_EQ(followed.status, 1);
  EXPECT_NE(followed.err.find("2 of 3 tasks ok, 1 error"), std::string::npos) << followed.err;
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "error"}));
  EXPECT_NE(Slurp(directory_.File("in.cq/master.log")).find("2 of 3 tasks ok"), std::string::npos);
  // A resume goes on in the same log.
  ASSERT_EQ(CqHere({"resume", "in.cq", "--failed", "--detach"}).status, 0);
  EXPECT_EQ(CqHere({"wait", "in.cq"}).status, 1);
}

TEST_F(DetachTest, WhatIsWrongIsToldBeforeItReturns) {
  const Ended bad = Detached("a\n1\n", {"--parse", "xml"});
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.err.find("only json is known"), std::string::npos) << bad.err;
  EXPECT_EQ(Detached("a\n1\n", {"-o", "-"}).status, 2);
  EXPECT_FALSE(std::filesystem::exists(directory_.File("in.cq")));
  // A run that has nothing to do ends as it always does.
  ASSERT_EQ(Detached("a\n0\n", {}).status, 0);
  EXPECT_EQ(CqHere({"wait", "in.cq"}).status, 0);
  const Ended again = Detached("a\n0\n", {});
  EXPECT_EQ(again.status, 0);
  EXPECT_NE(again.err.find("1 of 1 tasks ok"), std::string::npos) << again.err;
}

TEST_F(DetachTest, OneThatIsCancelledWasNotFinished) {
  ASSERT_EQ(Detached("a\n1\n", {}).status, 0);
  EXPECT_EQ(CqHere({"cancel", "in.cq"}).status, 0);
  const Ended waited = CqHere({"wait", "in.cq"});
  EXPECT_EQ(waited.status, 3);
  EXPECT_NE(waited.out.find("not finished, 0 of 1 tasks ok"), std::string::npos) << waited.out;
}

TEST_F(DetachTest, ACommandIsToldOfTheFirstFailureAStallAndTheEndEachOnce) {
  const Ended ended =
      Run("a\n2\n2\n2\n",
          {"--slots", "1", "--stall-after", "3s", "--on-finish",
           "echo $CQ_EVENT $CQ_DONE/$CQ_TASKS $CQ_FAILED $CQ_STATUS $CQ_RUN_DIR >> told"},
          {"sh", "-c",
           "[ $CQ_TASK != 3 ] || until [ -e told ] && grep -q stall told; do sleep 0.02; "
           "done; false"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  const std::string told = Slurp(directory_.File("told"));
  const std::string run = directory_.File("in.cq");
  EXPECT_NE(told.find("stall 2/3 2 " + run + "\n"), std::string::npos) << told;
  EXPECT_NE(told.find("end 3/3 3 1 " + run + "\n"), std::string::npos) << told;
  EXPECT_EQ(told.find("failure "), told.rfind("failure ")) << told;
  EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 3) << told;
  // What failed before is no news; and of another run that this is a task of nothing is meant.
  std::filesystem::remove(directory_.File("told"));
  const Ended again =
      Cq({"resume", "in.cq", "--on-finish", "echo $CQ_EVENT $CQ_RUN_DIR >> told; exit 3"},
         directory_.path(), {{"CQ_RUN_DIR", "other"}, {"CQ_EVENT", "other"}});
  EXPECT_EQ(Slurp(directory_.File("told")), "end " + run + "\n");
  EXPECT_NE(again.err.find("a command of --on-finish ended with status 3"), std::string::npos)
      << again.err;
}

TEST_F(DetachTest, WhereWorkersReachTheMasterMayBeSaid) {
  ASSERT_EQ(Run("a\n1\n", {"--ports", "7300-7399", "--interface", "lo"}, {"true"}).status, 0);
  const std::string file = Slurp(directory_.File("in.cq/connect.json"));
  EXPECT_NE(file.find("\"tcp://127.0.0.1:73"), std::string::npos) << file;
  const auto refused = [&](const Words& options, const std::string& why) {
    Words words = {"--fresh"};
    words.insert(words.end(), options.begin(), options.end());
    const Ended ended = Run("a\n1\n", words, {"true"});
    EXPECT_EQ(ended.status, 2);
    EXPECT_NE(ended.err.find(why), std::string::npos) << ended.err;
  };
  refused({"--interface", "nowhere0"}, "no such network here with an IPv4 address; there are: lo");
  refused({"--ports", "9-8"}, "it must be FIRST-LAST");
  refused({"--ports", "0-8"}, "--ports");
  refused({"--ports", "1-70000"}, "it must be FIRST-LAST");
}

}  // namespace
}  // namespace cq
