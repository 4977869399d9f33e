// What people are told of a run while it goes on, and what they may change then.
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/control.h"
#include "cq/error.h"
#include "tests/e2e/run_fixture.h"

namespace cq {
namespace {

class StatusTest : public RunTest {
 protected:
  // A run whose tasks wait for the file `go`, and those of rows with a 0 do not.
  void Begin(const std::string& csv, const Words& options) {
    WriteFile(directory_.File("in.csv"), csv);
    Words words = {CQ_PROGRAM, "run", "in.csv"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(),
                 {"--", "sh", "-c", "[ {a} = 0 ] || while [ ! -e go ]; do sleep 0.02; done"});
    run_ = std::make_unique<TestProcess>(words, directory_.path());
  }
  int End() {
    WriteFile(directory_.File("go"), "");
    return run_->Wait().status;
  }
  Ended CqHere(const Words& words) { return Cq(words, directory_.path()); }
  nlohmann::json Live() {
    const Ended status = CqHere({"status", "in.cq", "--json"});
    const auto json = nlohmann::json::parse(status.out, nullptr, false);
    return json.is_object() ? json.value("live", nlohmann::json::object())
                            : nlohmann::json::object();
  }
  template <class Is>
  ::testing::AssertionResult Becomes(const Is& is) {
    nlohmann::json live;
    const bool so = Eventually([&] {
      live = Live();
      return live.contains("workers") && is(live);
    });
    return so ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << live.dump(1);
  }
  bool Explains(int task, const std::string& text) {
    const Ended explained = CqHere({"explain", "in.cq", std::to_string(task)});
    if (explained.out.find(text) != std::string::npos) return true;
    ADD_FAILURE() << explained.out << explained.err;
    return false;
  }
  // The workers that work for it, and do not leave.
  static size_t Staying(const nlohmann::json& live) {
    size_t staying = 0;
    for (const auto& worker : live["workers"]) staying += worker.contains("state") ? 0 : 1;
    return staying;
  }

  std::unique_ptr<TestProcess> run_;
};

TEST_F(StatusTest, TasksAreTakenOutOfALiveRun) {
  Begin("a\n0\n1\n2\n3\n4\n", {"--slots", "2"});
  ASSERT_TRUE(Becomes([](const auto& live) { return live["running"] == 2 && live["done"] == 1; }));
  // One that has ended, one that runs, one that waits.
  const Ended cancelled = CqHere({"cancel", "in.cq", "1", "2", "5"});
  EXPECT_EQ(cancelled.status, 0) << cancelled.err;
  EXPECT_NE(cancelled.out.find("2 of 3 tasks are cancelled"), std::string::npos) << cancelled.out;
  const Ended unknown = CqHere({"cancel", "in.cq", "6"});
  EXPECT_NE(unknown.status, 0);
  EXPECT_NE(unknown.err.find("no task 6"), std::string::npos) << unknown.err;
  EXPECT_EQ(CqHere({"cancel", "in.cq", "3", "--drain"}).status, 2);
  EXPECT_EQ(End(), 1);
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "cancelled", "ok", "ok", "cancelled"}));
  EXPECT_EQ(CqHere({"cancel", "in.cq", "3"}).status, 2);
  // A resume runs them.
  EXPECT_EQ(CqHere({"resume", "in.cq"}).status, 0);
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "ok", "ok", "ok"}));
}

TEST_F(StatusTest, RowsAreAddedToALiveRun) {
  Begin("a,b\n1,x\n", {"--slots", "2"});
  ASSERT_TRUE(Becomes([](const auto& live) { return live["running"] == 1; }));
  WriteFile(directory_.File("more.csv"), "b,a\ny,0\nz,0\ny,0\n");
  const Ended added = CqHere({"add", "in.cq", "more.csv"});
  EXPECT_EQ(added.status, 0) << added.err;
  EXPECT_NE(added.out.find("2 rows are added, 1 were there already"), std::string::npos)
      << added.out;
  ASSERT_TRUE(Becomes([](const auto& live) { return live["tasks"] == 3 && live["done"] == 2; }));
  EXPECT_NE(CqHere({"add", "in.cq", "more.csv"}).out.find("0 rows are added, 3"),
            std::string::npos);
  WriteFile(directory_.File("other.csv"), "b,c\ny,0\n");
  const Ended other = CqHere({"add", "in.cq", "other.csv"});
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.err.find("those of the run are a, b"), std::string::npos) << other.err;
  run_->Signal(SIGKILL);
  run_->Wait();
  // They are part of it.
  EXPECT_EQ(CqHere({"add", "in.cq", "more.csv"}).status, 2);
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(CqHere({"resume", "in.cq"}).status, 0);
  EXPECT_EQ(Column("b"), (Words{"x", "y", "z"}));
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "ok"}));
  EXPECT_EQ(Column("cq_parent"), (Words{"", "", ""}));
}

