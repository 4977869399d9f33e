// Programs beside the master that name rows by the results so far: --propose and --ask.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "master/journal/database.h"
#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// All models between two penalties: another one between two neighbours that differ by more than one
// segment. What is next follows from two results, whichever came last.
const char* const kPath = R"(import cq
def segments(penalty):
    return {"segments": int(64 // penalty)}
def between(row, result, results):
    known = sorted((r["penalty"], r["segments"]) for r in results)
    at = known.index((row["penalty"], result["segments"]))
    near = known[max(at - 1, 0):at + 2]
    return [{"penalty": (a + b) / 2} for (a, m), (b, n) in zip(near, near[1:]) if m - n > 1 and b - a > 0.25]
cq.serve(segments, propose=between)
)";
const char* const kPathInR = R"(source(Sys.getenv("CQ_R"))
cq_serve(function(penalty) list(segments = 64 %/% penalty), propose = function(row, result, results) {
  known <- results[order(results$penalty), ]
  at <- which(known$penalty == row$penalty)
  rows <- list()
  for (i in c(at - 1, at)) if (i >= 1 && i < nrow(known)) {
    a <- known[i, ]
    b <- known[i + 1, ]
    if (a$segments - b$segments > 1 && b$penalty - a$penalty > 0.25) rows <- c(rows, list(list(penalty = (a$penalty + b$penalty) / 2)))
  }
  rows
})
)";

// The same one after the other.
void Between(double a, double b, std::set<double>& penalties) {
  const auto segments = [](double penalty) { return static_cast<int>(64 / penalty); };
  if (segments(a) - segments(b) <= 1 || b - a <= 0.25) return;
  const double middle = (a + b) / 2;
  penalties.insert(middle);
  Between(a, middle, penalties);
  Between(middle, b, penalties);
}
std::set<double> Path() {
  std::set<double> penalties{1, 64};
  Between(1, 64, penalties);
  return penalties;
}

class ProposeTest : public ::testing::Test {
 protected:
  ProposeTest() {
    File("in.csv", "penalty\n1.0\n64.0\n");
    File("path.py", kPath);
  }

  void File(const std::string& name, const std::string& text) {
    WriteFile(directory_.File(name), text);
  }
  Ended Run(const Words& words, const Words& command = {}) {
    Words all = {"run"};
    all.insert(all.end(), words.begin(), words.end());
    if (!command.empty()) all.push_back("--");
    all.insert(all.end(), command.begin(), command.end());
    return Cq(all, directory_.path());
  }
  Words Column(const std::string& name, const std::string& run = "in.cq") {
    return cq::Column(directory_.File(run + "/results.csv"), name);
  }
  // Each penalty once, and ok.
  void ExpectPath(const std::string& run = "in.cq") {
    std::set<double> penalties;
    const Words column = Column("penalty", run);
    for (const std::string& text : column) penalties.insert(std::stod(text));
    EXPECT_EQ(penalties, Path());
    EXPECT_EQ(Column("cq_status", run), Words(Path().size(), "ok"));
    // The first that led to it stands before it.
    const Words tasks = Column("cq_task", run);
    const Words parents = Column("cq_parent", run);
    for (size_t i = 2; i < tasks.size(); ++i) {
      EXPECT_LT(std::stoi(parents[i]), std::stoi(tasks[i])) << parents[i];
    }
  }
  uint64_t Results(const std::string& run = "in.cq") {
    try {
      Database journal(directory_.File(run + "/journal.db"), Database::Mode::kRead);
      auto count = journal.Prepare("SELECT count(*) FROM results");
      return count.Step() ? static_cast<uint64_t>(count.Int(0)) : 0;
    } catch (const std::exception&) {
      return 0;
    }
  }

  TemporaryDirectory directory_;
};

const Words kPropose = {"in.csv", "--propose", "--program", "python3 path.py"};

