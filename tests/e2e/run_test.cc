// `cq run` and its kin as a user meets them: real processes, one command line each.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "master/journal/database.h"
#include "protocol/connection_file.h"
#include "tests/e2e/run_fixture.h"
#include "tests/support/process.h"

namespace cq {
namespace {

TEST_F(RunTest, JoinsResultsToRowsInInputOrder) {
  std::string csv = "name,n\n";
  for (int i = 1; i <= 500; ++i) csv += "r" + std::to_string(i) + "," + std::to_string(i) + "\n";
  const Ended ended =
      Run(csv, {"-w", "3", "--slots", "2"}, {"sh", "-c", "echo {name}; exit $(({n} % 2))"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  const auto rows = ReadCsv(Results());
  ASSERT_EQ(rows.size(), 501u);
  EXPECT_EQ(rows[0],
            (Words{"name", "n", "cq_task", "cq_status", "cq_exit", "cq_error", "cq_seconds",
                   "cq_max_rss_kb", "cq_attempts", "cq_worker", "cq_stdout"}));
  for (size_t i = 1; i <= 500; ++i) {
    EXPECT_EQ(rows[i][0], "r" + std::to_string(i));
    EXPECT_EQ(rows[i][2], std::to_string(i));
    EXPECT_EQ(rows[i][3], i % 2 == 0 ? "ok" : "error");
    EXPECT_EQ(rows[i][5], i % 2 == 0 ? "" : "exit status 1");
    EXPECT_EQ(rows[i][8], "1");
    EXPECT_EQ(rows[i][10], rows[i][0]);
  }
}

TEST_F(RunTest, ValuesArriveByteForByte) {
  const std::string text =
      "q\"uo,te\n\r\n{}{a}$HOME `x` \\ ' " + std::string(100'000, 'z') + "\xff\xfe";
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  const Ended ended =
      Run("a,b\n" + quoted + "\",1\n", {"--stdout-column", "200K"}, {"printf", "%s", "{a}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  // Of what it prints the first 16 and the last 48 KiB are kept.
  EXPECT_EQ(Column("cq_stdout")[0].substr(0, 16384), text.substr(0, 16384));
  // The journal has the bytes; a CSV is UTF-8.
  const std::string shown = text.substr(0, text.size() - 2) + "\xEF\xBF\xBD\xEF\xBF\xBD";
  EXPECT_EQ(Column("cq_stdout")[0].substr(Column("cq_stdout")[0].size() - 49152),
            shown.substr(shown.size() - 49152));
  EXPECT_EQ(Column("a")[0], shown);
  const Ended kept =
      Cq({"query", "in.cq", "SELECT hex(substr(stdout, -2)) AS x FROM results"}, directory_.path());
  EXPECT_EQ(kept.out, "x\nFFFE\n");
}

// Cut within a character, bytes that are none, NUL.
TEST_F(RunTest, EveryFileThatIsWrittenIsUtf8) {
  WriteProgram(directory_.File("print"), "#!/bin/sh\nprintf \"$1\"; printf \"$1\" >&2; exit 1\n");
  const Ended ended = Run("a,b\nx\\377y,1\nn\\000l,2\n" + std::string(4095, 'a') + "\xC3\xA9z,3\n",
                          {}, {"./print", "{a}"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_stdout"),
            (Words{"x\xEF\xBF\xBDy", "n\xEF\xBF\xBDl", std::string(4095, 'a')}));
  EXPECT_EQ(Column("cq_error")[0], "x\xEF\xBF\xBDy");
  EXPECT_EQ(Column("cq_error")[1], "n\xEF\xBF\xBDl");
  const Ended log = Cq({"log", "in.cq", "1"}, directory_.path());
  EXPECT_NE(log.out.find("x\xEF\xBF\xBDy"), std::string::npos) << log.out;
}

TEST_F(RunTest, WhatIsShownHasNoControlCharacters) {
  WriteProgram(directory_.File("print"),
               "#!/bin/sh\nprintf '\\033[31mred\\007\\n\\302\\233x\\tok'; cat; exit 1\n");
  Run("a,b\n1,2\n", {}, {"./print"});
  const Ended log = Cq({"log", "in.cq", "1"}, directory_.path());
  EXPECT_NE(log.out.find("\tok"), std::string::npos) << log.out;
  for (const char c : log.out) EXPECT_TRUE(c == '\n' || c == '\t' || (c & 0xe0) != 0) << int{c};
  EXPECT_EQ(log.out.find("\xC2\x9B"), std::string::npos);
  const Ended unknown = Cq({"log", "in.cq\033[31m", "1"}, directory_.path());
  EXPECT_EQ(unknown.err.find('\033'), std::string::npos) << unknown.err;
}

TEST_F(RunTest, WhatCannotBeAnArgumentEndsThatTaskAlone) {
  const std::string csv =
      "a,b\n" + std::string(200'000, 'x') + ",1\n" + std::string("n\0l", 3) + ",2\nok,3\n";
  EXPECT_EQ(Run(csv, {}, {"echo", "{a}"}).status, 1);
  EXPECT_EQ(Column("cq_status"), (Words{"error", "error", "ok"}));
  EXPECT_NE(Column("cq_error")[0].find("200000 bytes"), std::string::npos);
  EXPECT_NE(Column("cq_error")[1].find("NUL"), std::string::npos);
}

TEST_F(RunTest, BracesOfOtherLanguagesAreLiteral) {
  const Words command = {"printf", "%s|", "{print $1}", "${HOME}", "{\"a\":1}", "function(x){x+1}"};
  EXPECT_EQ(Run("a,b\n1,2\n", {}, command).status, 0);
  EXPECT_EQ(Column("cq_stdout")[0], "{print $1}|${HOME}|{\"a\":1}|function(x){x+1}|");
}

TEST_F(RunTest, UnderShellValuesAreQuoted) {
  WriteFile(directory_.File("victim"), "");
  EXPECT_EQ(
      Run("a,b\n\"; rm -rf victim; echo '$(rm victim)'\",2\n", {"--shell"}, {"echo {a} $((1+1))"})
          .status,
      0);
  EXPECT_EQ(Column("cq_stdout")[0], "; rm -rf victim; echo '$(rm victim)' 2");
  EXPECT_TRUE(Exists("victim"));
}

TEST_F(RunTest, ReturnedNamesBecomeColumnsInTheOrderOfTheRows) {
  const Words command = {
      "sh", "-c",
      "[ {b} = 1 ] && sleep 0.2; echo noise; echo '{\"x{b}\":{b}.50,\"b\":\"s\",\"cq_x\":null}'"};
  EXPECT_EQ(Run("a,b\np,1\nq,2\n", {"--parse", "json", "--slots", "2"}, command).status, 0);
  const auto rows = ReadCsv(Results());
  EXPECT_EQ(Words(rows[0].begin(), rows[0].begin() + 6),
            (Words{"a", "b", "x1", "b.out", "out.cq_x", "x2"}));
  EXPECT_EQ(Words(rows[1].begin(), rows[1].begin() + 6), (Words{"p", "1", "1.5", "s", "", ""}));
  EXPECT_EQ(Words(rows[2].begin(), rows[2].begin() + 6), (Words{"q", "2", "", "s", "", "2.5"}));
}

TEST_F(RunTest, NumbersOfJsonArriveAsTheyWereWritten) {
  const Ended ended =
      Run("a,b\n1,2\n", {"--parse", "json"},
          {"python3", "-c",
           "import json; print(json.dumps({'n': float('nan'), 'i': -float('inf'), 'w': 2**70, 'l': "
           "[2**70, float('inf'), 0.1], 's': '\\ud800', 'long': 'x' * (3 << 20)}))"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("n"), Words{"NaN"});
  EXPECT_EQ(Column("i"), Words{"-Inf"});
  EXPECT_EQ(Column("w"), Words{"1180591620717411303424"});
  EXPECT_EQ(Column("l"), Words{R"([1180591620717411303424,{"$number":"Inf"},0.1])"});
  EXPECT_EQ(Column("s"), Words{"\xEF\xBF\xBD"});
  EXPECT_EQ(Column("long")[0].size(), size_t{3} << 20);
}

TEST_F(RunTest, AResultMayHaveManyNames) {
  const Ended ended =
      Run("a,b\n1,60000\n2,65537\n", {"--parse", "json"},
          {"python3", "-c", "import json; print(json.dumps({'n%d' % i: i for i in range({b})}))"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "error"}));
  EXPECT_EQ(Column("n59999"), (Words{"59999", ""}));
  EXPECT_NE(Column("cq_error")[1].find("65536 names"), std::string::npos) << Column("cq_error")[1];
}

TEST_F(RunTest, ALastLineThatIsNoObjectIsAnError) {
  EXPECT_EQ(Run("a,b\n1,2\n", {"--parse", "json"}, {"echo", "done"}).status, 1);
  EXPECT_EQ(Column("cq_status")[0], "error");
  EXPECT_NE(Column("cq_error")[0].find("no JSON object: done"), std::string::npos);
}

TEST_F(RunTest, AnAnswerNestedWithoutEndIsAnErrorAndNoEndOfTheWorker) {
  EXPECT_EQ(Run("a,b\n1,2\n", {"--parse", "json"},
                {"sh", "-c",
                 "printf '{\"x\":'; head -c 40000 /dev/zero | tr '\\0' '['; head -c 40000 "
                 "/dev/zero | tr '\\0' ']'; echo }"})
                .status,
            1);
  EXPECT_EQ(Column("cq_status"), Words{"error"});
  EXPECT_EQ(Column("cq_attempts"), Words{"1"});
}

TEST_F(RunTest, ATaskFindsItsDirectoryEnvironmentAndAnEmptyInput) {
  std::filesystem::create_directory(directory_.File("sub"));
  const Words command = {
      "sh", "-c",
      "pwd; echo $CQ_TASK $CQ_ATTEMPT $CQ_CPUS $OMP_NUM_THREADS $FOO $PASSED; cat | wc -c; "
      "[ -d \"$CQ_RUN_DIR\" ] && echo there; trap | wc -l"};
  setenv("PASSED", "on", 1);
  EXPECT_EQ(Run("a,b\n1,2\n3,4\n", {"--cwd", "sub", "--env", "FOO=b r", "--env", "PASSED"}, command)
                .status,
            0);
  EXPECT_EQ(Column("cq_stdout")[1], directory_.path() + "/sub\n2 1 1 1 b r on\n0\nthere\n0");
}

TEST_F(RunTest, SeedsAreTheSameForTheSameBaseAndPairedBySeedBy) {
  const Words command = {"sh", "-c", "echo $CQ_SEED"};
  EXPECT_EQ(Run("a,b\n1,x\n2,y\n1,z\n", {"--seed", "7"}, command).status, 0);
  const Words first = Column("cq_stdout");
  EXPECT_NE(first[0], first[1]);
  EXPECT_NE(first[0], first[2]);
  EXPECT_EQ(Run("a,b\n1,x\n2,y\n1,z\n", {"--seed", "7", "--fresh", "-w", "2"}, command).status, 0);
  EXPECT_EQ(Column("cq_stdout"), first);
  EXPECT_EQ(
      Run("a,b\n1,x\n2,y\n1,z\n", {"--seed", "7", "--fresh", "--seed-by", "a"}, command).status, 0);
  const Words paired = Column("cq_stdout");
  EXPECT_EQ(paired[0], paired[2]);
  EXPECT_NE(paired[0], paired[1]);
}

TEST_F(RunTest, TheLongestRowsStartFirstIfTheirCostIsKnown) {
  const std::string csv = "a,cost,set\n1,5,x\n2,50,y\n3,0.5,x\n4,7e3,\"y z\"\n5,5,x\n";
  const Ended ended =
      Run(csv, {"--slots", "1", "--order", "lpt", "--cost", "cost", "--group", "set"},
          {"sh", "-c", "echo {a} >> order; echo $CQ_GROUP"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ReadFile(directory_.File("order")), "4\n2\n1\n5\n3\n");
  EXPECT_EQ(Column("cq_stdout"), (Words{"x", "y", "x", "y z", "x"}));
}

TEST_F(RunTest, OutcomesNameStatusSignalAndReason) {
  const Words command = {"sh", "-c", "{b}"};
  const Ended ended =
      Run("a,b\n1,exit 3\n2,kill -SEGV $$\n3,echo why >&2; exit 4\n4,nosuchprogram\n5,:\n", {},
          command);
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(Column("cq_exit"), (Words{"3", "SIGSEGV", "4", "127", "0"}));
  EXPECT_EQ(Column("cq_error")[1], "ended by SIGSEGV");
  EXPECT_EQ(Column("cq_error")[2], "why");
}

TEST_F(RunTest, AProgramThatDoesNotExistIsEachTasksError) {
  EXPECT_EQ(Run("a,b\n1,2\n3,4\n", {}, {"./nosuch", "{a}"}).status, 1);
  EXPECT_EQ(Column("cq_status"), (Words{"error", "error"}));
  EXPECT_NE(Column("cq_error")[0].find("'./nosuch': No such file"), std::string::npos);
}

TEST_F(RunTest, AScriptWithoutInterpreterLineRunsAsInAShell) {
  WriteProgram(directory_.File("script"), "echo hello $1\n");
  EXPECT_EQ(Run("a,b\n1,2\n", {}, {"./script", "{b}"}).status, 0);
  EXPECT_EQ(Column("cq_stdout")[0], "hello 2");
}

TEST_F(RunTest, WhatATaskLeavesBehindEndsWithIt) {
  // One in the background, one in a session of its own whose parent is gone.
  const Words command = {"sh", "-c", "sleep 300 & setsid sh -c 'sleep 300 & sleep 300' & echo {a}"};
  const Ended ended =
      Run("a,b\n1,2\n2,3\n3,4\n", {"--slots", "2", "--env", "LEFT=" + directory_.path()}, command);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_stdout"), (Words{"1", "2", "3"}));
  EXPECT_TRUE(ProcessesWith("LEFT=" + directory_.path()).empty());
}

TEST_F(RunTest, ATaskThatPrintsMuchCostsBoundedMemory) {
  // 10 GB in `tests/run --full`.
  const char* wanted = getenv("CQ_PRINTED_BYTES");
  const std::string bytes = wanted != nullptr ? wanted : "30000000";
  const Ended ended =
      Run("a,b\n1,2\n", {}, {"sh", "-c", "head -c " + bytes + " /dev/zero | tr '\\0' x; echo end"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  Database journal(directory_.File("in.cq/journal.db"), Database::Mode::kRead);
  auto row = journal.Prepare("SELECT length(stdout), substr(stdout, -4) FROM results");
  ASSERT_TRUE(row.Step());
  EXPECT_LT(row.Int(0), 66'000);
  EXPECT_EQ(row.Text(1), "end\n");
}

TEST_F(RunTest, LimitRunsTheFirstRowsAndLeavesTheRestPending) {
  EXPECT_EQ(Run("a,b\n1,2\n3,4\n5,6\n", {"--limit", "2"}, {"echo", "{a}"}).status, 0);
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "pending"}));
}

TEST_F(RunTest, AHeaderAloneGivesAnEmptyResult) {
  EXPECT_EQ(Run("a,b\n", {}, {"echo", "{a}"}).status, 0);
  EXPECT_EQ(ReadCsv(Results()).size(), 1u);
  EXPECT_EQ(Cq({"status"}, directory_.path()).status, 0);
}

TEST_F(RunTest, BadOptionsAreToldBeforeAnythingStarts) {
  ExpectRefused(Run("a\n1\nx\n", {"--order", "lpt", "--cost", "a"}, {"true"}),
                "in.csv:3: column 'a': --cost: 'x' is no number");
  ExpectRefused(Run("a\n1\n", {"--order", "lpt"}, {"true"}), "go together");
  ExpectRefused(Run("a\n1\n", {"--order", "best"}, {"true"}), "there are fifo and lpt");
  ExpectRefused(Run("a\n1\n", {"--group", "b"}, {"true"}), "there is no column 'b'");
  ExpectRefused(Run("a\n1\n", {"--chunk", "0"}, {"true"}), "--chunk");
  ExpectRefused(Run("a,b\n1,2\n", {"--wrokers", "2"}, {"echo"}), "did you mean '--workers'");
  ExpectRefused(Run("a,b\n1,2\n", {"-w", "none"}, {"echo"}), "--workers 'none'");
  ExpectRefused(Run("a,b\n1,2\n", {"-w", "0", "--set", "x=1"}, {"echo"}),
                "--workers 0 starts none");
  ExpectRefused(Run("a,b\n1,2\n", {"--master-job", "--detach"}, {"echo"}), "choose one");
  ExpectRefused(Run("a,b\n1,2\n", {"--set-master", "time=1"}, {"echo"}), "is for --master-job");
  ExpectRefused(Run("a,b\n1,2\n", {"-s", "pigeon"}, {"echo"}), "unknown scheduler 'pigeon'");
  ExpectRefused(Run("a,b\n1,2\n", {"-s", "slurm"}, {"echo"}), "--workers");
  ExpectRefused(Run("a,b\n1,2\n", {"--shell"}, {"echo", "x"}), "--shell takes one argument");
  ExpectRefused(Run("a,b\n1,2\n", {"-o", "no/such/r.csv"}, {"echo"}), "no folder");
  ExpectRefused(Run("a,b\n1,2\n", {"-o", "."}, {"echo"}), "it is a directory");
  ExpectRefused(Run("a,b\n1,2\n", {"-o", "-", "--json"}, {"echo"}), "standard output");
  ExpectRefused(Run("a,b\n1,2\n", {"--cwd", "nosuch"}, {"echo"}), "--cwd");
  ExpectRefused(Run("a,b\n1,2\n", {"--parse", "xml"}, {"echo"}), "only json");
  ExpectRefused(Run("a,b\n1,2\n", {"--stdout-column", "many"}, {"echo"}), "size");
  ExpectRefused(Run("a,b\n1,2\n", {"--run-dir", "/proc/no"}, {"echo"}), "--run-dir");
  ExpectRefused(Run("a,b\n1,2\n", {"--set", "x=1"}, {"echo"}), "--set x");
  ExpectRefused(Run("a,b\n1,2\n", {}, {}), "no command");
  ExpectRefused(Cq({"rnu"}, directory_.path()), "did you mean 'run'");
  WriteFile(directory_.File("bad.tmpl"), "#!/bin/sh\n#SBATCH --mem={{ memroy }}\n");
  ExpectRefused(Run("a,b\n1,2\n", {"-s", "slurm", "-w", "1", "--template", "bad.tmpl"}, {"echo"}),
                "bad.tmpl:2: unknown key 'memroy'");
}

TEST_F(RunTest, AnExistingRunDirectoryIsLeftAloneUnlessFresh) {
  EXPECT_EQ(Run("a,b\n1,2\n", {}, {"echo", "first"}).status, 0);
  const Ended again = Run("a,b\n1,2\n", {}, {"echo", "second"});
  EXPECT_EQ(again.status, 2);
  EXPECT_NE(again.err.find("--run-dir"), std::string::npos);
  EXPECT_NE(again.err.find("--fresh"), std::string::npos);
  EXPECT_EQ(Column("cq_stdout")[0], "first");
  EXPECT_EQ(Run("a,b\n1,2\n", {"--fresh"}, {"echo", "third"}).status, 0);
  EXPECT_EQ(Column("cq_stdout")[0], "third");
  EXPECT_EQ(cq::Column(directory_.File("in.cq.1/results.csv"), "cq_stdout")[0], "first");
}

TEST_F(RunTest, FreshMovesNothingThatIsNoRunDirectory) {
  std::filesystem::create_directory(directory_.File("data"));
  WriteFile(directory_.File("data/precious"), "x");
  for (const char* target : {"data", "in.csv", "."}) {
    const Ended ended = Run("a,b\n1,2\n", {"--fresh", "--run-dir", target}, {"true"});
    EXPECT_EQ(ended.status, 2) << target;
    EXPECT_NE(ended.err.find("no run directory"), std::string::npos) << ended.err;
  }
  EXPECT_TRUE(Exists("data/precious"));
}

TEST_F(RunTest, TheOutputReplacesNeitherTheInputNorTheJournal) {
  ExpectRefused(Run("a,b\n1,2\n", {"-o", "in.csv"}, {"true"}), "replace the input");
  ExpectRefused(Run("a,b\n1,2\n", {"-o", "in.cq/journal.db"}, {"true"}), "run directory");
}

TEST_F(RunTest, NoCommandWritesOverTheFilesOfARun) {
  ASSERT_EQ(Run("a,b\n1,2\n", {}, {"true"}).status, 0);
  std::filesystem::create_symlink("in.cq", directory_.File("link"));
  std::filesystem::create_symlink("in.cq/journal.db", directory_.File("link.csv"));
  WriteFile(directory_.File("other.csv"), "a\n1\n");
  for (const std::string output : {"in.cq/journal.db", "link/journal.db", "link.csv",
                                   "in.cq/params.csv", "in.cq/spool/x", "in.csv"}) {
    const Ended exported = Cq({"export", "in.cq", "-o", output}, directory_.path());
    EXPECT_EQ(exported.status, 2) << output << exported.err;
    EXPECT_EQ(Cq({"export", "in.cq", "--blob", "1", "-o", output}, directory_.path()).status, 2);
    if (output == "in.csv") continue;
    EXPECT_EQ(Cq({"run", "other.csv", "-o", output, "--", "true"}, directory_.path()).status, 2);
  }
  EXPECT_EQ(Cq({"status", "in.cq"}, directory_.path()).status, 0);
  EXPECT_EQ(Cq({"export", "in.cq", "-o", "link/results.csv"}, directory_.path()).status, 0);
}

// No other's file, and none that a killed one left.
TEST_F(RunTest, ResultsGoThroughNoNameThatCouldBeGuessed) {
  ASSERT_EQ(Run("a,b\n1,2\n", {}, {"true"}).status, 0);
  WriteFile(directory_.File("victim"), "mine");
  const std::string command =
      "ln -s victim out.csv.$$.tmp; exec " CQ_PROGRAM " export in.cq -o out.csv";
  EXPECT_EQ(TestProcess({"sh", "-c", command}, directory_.path()).Wait().status, 0);
  EXPECT_EQ(Slurp(directory_.File("victim")), "mine");
  EXPECT_FALSE(std::filesystem::is_symlink(directory_.File("out.csv")));
  EXPECT_EQ(cq::Column(directory_.File("out.csv"), "cq_status"), Words{"ok"});
}

// Two pipes are two inputs, whatever their names.
TEST_F(RunTest, AStackThatIsTooSmallIsToldOf) {
#ifdef CQ_SANITIZED
  GTEST_SKIP() << "the sanitizer needs more itself";
#endif
  WriteFile(directory_.File("in.csv"), "a\n1\n");
  for (const auto& [kib, status] : {std::pair("64", 2), {"256", 0}}) {
    const Ended ended = TestProcess({"sh", "-c",
                                     std::string("ulimit -s ") + kib + "; exec " + CQ_PROGRAM +
                                         " run in.csv --slots 2 -- true"},
                                    directory_.path())
                            .Wait();
    EXPECT_EQ(ended.status, status) << kib << ended.err;
    EXPECT_EQ(ended.err.find("ulimit -s") != std::string::npos, status == 2) << ended.err;
  }
}

TEST_F(RunTest, ClosedStandardStreamsDoNoHarm) {
  WriteFile(directory_.File("in.csv"), "a,b\n1,2\n");
  const auto shell = [&](const std::string& redirections) {
    return TestProcess(
               {"bash", "-c", std::string(CQ_PROGRAM) + " run in.csv --fresh " + redirections},
               directory_.path())
        .Wait()
        .status;
  };
  for (const std::string options : {"-- true", "--quiet -- true"}) {
    EXPECT_EQ(shell(options + " 2>&-"), 0);
    EXPECT_EQ(shell(options + " <&- 2>&- >&-"), 0);
    EXPECT_EQ(shell(options + " 2>/dev/full >/dev/full"), 0);
    // A pipe whose reader has left.
    EXPECT_EQ(shell(options + " 2>&1 | true; exit ${PIPESTATUS[0]}"), 0);
    EXPECT_EQ(Column("cq_status"), Words{"ok"});
  }
  // What was asked for and cannot be given is an error.
  for (const std::string options : {"--json -- true", "-o - -- true"}) {
    EXPECT_EQ(shell(options + " >/dev/full"), 3);
  }
  std::filesystem::remove_all(directory_.File("in.cq"));
  for (const std::string options : {"--json -- true", "-o - -- true"}) {
    EXPECT_EQ(shell(options + " >&-"), 2);
    EXPECT_FALSE(std::filesystem::exists(directory_.File("in.cq")));
  }
  EXPECT_EQ(shell("- -- true <&-"), 2);
}

TEST_F(RunTest, ARunDirectoryInUseIsRefusedEvenWithFresh) {
  WriteFile(directory_.File("in.csv"), "a,b\n1,2\n");
  TestProcess first({CQ_PROGRAM, "run", "in.csv", "--", "sleep", "60"}, directory_.path());
  ASSERT_TRUE(Eventually([&] { return first.Err().find("worker 1 on") != std::string::npos; }));
  const Ended second = Cq({"run", "in.csv", "--fresh", "--", "true"}, directory_.path());
  EXPECT_EQ(second.status, 2);
  EXPECT_NE(second.err.find("in use"), std::string::npos) << second.err;
  EXPECT_EQ(Cq({"status"}, directory_.path()).status, 4);
  first.Signal(SIGTERM);
  EXPECT_EQ(first.Wait().status, 130);
  EXPECT_EQ(Cq({"status"}, directory_.path()).status, 5);
}

TEST_F(RunTest, StandardInputAndOutput) {
  WriteFile(directory_.File("in.csv"), "a,b\n1,2\n");
  TestProcess process(
      {CQ_PROGRAM, "run", "-", "-o", "-", "--stdout-column", "none", "--quiet", "--", "true"},
      directory_.path(), {}, directory_.File("in.csv"));
  const Ended ended = process.Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out.find("a,b,cq_task,cq_status,"), 0u);
  EXPECT_NE(ended.out.find("\n1,2,1,ok,0,,"), std::string::npos);
  EXPECT_EQ(ended.err, "");
}

TEST_F(RunTest, AnOutputThatIsNoRegularFileIsWrittenStraight) {
  EXPECT_EQ(Run("a,b\n1,2\n", {"-o", "/dev/null"}, {"true"}).status, 0);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST_F(RunTest, JsonSummarises) {
  const Ended ended = Run("a,b\n1,2\n0,4\n", {"--json", "--quiet"}, {"test", "{a}", "=", "1"});
  EXPECT_EQ(ended.status, 1);
  const auto json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json.at("ok"), 1);
  EXPECT_EQ(json.at("error"), 1);
  EXPECT_EQ(json.at("tasks"), 2);
  EXPECT_EQ(ended.err, "");
}

TEST_F(RunTest, TheOverheadOfEachTaskIsAccountedFor) {
  std::string csv = "a\n";
  for (int i = 0; i < 50; ++i) csv += "1\n";
  ASSERT_EQ(Run(csv, {"--slots", "2"}, {"sleep", "0.02"}).status, 0);
  const Ended json = Cq({"status", "in.cq", "--overhead", "--json"}, directory_.path());
  EXPECT_EQ(json.status, 0) << json.err;
  const auto ledger = nlohmann::json::parse(json.out);
  EXPECT_EQ(ledger["tasks"], 50);
  // A little may count as the start, as the worker sees it.
  EXPECT_GT(ledger["run_us"], 15'000);
  EXPECT_GT(ledger["spawn_us"], 0);
  EXPECT_GT(ledger["wire_us"], 0);
  EXPECT_GT(ledger["record_us"], 0);
  const double run = ledger["run_us"];
  const double overhead = double(ledger["spawn_us"]) + double(ledger["idle_us"]);
  EXPECT_NEAR(ledger["efficiency"], run / (run + overhead), 1e-9);
  EXPECT_NEAR(ledger["efficient_from_us"], 19 * overhead, 1e-6);
  const Ended text = Cq({"status", "in.cq", "--overhead"}, directory_.path());
  EXPECT_NE(text.out.find("means over 50 tasks"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("a task on"), std::string::npos) << text.out;
  const Ended none = Run("a\n", {"--fresh", "--quiet"}, {"true"});
  ASSERT_EQ(none.status, 0);
  EXPECT_NE(none.err.find("there are no rows"), std::string::npos) << none.err;
  EXPECT_NE(Cq({"status", "in.cq", "--overhead"}, directory_.path())
                .err.find("no task has been accounted for yet"),
            std::string::npos);
}

// What an earlier run says of rows with the same values, whatever else they have.
TEST_F(RunTest, AnEarlierRunSaysWhichRowsTakeLongest) {
  ASSERT_EQ(Run("a,note\n0.01,x\n1.5,y\n0.3,z\n", {"--slots", "3"}, {"sleep", "{a}"}).status, 0);
  std::filesystem::rename(directory_.File("in.cq"), directory_.File("before.cq"));
  const auto again = [&](const std::string& csv, const std::string& costs) {
    return Run(csv, {"--fresh", "--slots", "1", "--order", "lpt", "--costs", costs},
               {"sh", "-c", "echo {b} >> order"});
  };
  // A new one is as long as they are on average, which is twice as long as q.
  const Ended ended = again("b,a\np,0.01\nq,0.3\nr,7\ns,1.5\nt,1.5\n", "before.cq");
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Slurp(directory_.File("order")), "s\nt\nr\nq\np\n");
  EXPECT_NE(ended.err.find("how long 4 of 5 rows take is known from "), std::string::npos)
      << ended.err;
  // A run that goes on does not depend on it.
  std::filesystem::remove_all(directory_.File("before.cq"));
  EXPECT_EQ(Cq({"resume", "in.cq", "--rerun"}, directory_.path()).status, 0);
  const auto refused = [&](const Ended& refusal, const std::string& why) {
    EXPECT_EQ(refusal.status, 2);
    EXPECT_NE(refusal.err.find(why), std::string::npos) << refusal.err;
  };
  refused(again("b,a\np,0.01\n", "before.cq"), "it must be the directory of a run over rows");
  refused(again("b,a\nz,77\n", "in.cq"), "none of the rows is in that run");
  std::filesystem::rename(directory_.File("in.cq"), directory_.File("before.cq"));
  WriteFile(directory_.File("in.csv"), "c\n1\n");
  refused(Cq({"run", "in.csv", "--order", "lpt", "--costs", "before.cq", "--", "true"},
             directory_.path()),
          "that run has none of the columns of this input");
  refused(Cq({"run", "in.csv", "--costs", "in.cq", "--", "true"}, directory_.path()),
          "--order lpt and --cost COLUMN, or --costs RUN_DIR, go together");
}

TEST_F(RunTest, DryRunShowsAndStartsNothing) {
  const Ended ended = Run("a,b\n1,x y\n2,z\n", {"--dry-run", "-w", "2"}, {"echo", "{b}", "{#}"});
  EXPECT_EQ(ended.status, 0);
  EXPECT_NE(ended.out.find("2 rows"), std::string::npos);
  EXPECT_NE(ended.out.find("task 1: 'echo' 'x y' '1'"), std::string::npos) << ended.out;
  EXPECT_FALSE(Exists("in.cq"));
}

TEST_F(RunTest, BoundsOfWorkersAreCheckedAndShown) {
  for (const char* bad : {"2:", ":3", "1:2:3", "0:0", "a", "-1:3"}) {
    const Ended ended = Run("a\n1\n", {"-w", bad}, {"true"});
    EXPECT_EQ(ended.status, 2) << bad;
    EXPECT_NE(ended.err.find("N, or MIN:MAX"), std::string::npos) << ended.err;
  }
  EXPECT_NE(Run("a\n1\n", {"-w", "3:1"}, {"true"}).err.find("MIN is more than MAX"),
            std::string::npos);
  const Ended alone = Run("a\n1\n", {"-w", "2", "--idle-timeout", "1s"}, {"true"});
  EXPECT_EQ(alone.status, 2);
  EXPECT_NE(alone.err.find("--idle-timeout is for --workers MIN:MAX"), std::string::npos);
  EXPECT_NE(Run("a\n1\n", {"-w", "0:2", "--dry-run"}, {"true"})
                .out.find("0 to 2 workers × 1 slot = at most 2 tasks at a time"),
            std::string::npos);
}

TEST_F(RunTest, WithinBoundsLocalWorkersLeaveWhenTheyIdleAndTheLastRowsEnd) {
  const Ended ended =
      Run("a\n0\n0\n0\n3\n", {"-w", "0:3", "--idle-timeout", "200ms"}, {"sleep", "{a}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.err.find("left: it had nothing to do for 0.2 s"), std::string::npos) << ended.err;
}

TEST_F(RunTest, LogAndExportShowWhatHappened) {
  EXPECT_EQ(Run("a,b\n1,2\n", {}, {"sh", "-c", "echo out {a}; echo err >&2; exit 5"}).status, 1);
  const Ended log = Cq({"log", "1"}, directory_.path());
  EXPECT_EQ(log.status, 0) << log.err;
  for (const char* text :
       {"status: error", "exit: 5", "'echo out 1; ", "\nout 1\n", "--- stderr ---\nerr\n"}) {
    EXPECT_NE(log.out.find(text), std::string::npos) << text << log.out;
  }
  EXPECT_EQ(Cq({"log", "9"}, directory_.path()).status, 2);
  EXPECT_EQ(Cq({"export", "in.cq", "-o", "again.csv"}, directory_.path()).status, 0);
  EXPECT_EQ(Slurp(directory_.File("again.csv")), Slurp(Results()));
  EXPECT_EQ(Cq({"status", "in"}, directory_.path()).status, 1);
}

TEST_F(RunTest, EverySubcommandHasAHelpPageWithAnExample) {
  for (const char* subcommand : {"run", "resume", "status", "log", "export", "query", "cancel",
                                 "worker", "slot", "completion", "man"}) {
    const Ended help = Cq({subcommand, "--help"}, directory_.path());
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.out.find("usage: cq "), std::string::npos);
    EXPECT_NE(help.out.find("example:\n  "), std::string::npos);
  }
  EXPECT_EQ(Cq({"--version"}, directory_.path()).out.find("cq "), 0u);
}

TEST_F(RunTest, TheManualAndTheShellsKnowEveryOption) {
  const std::string manual = Cq({"man"}, directory_.path()).out;
  const std::string bash = Cq({"completion", "bash"}, directory_.path()).out;
  const std::string fish = Cq({"completion", "fish"}, directory_.path()).out;
  EXPECT_EQ(Cq({"completion", "csh"}, directory_.path()).status, 2);
  for (const std::string subcommand : {"run", "status", "log", "export", "worker", "cancel"}) {
    std::istringstream lines(Cq({subcommand, "--help"}, directory_.path()).out);
    int options = 0;
    for (std::string line; std::getline(lines, line);) {
      const size_t at = line.find("--");
      if (!line.starts_with("  -") || at == std::string::npos) continue;
      const std::string name = line.substr(at + 2, line.find(' ', at) - at - 2);
      ++options;
      std::string dashes = name;
      for (size_t i = 0; (i = dashes.find('-', i)) != std::string::npos; i += 2) {
        dashes.insert(i, "\\");
      }
      EXPECT_NE(manual.find("\\-\\-" + dashes), std::string::npos) << name;
      EXPECT_NE(bash.find("--" + name + " "), std::string::npos) << name;
      EXPECT_NE(fish.find("from " + subcommand + "' -l " + name), std::string::npos) << name;
    }
    EXPECT_GT(options, 0) << subcommand;
  }
  WriteFile(directory_.File("cq.bash"), bash);
  const Ended completed =
      TestProcess({"bash", "-c",
                   "source ./cq.bash; COMP_WORDS=(cq run p.csv --order ''); COMP_CWORD=4; _cq; "
                   "echo ${COMPREPLY[*]}; COMP_WORDS=(cq run p.csv --fen); COMP_CWORD=3; _cq; echo "
                   "${COMPREPLY[*]}"},
                  directory_.path())
          .Wait();
  EXPECT_EQ(completed.out, "fifo lpt\n--fence\n") << completed.err;
}

TEST_F(RunTest, WorkerInitReachesTheTasks) {
  EXPECT_EQ(
      Run("a,b\n1,2\n", {"--worker-init", "export MODULE=loaded"}, {"sh", "-c", "echo $MODULE"})
          .status,
      0);
  EXPECT_EQ(Column("cq_stdout")[0], "loaded");
}

TEST_F(RunTest, AWorkerInitThatFailsEndsTheRunWithItsLog) {
  const Ended ended =
      Run("a,b\n1,2\n", {"--worker-init", "echo no such module >&2; exit 9"}, {"true"});
  EXPECT_EQ(ended.status, 3);
  EXPECT_NE(ended.err.find("no such module"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("before it connected"), std::string::npos) << ended.err;
}

TEST_F(RunTest, AWorkerInitThatHangsEndsWithTheRun) {
  WriteFile(directory_.File("in.csv"), "a,b\n1,2\n");
  TestProcess run(
      {CQ_PROGRAM, "run", "in.csv", "--worker-init", "touch hanging; sleep 3600", "--", "true"},
      directory_.path(), {{"HANGS", directory_.path()}});
  ASSERT_TRUE(Eventually([&] { return Exists("hanging"); }));
  run.Signal(SIGTERM);
  EXPECT_EQ(run.Wait().status, 130);
  EXPECT_TRUE(
      Eventually([&] { return ProcessesWith("HANGS=" + directory_.path()).empty(); }, kASecond));
}

TEST_F(RunTest, ManySlotsUnderALowLimitOfDescriptors) {
  std::string csv = "a\n";
  for (int i = 1; i <= 300; ++i) csv += std::to_string(i) + "\n";
  WriteFile(directory_.File("in.csv"), csv);
  const Ended ended = TestProcess({"sh", "-c",
                                   "ulimit -Sn 256; exec " + std::string(CQ_PROGRAM) +
                                       " run in.csv --slots 100 -- sleep 0.1"},
                                  directory_.path())
                          .Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(300, "ok"));
  const Ended refused = TestProcess({"sh", "-c",
                                     "ulimit -n 256; exec " + std::string(CQ_PROGRAM) +
                                         " run in.csv --fresh --slots 100 -- true"},
                                    directory_.path())
                            .Wait();
  EXPECT_EQ(refused.status, 3) << refused.err;
  EXPECT_NE(refused.err.find("descriptors"), std::string::npos) << refused.err;
}

TEST_F(RunTest, TheConnectionFileIsPrivateAndTheServersKeyIsInNoOtherFile) {
  EXPECT_EQ(Run("a,b\n1,2\n", {}, {"true"}).status, 0);
  for (const char* name : {"in.cq/connect.json", "in.cq/server.key"}) {
    struct stat status {};
    ASSERT_EQ(stat(directory_.File(name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
  }
  const std::string key = Slurp(directory_.File("in.cq/server.key")).substr(0, 40);
  EXPECT_EQ(Slurp(directory_.File("in.cq/connect.json")).find(key), std::string::npos);
}

TEST_F(RunTest, WhereThePathIsTooLongForASocketLocalWorkersUseTcp) {
  const std::string deep = std::string(60, 'd') + "/" + std::string(60, 'e');
  std::filesystem::create_directories(directory_.File(deep));
  EXPECT_EQ(Run("a,b\n1,2\n", {"--run-dir", deep + "/run"}, {"echo", "{a}"}).status, 0);
  EXPECT_EQ(ReadConnectionFile(directory_.File(deep + "/run/connect.json")).local, "");
}

TEST_F(RunTest, WithoutWorkersOfItsOwnItWaitsForThoseThatOthersStart) {
  WriteFile(directory_.File("in.csv"), "a\n1\n2\n3\n");
  TestProcess run({CQ_PROGRAM, "run", "in.csv", "-w", "0", "--task-cpus", "2", "--", "echo", "{a}"},
                  directory_.path());
  ASSERT_TRUE(Eventually([&] { return run.Err().find("worker --connect") != std::string::npos; }))
      << run.Err();
  const auto work = [&](const char* cpus) {
    return TestProcess({"taskset", "-c", cpus, CQ_PROGRAM, "worker", "--connect",
                        "in.cq/connect.json", "--slots", "2"},
                       directory_.path());
  };
  // One that is too small ends nothing: another may come.
  TestProcess small = work("0");
  ASSERT_TRUE(Eventually([&] { return run.Err().find("worker 1 on") != std::string::npos; }))
      << run.Err();
  EXPECT_EQ(Cq({"scale", "in.cq", "-w", "2"}, directory_.path()).status, 3);
  TestProcess large = work("0-1");
  const Ended ended = run.Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_worker"), Words(3, "2"));
  EXPECT_EQ(large.Wait().status, 0);
  EXPECT_EQ(small.Wait().status, 0);
}

TEST_F(RunTest, AFullDiskEndsTheRunAndSaysSo) {
  WriteFile(directory_.File("in.csv"), "a,b\n1,2\n");
  std::filesystem::create_directory(directory_.File("small"));
  const std::string mount = "mount -t tmpfs -o size=1m tmpfs small && ";
  // In a mount namespace of its own; where that is not allowed there is no small disk to fill.
  const Words shell = {
      "unshare", "-m", "sh", "-c",
      mount +
          "for i in $(seq 2000); do echo $i,2; done > small/r.txt; (echo a,b; cat small/r.txt) > "
          "in.csv; "
          "rm small/r.txt; " +
          std::string(CQ_PROGRAM) +
          " run in.csv --run-dir small/r.cq -- head -c 3000 /dev/urandom; echo status $?"};
  if (TestProcess({"unshare", "-m", "sh", "-c", mount + "true"}, directory_.path()).Wait().status !=
      0) {
    GTEST_SKIP() << "no mount namespaces here";
  }
  const Ended ended = TestProcess(shell, directory_.path()).Wait();
  EXPECT_NE(ended.out.find("status 3"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("full"), std::string::npos) << ended.err;
}

}  // namespace
}  // namespace cq
