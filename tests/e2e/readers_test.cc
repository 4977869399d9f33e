// Who reads the results of a run while it goes on: standard output, and the program of --reduce.
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/e2e/run_fixture.h"

namespace cq {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string Numbers(int first, int last) {
  std::string text;
  for (int i = first; i <= last; ++i) text += std::to_string(i) + "\n";
  return text;
}

std::string Rows(int count) { return "i\n" + Numbers(1, count); }

Words Lines(const std::string& text) {
  std::istringstream stream(text);
  Words lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

class ReadersTest : public RunTest {
 protected:
  Ended Resume(const Words& options = {}) {
    Words words = {"resume", "in.cq"};
    words.insert(words.end(), options.begin(), options.end());
    return Cq(words, directory_.path());
  }
  std::string Reduced() { return Slurp(directory_.File("in.cq/reduced")); }
};

const Words kOutOfOrder = {"sh", "-c", "sleep 0.0$((({i} * 7) % 10)); echo {i}"};

TEST_F(ReadersTest, WhatTasksPrintIsShownInTheOrderOfTheRows) {
  const Ended ended = Run(Rows(60), {"--slots", "8", "-k"}, kOutOfOrder);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out, Numbers(1, 60));
  // Of a run that goes on, all of it.
  EXPECT_EQ(Resume({"-k"}).out, Numbers(1, 60));
  WriteFile(directory_.File("in.csv"), Rows(10));
  EXPECT_EQ(Resume({"-k"}).out, Numbers(1, 10));
  EXPECT_EQ(Resume().out, "");
}

// One that has not ended yet holds back those behind it, and nothing else.
TEST_F(ReadersTest, ItIsShownWhileTheRunGoesOn) {
  const std::string go = directory_.File("go");
  ASSERT_EQ(mkfifo(go.c_str(), 0600), 0);
  WriteFile(directory_.File("in.csv"), Rows(4));
  TestProcess run({"sh", "-c",
                   std::string(CQ_PROGRAM) +
                       " run in.csv --slots 2 -k -- sh -c 'test {i} = 3 && cat go; echo {i}' >out"},
                  directory_.path());
  EXPECT_TRUE(Eventually([&] { return Slurp(directory_.File("out")) == "1\n2\n"; }));
  std::ofstream(go) << "";
  EXPECT_EQ(run.Wait().status, 0);
  EXPECT_EQ(Slurp(directory_.File("out")), Numbers(1, 4));
}

TEST_F(ReadersTest, OrAsEachEnds) {
  const Ended ended = Run(Rows(40), {"--slots", "8", "--tail"}, kOutOfOrder);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.out, Numbers(1, 40));
  Words lines = Lines(ended.out);
  std::sort(lines.begin(), lines.end(),
            [](const auto& a, const auto& b) { return std::stoi(a) < std::stoi(b); });
  EXPECT_EQ(lines, Lines(Numbers(1, 40)));
  // What has been shown is not shown again.
  WriteFile(directory_.File("in.csv"), Rows(42));
  Words more = Lines(Resume({"--tail"}).out);
  std::sort(more.begin(), more.end());
  EXPECT_EQ(more, (Words{"41", "42"}));
  EXPECT_EQ(Resume({"--tail"}).out, "");
}