TEST_F(ProposeTest, WhatIsNextFollowsFromTheResultsSoFarInEachLanguage) {
  Ended ended = Run(kPropose);
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectPath();
  // Nothing is left to say.
  ended = Cq({"resume", "in.cq"}, directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_FALSE(Has(ended.err, "worker 1 on")) << ended.err;
  ExpectPath();
  ended = Run({"in.csv", "--run-dir", "cpp.cq", "--propose", "--function",
               std::string(CQ_FUNCTIONS) + ":segments"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectPath("cpp.cq");
  File("path.R", kPathInR);
  ended = Run({"in.csv", "--run-dir", "r.cq", "--propose", "--program", "Rscript path.R"});
  if (Has(ended.err, "Rscript' is not found") || Has(ended.err, "jsonlite")) {
    GTEST_SKIP() << "no R, or no jsonlite";
  }
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectPath("r.cq");
}

TEST_F(ProposeTest, KilledAgainAndAgainItGoesOnAsIfNothingHadBeen) {
  for (const uint64_t done : {1, 3, 7}) {
    TestProcess master({CQ_PROGRAM, "run", "in.csv", "--propose", "--program", "python3 path.py"},
                       directory_.path(), {{"PROPOSE_TEST", directory_.path()}});
    ASSERT_TRUE(Eventually([&] { return Results() >= done; })) << master.Err();
    master.Signal(SIGKILL);
    master.Wait();
    // Its proposer goes with it, and its workers.
    EXPECT_TRUE(
        Eventually([&] { return ProcessesWith("PROPOSE_TEST=" + directory_.path()).empty(); }));
  }
  const Ended ended = Run(kPropose);
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectPath();
}

// Whatever is killed, and whenever: it ends with what a sequential program finds.
TEST_F(ProposeTest, UnderKillsOfWorkersAndMastersItFindsTheSame) {
  std::string program = kPath;
  const std::string begin = "def segments(penalty):\n";
  program.replace(program.find(begin), begin.size(),
                  "import time\n" + begin + "    time.sleep(0.1)\n");
  File("path.py", program);
  const Words words = {CQ_PROGRAM,        "run", "in.csv", "--propose", "--program",
                       "python3 path.py", "-w",  "3",      "--slots",   "2",
                       "--crash-limit",   "100"};
  auto master = std::make_unique<TestProcess>(words, directory_.path());
  const uint64_t all = Path().size();
  int masters = 0;
  int workers = 0;
  for (uint64_t done = 2; done < all; done += 2) {
    ASSERT_TRUE(Eventually([&] { return Results() >= done || !Lives(master->pid()); }));
    if (!Lives(master->pid())) break;
    if (done % 3 == 0) {
      master->Signal(SIGKILL);
      master->Wait();
      master = std::make_unique<TestProcess>(words, directory_.path());
      ++masters;
      continue;
    }
    const auto some = DescendantsWith(master->pid(), "cq worker");
    if (some.empty()) continue;
    kill(some[done % some.size()], SIGKILL);
    ++workers;
  }
  const Ended ended = master->Wait();
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectPath();
  EXPECT_GE(masters, 2);
  EXPECT_GE(workers, 2);
}

TEST_F(ProposeTest, WhatItStartsEndsWithItsMaster) {
  File("path.py", "import subprocess\nsubprocess.Popen(['sleep', '600'])\n" + std::string(kPath));
  TestProcess master(
      {CQ_PROGRAM, "run", "in.csv", "--propose", "--program", "python3 path.py", "--slots", "1"},
      directory_.path(), {{"PROPOSE_TEST", directory_.path()}});
  const auto mine = [&] { return ProcessesWith("PROPOSE_TEST=" + directory_.path()); };
  ASSERT_TRUE(Eventually([&] { return Results() >= 1; })) << master.Err();
  master.Signal(SIGKILL);
  master.Wait();
  EXPECT_TRUE(Eventually([&] { return mine().empty(); }));
}

// What was answered is kept: a proposer that draws at random names each row once.
TEST_F(ProposeTest, WhatItAnsweredIsNotAskedAgain) {
  File("draw.py",
       "import cq, random, os\n"
       "random.seed(os.urandom(8))\n"
       "def draw(row, result, results):\n"
       "    if row['penalty'] > 5: return None\n"
       "    random.seed(os.urandom(8))\n"
       "    return {'penalty': row['penalty'] + 1 + random.random() / 4}\n"
       "cq.serve(lambda penalty: 0, propose=draw)\n");
  File("in.csv", "penalty\n1.0\n");
  for (const uint64_t done : {2, 3}) {
    TestProcess master({CQ_PROGRAM, "run", "in.csv", "--propose", "--program", "python3 draw.py"},
                       directory_.path());
    ASSERT_TRUE(Eventually([&] { return Results() >= done; })) << master.Err();
    master.Signal(SIGKILL);
    master.Wait();
  }
  const Ended ended = Run({"in.csv", "--propose", "--program", "python3 draw.py"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  // A chain: each led to one.
  const Words parents = Column("cq_parent");
  EXPECT_EQ(std::set<std::string>(parents.begin(), parents.end()).size(), parents.size());
}

TEST_F(ProposeTest, AProgramThatIsAskedNamesTheRows) {
  File("tune.py",
       "import cq\n"
       "print('it begins')\n"
       "seen = {}\n"
       "def tune(endings, want):\n"
       "    for e in endings:\n"
       "        seen[e['row']['x']] = e\n"
       "    ok = [e for e in seen.values() if e['status'] != 'waiting']\n"
       "    print(len(ok), want)\n"
       "    if len(ok) >= 12: return cq.DONE\n"
       "    rows = []\n"
       "    while len(rows) < want:\n"
       "        x = str(len(seen))\n"
       "        seen[x] = {'status': 'waiting'}\n"
       "        rows.append({'x': x})\n"
       "    return rows\n"
       "cq.ask(tune)\n");
  const Words command = {"sh", "-c", "[ {x} != 3 ] && echo {x}"};
  // There is no CSV: the command names the column.
  TestProcess master({CQ_PROGRAM, "run", "--ask", "python3 tune.py", "--slots", "2", "--run-dir",
                      "in.cq", "--", command[0], command[1], command[2]},
                     directory_.path());
  ASSERT_TRUE(Eventually([&] { return Results() >= 5; })) << master.Err();
  master.Signal(SIGKILL);
  master.Wait();
  Ended ended = Cq({"resume", "in.cq"}, directory_.path());
  // One of them failed, and was told, too.
  EXPECT_EQ(ended.status, 1) << ended.err;
  const Words xs = Column("x");
  EXPECT_GE(xs.size(), 12u);
  EXPECT_LE(xs.size(), 16u);
  for (size_t i = 0; i < xs.size(); ++i) EXPECT_EQ(xs[i], std::to_string(i));
  EXPECT_TRUE(Has(Slurp(directory_.File("in.cq/proposer.log")), "it begins\n0 4\n"))
      << Slurp(directory_.File("in.cq/proposer.log"));
  // It said that it is done.
  File("tune.py", "raise SystemExit('not again')\n");
  ended = Cq({"resume", "in.cq"}, directory_.path());
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_FALSE(Has(ended.err, "not again")) << ended.err;
  // Who adds rows may want to hear more.
  File("more.csv", "x\n99\n");
  EXPECT_EQ(Run({"in.csv", "--run-dir", "in.cq"}, command).status, 2);
  ended = Cq({"resume", "in.cq", "--failed", "--keep"}, directory_.path());
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(Has(ended.err, "not again")) << ended.err;
}

// And is told so again.
TEST_F(ProposeTest, WhoIsDoneMayEnd) {
  File("ask.py",
       "import sys, json\n"
       "def say(**answer): print(json.dumps(answer), flush=True)\n"
       "sys.stdin.readline()\n"
       "say(type='ready')\n"
       "ended = 0\n"
       "for line in sys.stdin:\n"
       "    told = json.loads(line)\n"
       "    ended += len(told['endings'])\n"
       "    if ended >= 3:\n"
       "        say(id=told['id'], done=True)\n"
       "        break\n"
       "    say(id=told['id'], rows=[{'penalty': 3}] if told['want'] else [])\n");
  const Words run = {"in.csv", "--ask", "python3 ask.py"};
  EXPECT_EQ(Run(run, {"echo", "{penalty}"}).status, 0);
  File("in.csv", "penalty\n1.0\n64.0\n65.0\n");
  const Ended ended = Run(run, {"echo", "{penalty}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(4, "ok"));
}

TEST_F(ProposeTest, OneOfItsTasksIsTriedAlone) {
  EXPECT_EQ(Run(kPropose).status, 0);
  const Ended ended = Cq({"test", "in.cq", "3"}, directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_TRUE(Has(ended.out, "segments")) << ended.out;
}

// What a program prints that the asked function starts is no answer.
TEST_F(ProposeTest, WhatTheOnesThatAreAskedStartMayPrint) {
  const auto prints = [&](const std::string& program, const std::string& log) {
    const Ended ended =
        Run({"in.csv", "--fresh", "--ask", program, "--seed", "1234567890123456789"},
            {"echo", "{penalty}"});
    if (Has(ended.err, "jsonlite") || Has(ended.err, "not found in PATH")) return;
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_TRUE(Has(Slurp(directory_.File("in.cq/proposer.log")), log)) << program;
  };
  File("ask.py",
       "import cq, os\n"
       "def ask(endings, want):\n"
       "    os.system('echo spoken')\n"
       "    return cq.DONE\n"
       "cq.ask(ask)\n");
  prints("python3 ask.py", "spoken\n");
  File("ask.R",
       "source(Sys.getenv('CQ_R'))\n"
       "cq_ask(function(endings, want) {\n"
       "  system('echo spoken')\n"
       "  print('printed')\n"
       "  cq_done()\n"
       "})\n");
  prints("Rscript ask.R", "spoken\n");
}

TEST_F(ProposeTest, ADryRunSaysWhoNamesRows) {
  const Ended ended = Run({"in.csv", "--dry-run", "--ask", "./no-such"}, {"echo", "{penalty}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_TRUE(Has(ended.out, "asked for rows: ./no-such")) << ended.out;
}

TEST_F(ProposeTest, AShellScriptWillDo) {
  WriteProgram(directory_.File("ask"),
               "#!/bin/sh\n"
               "read start; echo '{\"type\":\"ready\"}'\n"
               "n=0\n"
               "while read line; do\n"
               "  id=${line#*\\\"id\\\":}; id=${id%%,*}\n"
               "  n=$((n + 1))\n"
               "  [ $n -gt 4 ] && { echo \"{\\\"id\\\":$id,\\\"done\\\":true}\"; exit; }\n"
               "  echo \"{\\\"id\\\":$id,\\\"rows\\\":[{\\\"penalty\\\":$n}]}\"\n"
               "done\n");
  const Ended ended = Run({"in.csv", "--ask", "./ask"}, {"echo", "{penalty}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("penalty").size(), 6u);
  EXPECT_EQ(Column("cq_parent"), Words(6, ""));
}

// A budget of evaluations.
TEST_F(ProposeTest, NoMoreAreAskedForThanThereMayBe) {
  File("ask.py",
       "import cq\n"
       "n = 0\n"
       "def ask(endings, want):\n"
       "    global n\n"
       "    n += want\n"
       "    return [{'penalty': n - i} for i in range(want)]\n"
       "cq.ask(ask)\n");
  File("in.csv", "penalty\n");
  Ended ended =
      Run({"in.csv", "--ask", "python3 ask.py", "--max-tasks", "7"}, {"echo", "{penalty}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("penalty").size(), 7u);
  ended = Cq({"resume", "in.cq"}, directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("penalty").size(), 7u);
}

TEST_F(ProposeTest, WhoWaitsForNothingIsAskedOnceMore) {
  File("wait.py",
       "import cq\n"
       "def ask(endings, want):\n"
       "    print('want', want, len(endings))\n"
       "cq.ask(ask)\n");
  Ended ended = Run({"in.csv", "--ask", "python3 wait.py"}, {"echo", "{penalty}"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_TRUE(Has(ended.err, "its proposer names no new row, and nothing is left")) << ended.err;
  const std::string log = Slurp(directory_.File("in.cq/proposer.log"));
  EXPECT_TRUE(log.ends_with(" 0\n")) << log;
  // Rows that are there are no rows.
  File("wait.py",
       "import cq\n"
       "cq.ask(lambda endings, want: {'penalty': 1} if want else None)\n");
  File("in.csv", "penalty\n");
  ended = Run({"in.csv", "--fresh", "--ask", "python3 wait.py"}, {"echo", "{penalty}"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_TRUE(Has(ended.err, "its proposer names no new row")) << ended.err;
  EXPECT_EQ(Column("penalty"), Words{"1"});
}

TEST_F(ProposeTest, WhatItCannotDoEndsTheRunInOrder) {
  const auto ends = [&](const std::string& program, const std::string& why) {
    File("bad.py", program);
    const Ended ended =
        Run({"in.csv", "--fresh", "--ask", "python3 bad.py"}, {"echo", "{penalty}"});
    EXPECT_EQ(ended.status, 3) << program << ended.err;
    EXPECT_TRUE(Has(ended.err, why)) << ended.err;
    // What runs is finished, and kept.
    EXPECT_TRUE(Has(ended.err, "running tasks will be finished")) << ended.err;
    EXPECT_EQ(Column("penalty").size(), 2u);
  };
  const std::string begin = "import cq\ndef ask(endings, want):\n";
  ends(begin + "    return {'penalti': 3}\ncq.ask(ask)\n", "did you mean 'penalty'?");
  ends(begin + "    return 3\ncq.ask(ask)\n", "a proposer returns a dict, a list of dicts");
  ends(begin + "    raise ValueError('no idea')\ncq.ask(ask)\n", "ValueError: no idea");
  ends(begin + "    import sys\n    print('farewell')\n    sys.exit(4)\ncq.ask(ask)\n",
       "ended with status 4; its last words: farewell");
  const std::string raw =
      "import sys\nprint('{\"type\":\"ready\"}', flush=True)\n"
      "sys.stdin.readline()\nfor line in sys.stdin:\n    ";
  ends(raw + "print('hello', flush=True)\n", "it wrote 'hello', which is no line of JSON");
  ends(raw + "print('{\"id\": 77, \"rows\": []}', flush=True)\n",
       "answers what it was not told (id 77)");
  ends(raw + "print('[]', flush=True)\n", "an object with the 'id'");
  ends(raw + "print('x' * (17 << 20), end='', flush=True)\n", "a line of more than 16 MiB");
  ends(raw + "print('{\"id\": 1, \"rows\": [{\"penalty\": [1]}]}', flush=True)\n",
       "'penalty' is a list or an object");
}

TEST_F(ProposeTest, WhatCannotBeIsToldBeforeAnythingStarts) {
  const auto refused = [&](const Words& words, const Words& command, const std::string& why) {
    const Ended ended = Run(words, command);
    EXPECT_EQ(ended.status, 2) << ended.err;
    EXPECT_TRUE(Has(ended.err, why)) << ended.err;
    EXPECT_FALSE(Lives(0) || std::ifstream(directory_.File("in.cq/journal.db")).good());
  };
  refused({"in.csv", "--propose"}, {"echo", "{penalty}"}, "--propose is for --program");
  refused({"in.csv", "--propose", "--ask", "x", "--program", "python3 path.py"}, {},
          "a run has one proposer");
  refused({"in.csv", "--ask-ahead", "3"}, {"echo", "{penalty}"}, "--ask-ahead is for --ask");
  refused({"in.csv", "--ask", "no-such-program"}, {"echo", "{penalty}"}, "is not found in PATH");
  refused({"in.csv", "--ask", "python3 none.py"}, {"echo", "{penalty}"}, "before it was ready");
  refused({"in.csv", "--ask", "head -c 20000000 /dev/zero"}, {"echo", "{penalty}"},
          "a line of more than 16 MiB");
  refused({"--ask", "python3 none.py"}, {"echo", "x"}, "the command names no column");
  refused({"--ask", "python3 none.py", "--program", "x"}, {}, "--types alpha=number");
  File("plain.py", "import cq\ncq.serve(lambda penalty: 1)\n");
  refused({"in.csv", "--propose", "--program", "python3 plain.py"}, {}, "without propose=");
  refused({"in.csv", "--propose", "--function", std::string(CQ_FUNCTIONS) + ":same"}, {},
          "has no proposer of 'same'");
  // And the other way round.
  Ended ended = Run({"in.csv", "--program", "python3 path.py"});
  EXPECT_EQ(ended.status, 3) << ended.err;
  EXPECT_TRUE(Has(ended.err, "it proposes rows")) << ended.err;
  ended = Run({"in.csv", "--fresh", "--function", std::string(CQ_FUNCTIONS) + ":segments"});
  EXPECT_EQ(ended.status, 3) << ended.err;
  EXPECT_TRUE(Has(ended.err, "has a proposer (CQ_PROPOSE): cq run --propose")) << ended.err;
}

TEST_F(ProposeTest, RowsAreAddedToItsInputAndNoneAreTaken) {
  EXPECT_EQ(Run(kPropose).status, 0);
  File("in.csv", "penalty\n1.0\n64.0\n128.0\n");
  Ended ended = Run(kPropose);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("penalty").size(), Path().size() + 1);
  File("in.csv", "penalty\n1.0\n128.0\n");
  ended = Run(kPropose);
  EXPECT_EQ(ended.status, 2) << ended.err;
  EXPECT_TRUE(Has(ended.err, "--rerun starts anew")) << ended.err;
  Words again = kPropose;
  again.push_back("--rerun");
  ended = Run(again);
  EXPECT_EQ(ended.status, 0) << ended.err;
  // Between 1 and 128 are others.
  const Words penalties = Column("penalty");
  EXPECT_TRUE(std::find(penalties.begin(), penalties.end(), "64.5") != penalties.end());
  EXPECT_TRUE(std::find(penalties.begin(), penalties.end(), "32.5") == penalties.end());
}

// All models between two penalties of a real profile, as one after the other.
TEST_F(ProposeTest, TheExamplesFindWhatASequentialProgramFinds) {
  std::filesystem::copy(CQ_SOURCE_DIR "/examples/path", directory_.File("path"));
  std::filesystem::copy(CQ_SOURCE_DIR "/examples/changepoint", directory_.File("changepoint"));
  const std::string here = directory_.File("path");
  const std::map<std::string, std::string> environment = {
      {"PATH", CQ_BINARY_DIR "/bin:" + std::string(getenv("PATH"))}};
  WriteFile(here + "/ends.csv", "penalty\n5000.0\n100000.0\n");
  WriteFile(here + "/one_by_one.py",
            "import json, subprocess\n"
            "from crops import Crops\n"
            "crops, to_do = Crops(), [5000.0, 100000.0]\n"
            "for p in to_do:\n"
            "    m = json.loads(subprocess.check_output(['changepoint', '--penalty', repr(p),"
            " '../changepoint/Mono27ac.bedGraph']))\n"
            "    print(repr(p), m['segments'])\n"
            "    to_do += crops.add(p, m['segments'], m['loss'])\n");
  TestProcess one_by_one({"/usr/bin/env", "python3", "one_by_one.py"}, here, environment);
  const Ended sequential = one_by_one.Wait();
  ASSERT_EQ(sequential.status, 0) << sequential.err;
  std::set<std::string> models;
  std::istringstream lines(sequential.out);
  size_t tried = 0;
  for (std::string penalty, segments; lines >> penalty >> segments; ++tried) {
    models.insert(segments);
  }
  const auto expect = [&](const Words& options) {
    Words words = {"run", "ends.csv", "--fresh", "-o", "models.csv"};
    words.insert(words.end(), options.begin(), options.end());
    const Ended ended = Cq(words, here, environment);
    EXPECT_EQ(ended.status, 0) << ended.err;
    const Words found = cq::Column(here + "/models.csv", "segments");
    EXPECT_EQ(std::set<std::string>(found.begin(), found.end()), models);
    EXPECT_EQ(found.size(), tried);
  };
  expect({"--ask", "python3 ask.py", "--parse", "json", "--", "changepoint", "--penalty",
          "{penalty}", "../changepoint/Mono27ac.bedGraph"});
  expect({"--propose", "--program", "python3 path.py"});
  expect({"--propose", "--function", CQ_BINARY_DIR "/lib/libpath.so:fit"});
}

TEST_F(ProposeTest, ADrainedRunGoesOn) {
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--propose", "--program", "python3 path.py"},
                     directory_.path());
  ASSERT_TRUE(Eventually([&] { return Results() >= 3; })) << master.Err();
  Cq({"cancel", "in.cq", "--drain"}, directory_.path());
  master.Wait();
  const Ended ended = Cq({"resume", "in.cq"}, directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectPath();
}

}  // namespace
}  // namespace cq