TEST_F(StatusTest, WhatRunsIsShownWithItsWorkerAndForHowLong) {
  Begin("a\n0\n1\n1\n1\n1\n1\n1\n", {"--slots", "2"});
  // Those that run for a while are reported.
  ASSERT_TRUE(Becomes([](const auto& live) { return live["running"] == 2 && live["ready"] > 0; }));
  const auto live = Live();
  EXPECT_EQ(live["rows"].size(), 2u);
  EXPECT_EQ(live["rows"][0]["worker"], 1);
  EXPECT_GT(live["rows"][0]["seconds"], 0);
  EXPECT_EQ(live["workers"][0]["busy"], 2);
  EXPECT_EQ(live["pools"][0]["scheduler"], "local");
  EXPECT_EQ(live["pools"][0]["alive"], 1);
  const Ended text = CqHere({"status", "in.cq"});
  EXPECT_EQ(text.status, 4);
  for (const char* said :
       {"running, 1 of 7 tasks done", "waits for slots: ", "pool default (local): 1 of 1 workers",
        "2 of 2 slots busy", "task 2 runs for "}) {
    EXPECT_NE(text.out.find(said), std::string::npos) << said << "\n" << text.out;
  }
  EXPECT_TRUE(Explains(1, "it ended as ok at its attempt 1, on worker 1"));
  EXPECT_TRUE(Explains(2, "it runs, attempt 1, on worker 1"));
  EXPECT_TRUE(Explains(7, "it waits for a slot"));
  EXPECT_EQ(CqHere({"explain", "in.cq", "8"}).status, 2);
  EXPECT_EQ(CqHere({"explain", "in.cq"}).status, 2);
  const std::string watch = CQ_PROGRAM + std::string(" status in.cq --watch --json > watched");
  TestProcess watching({"sh", "-c", watch}, directory_.path());
  const auto watched = [&] { return Slurp(directory_.File("watched")); };
  ASSERT_TRUE(Eventually([&] { return watched().find('\n') != std::string::npos; }));
  EXPECT_EQ(End(), 0);
  EXPECT_EQ(watching.Wait().status, 0);
  EXPECT_NE(watched().find(R"("state":"running")"), std::string::npos) << watched();
  EXPECT_NE(watched().find(R"("state":"finished")"), std::string::npos) << watched();
}

TEST_F(StatusTest, WhatHasNoResultAndNoMasterIsSaidToHaveNone) {
  Begin("a\n1\n1\n", {});
  ASSERT_TRUE(Becomes([](const auto& live) { return live["running"] > 0; }));
  run_->Signal(SIGTERM);
  run_->Wait();
  EXPECT_TRUE(Explains(1, "it has no result, and nobody runs it: cq resume"));
}

TEST_F(StatusTest, EarlierAttemptsAreTold) {
  ASSERT_EQ(Run("a\n1\n", {"--retries", "1"}, {"sh", "-c", "echo no >&2; exit 3"}).status, 1);
  EXPECT_TRUE(Explains(1, "an attempt on worker 1 on "));
  EXPECT_TRUE(Explains(1, "it ended as error at its attempt 2"));
}

TEST_F(StatusTest, ALiveRunIsGivenMoreWorkersAndFewer) {
  std::string csv = "a\n";
  for (int i = 0; i < 40; ++i) csv += "1\n";
  Begin(csv, {"-w", "1"});
  ASSERT_TRUE(Becomes([](const auto& live) { return Staying(live) == 1; }));
  EXPECT_EQ(CqHere({"scale", "in.cq", "-w", "3"}).status, 0);
  ASSERT_TRUE(Becomes([](const auto& live) { return Staying(live) == 3; }));
  // Two of them leave once they have finished what they run: nothing runs twice.
  EXPECT_EQ(CqHere({"scale", "in.cq", "-w", "0:1"}).status, 0);
  ASSERT_TRUE(Becomes([](const auto& live) { return Staying(live) == 1; }));
  EXPECT_EQ(Live()["pools"][0]["least"], 0);
  EXPECT_EQ(End(), 0);
  EXPECT_EQ(Column("cq_attempts"), Words(40, "1"));
}