// Once, whatever became of earlier attempts, and as it ended at last.
TEST_F(ReadersTest, OneThatIsTriedAgainIsShownOnce) {
  const Ended ended = Run(Rows(4), {"--retries", "1", "--tail", "--slots", "2"},
                          {"sh", "-c", "echo {i} $CQ_ATTEMPT; test {i} != 2"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  Words lines = Lines(ended.out);
  std::sort(lines.begin(), lines.end());
  EXPECT_EQ(lines, (Words{"1 1", "2 2", "3 1", "4 1"}));
}

// Where nobody else can read the journal while its master writes, as on network file systems, all
// comes at the end.
TEST_F(ReadersTest, WhereTheJournalCannotBeSharedAllComesAtTheEnd) {
  WriteFile(directory_.File("in.csv"), Rows(20));
  ASSERT_EQ(Cq({"run", "in.csv", "--limit", "5", "--reduce", "wc -l", "--", "echo", "{i}"},
               directory_.path())
                .out,
            "5\n");
  std::filesystem::remove(directory_.File("in.cq/journal.db-shm"));
  std::filesystem::create_symlink("/nowhere/shm", directory_.File("in.cq/journal.db-shm"));
  const Ended tail = Resume({"--tail"});
  EXPECT_EQ(tail.status, 0) << tail.err;
  EXPECT_EQ(tail.out, Numbers(6, 20) + "20\n");
  const Ended all = Resume({"-k"});
  EXPECT_EQ(all.status, 0) << all.err;
  EXPECT_EQ(all.out, Numbers(1, 20) + "20\n");
}

// Nobody reads: a signal ends the run all the same.
TEST_F(ReadersTest, WhoReadsNothingDoesNotKeepAnInterruptedRun) {
  const std::string pipe = directory_.File("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  WriteFile(directory_.File("in.csv"), Rows(100));
  TestProcess run({"sh", "-c",
                   "exec " + std::string(CQ_PROGRAM) +
                       " run in.csv --slots 2 -k -- sh -c 'seq 4000; test {i} -lt 60 || sleep "
                       "600' <>pipe >pipe"},
                  directory_.path());
  ASSERT_TRUE(Eventually([&] {
    const std::string row = Cq({"status", "in.cq", "--json"}, directory_.path()).out;
    return Has(row, "\"done\":59");
  })) << run.Err();
  const auto begin = std::chrono::steady_clock::now();
  run.Signal(SIGTERM);
  EXPECT_EQ(run.Wait().status, 130);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 8 * kASecond);
}

TEST_F(ReadersTest, WhoReadsNoMoreStopsNothing) {
  WriteFile(directory_.File("in.csv"), Rows(200));
  TestProcess run({"sh", "-c", std::string(CQ_PROGRAM) + " run in.csv -k -- echo {i} | head -2"},
                  directory_.path());
  EXPECT_EQ(run.Wait().out, "1\n2\n");
  const Words all = Column("cq_status");
  EXPECT_EQ(std::count(all.begin(), all.end(), "ok"), 200);
}

TEST_F(ReadersTest, StandardOutputHasOneWriter) {
  ExpectRefused(Run(Rows(2), {"-k", "--json"}, {"true"}), "choose one");
  ExpectRefused(Run(Rows(2), {"-k", "--tail"}, {"true"}), "choose one");
  ExpectRefused(Run(Rows(2), {"--tail", "-o", "-"}, {"true"}), "choose one");
  ExpectRefused(Run(Rows(2), {"--tail", "--detach"}, {"true"}), "nobody reads");
  ExpectRefused(Cq({"run", "--run-dir", "x", "--reduce-unordered", "--", "echo", ":::", "a"},
                   directory_.path()),
                "is for --reduce");
}

constexpr const char* kSum = R"(import cq
print(sum(int(e["stdout"]) for e in cq.endings()))
)";

TEST_F(ReadersTest, AProgramMakesOneThingOfAllThatAreOk) {
  WriteFile(directory_.File("sum.py"), kSum);
  const Words options = {"--slots", "4", "--reduce", "python3 sum.py"};
  const Ended ended = Run(Rows(100), options, {"sh", "-c", "echo {i}; test {i} != 50"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(ended.out, "5000\n") << ended.err;
  EXPECT_EQ(Reduced(), "5000\n");
  // Of all of them, whenever they ran; --json has standard output for itself.
  WriteFile(directory_.File("in.csv"), Rows(101));
  const Ended more = Resume({"--json"});
  EXPECT_FALSE(Has(more.out, "5101\n")) << more.out;
  EXPECT_EQ(Reduced(), "5101\n");
  EXPECT_EQ(Resume().out, "5101\n");
}

TEST_F(ReadersTest, InTheOrderOfTheRowsOrAsTheyCome) {
  const Ended ended =
      Run(Rows(30), {"--slots", "8", "--reduce", "grep -o \"row.*}\""}, kOutOfOrder);
  ASSERT_EQ(ended.status, 0) << ended.err;
  const Words lines = Lines(ended.out);
  ASSERT_EQ(lines.size(), 30u) << ended.out;
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_TRUE(lines[i].starts_with(fmt::format(R"(row":{{"i":"{}"}})", i + 1))) << lines[i];
  }
  // Each once, those of earlier starts, too.
  WriteFile(directory_.File("in.csv"), Rows(60));
  const Ended any = Resume({"--reduce-unordered", "--reduce", "wc -l"});
  EXPECT_EQ(any.status, 0) << any.err;
  EXPECT_EQ(any.out, "60\n");
}

TEST_F(ReadersTest, ValuesComeAsTheyWereReturned) {
  WriteFile(directory_.File("f.R"), R"(source(Sys.getenv("CQ_R"))
cq_serve(function(x, name) list(y = x * 2, z = if (x > 2) NaN else 0.5))
)");
  WriteFile(directory_.File("reduce.R"), R"(source(Sys.getenv("CQ_R"))
made <- cq_reduce(function(all, e) {
  stopifnot(is.numeric(e$row$x), is.character(e$row$name), is.null(e$stdout))
  all$y <- all$y + e$value$y
  all$nan <- all$nan + is.nan(e$value$z)
  all
}, list(y = 0, nan = 0))
cat(made$y, made$nan, "\n")
)");
  WriteFile(directory_.File("in.csv"), "x,name\n1,a\n2.5,b\n4,\n");
  const Ended ended =
      Cq({"run", "in.csv", "--program", "Rscript f.R", "--reduce", "Rscript reduce.R"},
         directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out, "15 2 \n") << ended.err;
}

TEST_F(ReadersTest, PushedRowsAreReadToo) {
  WriteFile(directory_.File("f.py"), R"(import cq
def f(n):
    if n < 5: cq.push(n=n + 1)
    return {"square": n * n}
cq.serve(f)
)");
  WriteFile(directory_.File("sum.py"), R"(import cq
print([(e["row"]["n"], e["value"]["square"]) for e in cq.endings()])
)");
  WriteFile(directory_.File("in.csv"), "n\n3\n1\n");
  for (const Words& order : {Words(), Words{"--rerun", "--reduce-unordered"}}) {
    Words words = {"run", "in.csv", "--program", "python3 f.py", "--reduce", "python3 sum.py"};
    words.insert(words.end(), order.begin(), order.end());
    const Ended ended = Cq(words, directory_.path());
    EXPECT_EQ(ended.status, 0) << ended.err;
    // Those of the input, 4 and 5, 2, and 3 once more: it is another than that of the input.
    for (const char* row : {"(3, 9)", "(1, 1)", "(4, 16)", "(5, 25)", "(2, 4)"}) {
      EXPECT_TRUE(Has(ended.out, row)) << ended.out;
    }
    EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '('), 6) << ended.out;
    if (!order.empty()) continue;
    EXPECT_TRUE(ended.out.starts_with("[(3, 9), (1, 1), ")) << ended.out;
  }
}

TEST_F(ReadersTest, AProgramThatFailsIsToldWithItsLastWords) {
  ExpectRefused(Run(Rows(2), {"--reduce", "no-such-program"}, {"true"}), "not found in PATH");
  const Ended failed =
      Run(Rows(3), {"--reduce", "sh -c 'cat; echo no good >&2; exit 3'"}, {"echo", "{i}"});
  EXPECT_EQ(failed.status, 1) << failed.err;
  EXPECT_TRUE(Has(failed.err, "ended with status 3; its last words: no good")) << failed.err;
  EXPECT_FALSE(Exists("in.cq/reduced"));
  // Who waits for it, or asks later, hears of it.
  const Ended wait = Cq({"wait", "in.cq"}, directory_.path());
  EXPECT_EQ(wait.status, 1) << wait.out;
  EXPECT_TRUE(Has(wait.out, "no good")) << wait.out;
  EXPECT_EQ(Cq({"status", "in.cq"}, directory_.path()).status, 1);
  // The next one reads everything anew.
  const Ended well = Resume({"--reduce", "wc -l"});
  EXPECT_EQ(well.status, 0) << well.err;
  EXPECT_EQ(std::stoi(well.out), 3);
  EXPECT_EQ(Cq({"wait", "in.cq"}, directory_.path()).status, 0);
}

// What is lost of it is told.
TEST_F(ReadersTest, OutputThatIsNotShownWholeIsTold) {
  const Ended cut = Run(Rows(2), {"-k"}, {"sh", "-c", "test {i} = 1 || seq 30000"});
  EXPECT_EQ(cut.status, 0) << cut.err;
  EXPECT_TRUE(Has(cut.err, "1 tasks printed more than is kept")) << cut.err;
  const Ended told = Resume({"--reduce", "grep -c cut..true"});
  EXPECT_EQ(told.out, "1\n") << told.err;
  TestProcess full({"sh", "-c", std::string(CQ_PROGRAM) + " resume in.cq -k >/dev/full"},
                   directory_.path());
  const Ended ended = full.Wait();
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_TRUE(Has(ended.err, "standard output: No space left")) << ended.err;
}

// Nothing is made of a part of the rows: it would be taken for the whole.
TEST_F(ReadersTest, OfARunThatHasNotEndedNothingIsMade) {
  const Ended halted = Run(Rows(20), {"--reduce", "wc -l", "--slots", "2", "--max-failures", "1"},
                           {"sh", "-c", "sleep 0.05; test {i} != 4"});
  EXPECT_EQ(halted.status, 1) << halted.err;
  EXPECT_EQ(halted.out, "");
  EXPECT_TRUE(Has(halted.err, "not all rows have ended")) << halted.err;
  EXPECT_FALSE(Exists("in.cq/reduced"));
  const Ended all = Resume({"--max-failures", "10"});
  EXPECT_EQ(std::stoi(all.out), 19) << all.err;
  // One that is not of all rows any more goes.
  const Ended failed = Resume({"--failed", "--reduce", "false"});
  EXPECT_EQ(failed.status, 1) << failed.err;
  EXPECT_FALSE(Exists("in.cq/reduced"));
  const Ended none = Resume({"--reduce", "none"});
  EXPECT_EQ(none.out, "");
  EXPECT_FALSE(Has(none.err, "reduce")) << none.err;
}

// A master that is killed leaves no program behind, and nothing that looks like a result.
TEST_F(ReadersTest, AKilledMasterTakesItsProgramWithIt) {
  WriteFile(directory_.File("in.csv"), Rows(6));
  TestProcess run({CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--reduce",
                   "sh -c 'echo $$ > pid; cat > /dev/null; echo all; sleep 600'", "--", "sh", "-c",
                   "test {i} = 3 && sleep 600; true"},
                  directory_.path());
  const std::string pid = directory_.File("pid");
  ASSERT_TRUE(Eventually([&] { return Slurp(pid).ends_with('\n'); })) << run.Err();
  const pid_t reducer = std::stoi(Slurp(pid));
  run.Signal(SIGKILL);
  run.Wait();
  EXPECT_TRUE(Eventually([&] { return !Lives(reducer); }));
  EXPECT_FALSE(Exists("in.cq/reduced"));
}

}  // namespace
}  // namespace cq