TEST_F(StatusTest, WhatCannotBeScaledIsRefused) {
  Begin("a\n1\n1\n1\n1\n1\n1\n1\n1\n", {"--pool", "one:workers=1", "--pool", "two:workers=1"});
  ASSERT_TRUE(Becomes([](const auto& live) { return Staying(live) == 2; }));
  const auto refused = [&](const Words& words, const std::string& why) {
    const Ended ended = CqHere(words);
    EXPECT_NE(ended.status, 0);
    EXPECT_NE(ended.err.find(why), std::string::npos) << ended.err;
  };
  refused({"scale", "in.cq"}, "-w says how many");
  refused({"scale", "in.cq", "-w", "x"}, "it must be N, or MIN:MAX");
  refused({"scale", "in.cq", "-w", "2"}, "it has several pools: --pool says which one");
  refused({"scale", "in.cq", "-w", "2", "--pool", "three"}, "it has no pool 'three'");
  EXPECT_EQ(CqHere({"scale", "in.cq", "-w", "2", "--pool", "two"}).status, 0);
  ASSERT_TRUE(Becomes([](const auto& live) { return Staying(live) == 3; }));
  EXPECT_EQ(End(), 0);
  refused({"scale", "in.cq", "-w", "2"}, "does not run");
}

TEST_F(StatusTest, WhatBecameOfTheSlotsTimeIsToldWithWhatToAskForNextTime) {
  // A slot of two idles while the last row runs.
  ASSERT_EQ(Run("a\n0.1\n1.5\n", {"--slots", "2", "--task-memory", "1G"}, {"sleep", "{a}"}).status,
            0);
  const auto json =
      nlohmann::json::parse(CqHere({"status", "in.cq", "--efficiency", "--json"}).out);
  EXPECT_EQ(json["attempts"], 2);
  EXPECT_EQ(json["results"], 2);
  // A little may count as the start: a task's own time begins when its worker runs on.
  EXPECT_GT(json["run_seconds"], 1.3);
  EXPECT_GT(json["idle_seconds"], 0.5);
  EXPECT_EQ(json["task_memory"], "1G");
  EXPECT_GT(json["peak_memory_kb"], 100);
  EXPECT_LT(json["peak_memory_kb"], 100'000);
  const Ended text = CqHere({"status", "in.cq", "--efficiency"});
  EXPECT_NE(text.out.find("asked for were 1G"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("slots idled for"), std::string::npos) << text.out;
}

// Who holds the run's keys may still send nonsense.
TEST_F(StatusTest, QuestionsThatMakeNoSenseAreRefusedAndTheRunGoesOn) {
  Begin("a\n1\n", {});
  ASSERT_TRUE(Becomes([](const auto& live) { return Staying(live) == 1; }));
  const std::string run = directory_.File("in.cq");
  for (const auto kind : {RequestKind::kLook, RequestKind::kWhy, RequestKind::kResize}) {
    for (const char* text :
         {"", "{}", "[]", "7", "{\"rows\": -1}", "{\"task\": \"x\"}",
          R"({"pool": "", "least": 5, "most": 0})", R"({"pool": "", "least": 0, "most": 0})",
          R"({"pool": "", "least": 0, "most": 99999999999})"}) {
      EXPECT_THROW(AskMaster(run, kind, text), Error) << text;
    }
  }
  EXPECT_EQ(CqHere({"scale", "in.cq", "-w", "900000"}).status, 3) << "too many descriptors";
  EXPECT_EQ(Live()["pools"][0]["most"], 1);
  EXPECT_EQ(End(), 0);
}

// What they have of this machine is theirs by their number at the start.
TEST_F(StatusTest, WorkersThatShareThisMachineDoNotBecomeMore) {
  Begin("a\n1\n1\n1\n", {"-w", "2", "--task-memory", "{a}G"});
  ASSERT_TRUE(Becomes([](const auto& live) { return Staying(live) == 2; }));
  const Ended more = CqHere({"scale", "in.cq", "-w", "3"});
  EXPECT_EQ(more.status, 3);
  EXPECT_NE(more.err.find("its workers share what this machine has"), std::string::npos)
      << more.err;
  EXPECT_EQ(CqHere({"scale", "in.cq", "-w", "1"}).status, 0);
  EXPECT_EQ(CqHere({"scale", "in.cq", "-w", "2"}).status, 0);
  EXPECT_EQ(End(), 0);
}

}  // namespace
}  // namespace cq
