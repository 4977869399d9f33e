// Functions in R and Python: what they return, print, leave behind and do to their process.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

class LanguageTest : public ::testing::Test {
 protected:
  Words R(const std::string& code) {
    WriteFile(directory_.File("m.R"), "source(Sys.getenv('CQ_R'))\n" + code + "\n");
    return {"--program", "Rscript m.R"};
  }
  Words Python(const std::string& code) {
    WriteFile(directory_.File("m.py"), "import cq\n" + code + "\n");
    return {"--program", "python3 m.py"};
  }
  Ended Run(int rows, Words program, const Words& options = {}) {
    std::string csv = "x\n";
    for (int i = 1; i <= rows; ++i) csv += fmt::format("{}\n", i);
    WriteFile(directory_.File("in.csv"), csv);
    Words words = {"run", "in.csv", "--fresh", "-w", "1"};
    words.insert(words.end(), program.begin(), program.end());
    words.insert(words.end(), options.begin(), options.end());
    return Cq(words, directory_.path());
  }
  Words Column(const std::string& name) const {
    return cq::Column(directory_.File("in.cq/results.csv"), name);
  }
  std::string Log(int task) const {
    return Cq({"log", "in.cq", std::to_string(task)}, directory_.path()).out;
  }
  static bool Has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  TemporaryDirectory directory_;
};

TEST_F(LanguageTest, WhatAnRFunctionPrintsIsKeptHoweverItEnds) {
  const Ended ended =
      Run(4,
          R("cq_serve(function(x) {\n"
            "  cat('out', x, '\\n'); message('msg ', x); system(paste('echo sys', x))\n"
            "  if (x == 2) Sys.sleep(100)\n"
            "  if (x == 3) tools::pskill(Sys.getpid(), 9)\n"
            "  if (x == 4) quit('no', 3)\n"
            "  x })"),
          {"--task-timeout", "1s", "--crash-limit", "1"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "timeout", "crashed", "error"})) << ended.err;
  EXPECT_TRUE(Has(Column("cq_error")[3], "quit(status = 3)")) << Column("cq_error")[3];
  for (int task = 1; task <= 4; ++task) {
    for (const char* what : {"out", "msg", "sys"}) {
      EXPECT_TRUE(Has(Log(task), fmt::format("{} {}", what, task))) << Log(task);
    }
    EXPECT_FALSE(Has(Log(task), fmt::format("out {}", task % 4 + 1))) << Log(task);
  }
}

TEST_F(LanguageTest, WhatAProgramPrintsAtItsStartIsNoTasks) {
  for (const auto& program : {Python("print('loading'); cq.serve(lambda x: print('task', x))"),
                              R("cat('loading\\n'); cq_serve(function(x) cat('task', x))")}) {
    const Ended ended = Run(2, program);
    EXPECT_EQ(ended.status, 0) << ended.err;
    for (int task = 1; task <= 2; ++task) {
      EXPECT_TRUE(Has(Log(task), fmt::format("task {}", task))) << Log(task);
      EXPECT_FALSE(Has(Log(task), "loading")) << Log(task);
    }
    EXPECT_TRUE(Has(Slurp(directory_.File("in.cq/logs/local-1.log")), "loading"));
  }
}

TEST_F(LanguageTest, WhatAPythonFunctionPrintsIsKeptHoweverItEnds) {
  const Ended ended = Run(3,
                          Python("import os, sys, time, subprocess\n"
                                 "def f(x):\n"
                                 "  print('out', x); print('msg', x, file=sys.stderr)\n"
                                 "  subprocess.run(['echo', f'sys {x}'])\n"
                                 "  if x == 2: time.sleep(100)\n"
                                 "  if x == 3: os._exit(9)\n"
                                 "  return x\n"
                                 "cq.serve(f)"),
                          {"--task-timeout", "1s", "--crash-limit", "1"});
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "timeout", "crashed"})) << ended.err;
  for (int task = 1; task <= 3; ++task) {
    for (const char* what : {"out", "msg", "sys"}) {
      EXPECT_TRUE(Has(Log(task), fmt::format("{} {}", what, task))) << Log(task);
    }
  }
}

TEST_F(LanguageTest, ALongTasksOutputIsThereWhileItRuns) {
  WriteFile(directory_.File("in.csv"), "x\n1\n");
  const auto start = [&](const std::string& run_dir, const Words& program) {
    Words words = {CQ_PROGRAM, "run", "in.csv", "-w", "1", "--run-dir", run_dir};
    words.insert(words.end(), program.begin(), program.end());
    return std::make_unique<TestProcess>(words, directory_.path());
  };
  const auto r = start("r.cq", R("cq_serve(function(x) { cat('so far', x, '\\n'); while "
                                 "(!file.exists('go')) Sys.sleep(0.05); x })"));
  const auto python =
      start("python.cq", Python("import os, time\n"
                                "def f(x):\n"
                                "  print('so far', x)\n"
                                "  while not os.path.exists('go'): time.sleep(0.05)\n"
                                "cq.serve(f)"));
  for (const char* run_dir : {"r.cq", "python.cq"}) {
    std::string log;
    EXPECT_TRUE(Eventually(
        [&] {
          log = Cq({"log", run_dir, "1"}, directory_.path()).out;
          return Has(log, "so far 1");
        },
        std::chrono::seconds(60)));
    EXPECT_TRUE(Has(log, "pending")) << log;
  }
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(r->Wait().status, 0);
  EXPECT_EQ(python->Wait().status, 0);
}

TEST_F(LanguageTest, RValuesHaveTheirForms) {
  const Ended ended = Run(
      1, R("i64 <- function(high, low) structure(readBin(writeBin(c(low, high), raw()), 'double'), "
           "class = 'integer64')\n"
           "cq_serve(function(x) list(d = as.Date('2024-02-29'), y = as.Date('0012-03-04'), t = "
           "as.POSIXct(1.5, tz = 'UTC', "
           "origin "
           "= '1970-01-01'), h = as.difftime(1.5, units = 'hours'), i = i64(2097152L, 1L), m = "
           "i64(-1L, -1L), f = factor('level'), n = c(one = 5), 7, l = list(1, 2)))"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("d"), Words{"2024-02-29"});
  EXPECT_EQ(Column("y"), Words{"0012-03-04"});
  EXPECT_EQ(Column("t"), Words{"1970-01-01T00:00:01.5Z"});
  EXPECT_EQ(Column("h"), Words{"5400"});
  EXPECT_EQ(Column("i"), Words{"9007199254740993"});
  EXPECT_EQ(Column("m"), Words{"-1"});
  EXPECT_EQ(Column("f"), Words{"level"});
  EXPECT_EQ(Column("n"), Words{"5"});
  EXPECT_EQ(Column("V9"), Words{"7"});
  EXPECT_EQ(Column("l"), Words{""});
  // The whole of it is an object, too, of which the user is told.
  EXPECT_TRUE(Has(Log(1), "cq export --blob 1")) << Log(1);
  ASSERT_EQ(
      Run(1, R("cq_serve(function(x) data.frame(a = 1, b = 'two', a = 3, check.names = FALSE))"))
          .status,
      0);
  EXPECT_EQ(Column("a"), Words{"1"});
  EXPECT_EQ(Column("b"), Words{"two"});
  EXPECT_EQ(Column("a.1"), Words{"3"});
}

TEST_F(LanguageTest, RowsOfRDoNotDependOnTheirNeighbours) {
  const std::string draw = "c(u = runif(1), n = rnorm(1), s = sample(1000, 1))";
  ASSERT_EQ(Run(6, R("cq_serve(function(x) " + draw + ")"), {"--seed", "1"}).status, 0);
  const auto u = Column("u");
  const auto n = Column("n");
  const auto s = Column("s");
  const Ended ended =
      Run(6,
          R("cq_serve(function(x) {\n"
            "  r <- " +
            draw +
            "\n"
            "  suppressWarnings(RNGkind('Wichmann-Hill', 'Box-Muller', 'Rounding'))\n"
            "  options(digits = 2, OutDec = ','); setwd('/'); sink('/dev/null'); "
            "closeAllConnections()\n"
            "  if (getOption('digits') != 2) stop('options')\n"
            "  r })"),
          {"--seed", "1"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("u"), u);
  EXPECT_EQ(Column("n"), n);
  EXPECT_EQ(Column("s"), s);
  const Ended left = Run(4, R("cq_serve(function(x) {\n"
                              "  r <- list(d = getOption('digits'), w = basename(getwd()))\n"
                              "  options(digits = 3); setwd('/'); r })"));
  EXPECT_EQ(left.status, 0) << left.err;
  EXPECT_EQ(Column("d"), (Words{"7", "7", "7", "7"}));
  const std::string here = std::filesystem::path(directory_.path()).filename();
  EXPECT_EQ(Column("w"), (Words{here, here, here, here}));
  // A time limit that one sets is over with it.
  const Ended limits = Run(4, R("cq_serve(function(x) {\n"
                                "  if (x == 1) setTimeLimit(elapsed = 0.2)\n"
                                "  if (x == 2) setSessionTimeLimit(elapsed = 0.2)\n"
                                "  begin <- proc.time()[[3]]\n"
                                "  while (x > 2 && proc.time()[[3]] - begin < 0.4) sqrt(2)\n"
                                "  x })"));
  EXPECT_EQ(limits.status, 0) << limits.err;
}

TEST_F(LanguageTest, RowsOfPythonDoNotDependOnTheirNeighbours) {
  const Ended ended = Run(9, Python("import os\n"
                                    "def f(x):\n"
                                    "  here = os.path.basename(os.getcwd())\n"
                                    "  if x % 4 == 0: os.chdir('/')\n"
                                    "  if x % 4 == 1: os.fchdir(os.open('/', os.O_RDONLY))\n"
                                    "  if x % 4 == 2 and os.fork() == 0: return 'of a child'\n"
                                    "  if x % 4 == 3:\n"
                                    "    os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
                                    "  return {'w': here, 'task': os.environ['CQ_TASK']}\n"
                                    "cq.serve(f)"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("w"), Words(9, std::filesystem::path(directory_.path()).filename().string()));
  EXPECT_EQ(Column("task"), (Words{"1", "2", "3", "4", "5", "6", "7", "8", "9"}));
}

// Other ways to the same calls: a name of its own, and C, whose new directory is told at the latest
// at the end of a batch.
TEST_F(LanguageTest, NoWayToForkOrToMoveGoesUnnoticedInPython) {
  const Ended ended = Run(9, Python("import ctypes, os\n"
                                    "from os import chdir\n"
                                    "c = ctypes.CDLL(None)\n"
                                    "def f(x):\n"
                                    "  here = os.path.basename(os.getcwd())\n"
                                    "  if x == 2: chdir('/')\n"
                                    "  if x == 4 and c.fork() == 0: return 'of a child'\n"
                                    "  if x == 6: c.chdir(b'/')\n"
                                    "  return here\n"
                                    "cq.serve(f)"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  const std::string here = std::filesystem::path(directory_.path()).filename();
  const Words found = Column("result");
  std::string logs;
  for (int task = 1; task <= 9; ++task) logs += Log(task);
  for (size_t i = 0; i < found.size(); ++i) {
    if (i >= 6 && found[i] != here) {
      EXPECT_TRUE(Has(logs, "changed by other than os.chdir")) << logs;
    } else {
      EXPECT_EQ(found[i], here) << i;
    }
  }
}

// Small ones and missing ones of such a column are of the same class; also where all are doubles,
// such as 2^60.
TEST_F(LanguageTest, AColumnOfLargeIntegersHasOneClassInR) {
  const auto program =
      R("cq_serve(function(id, round, n) list(of = class(id)[1], round_of = class(round)[1],"
        " n_of = class(n)[1], back = id, text = paste(unclass(id))))");
  WriteFile(directory_.File("in.csv"),
            "id,round,n\n5,5,1\n9007199254740993,1152921504606846976,2\n"
            "-9223372036854775808,7,3\nNA,NA,4\n");
  Words words{"run", "in.csv", "-w", "1"};
  words.insert(words.end(), program.begin(), program.end());
  Ended ended = Cq(words, directory_.path());
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("of"), Words(4, "cq_int64"));
  EXPECT_EQ(Column("round_of"), Words(4, "cq_int64"));
  EXPECT_EQ(Column("n_of"), Words(4, "integer"));
  EXPECT_EQ(Column("back"), (Words{"5", "9007199254740993", "-9223372036854775808", ""}));
  EXPECT_EQ(Column("text"), (Words{"5", "9007199254740993", "-9223372036854775808", "NA"}));
  // An edit that makes it one holds for what runs from then on, and one that takes it back does
  // not.
  WriteFile(directory_.File("in.csv"), "id,round,n\n5,5,1\n6,6,9007199254740995\n");
  ended = Cq(words, directory_.path());
  ASSERT_EQ(ended.status, 0) << ended.err;
  WriteFile(directory_.File("in.csv"), "id,round,n\n5,5,1\n7,7,8\n");
  ended = Cq(words, directory_.path());
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("n_of"), (Words{"integer", "cq_int64"}));
  EXPECT_EQ(Column("of"), Words(2, "cq_int64"));
}

TEST_F(LanguageTest, Bit64TakesAColumnOfLargeIntegers) {
  TestProcess bit64({"Rscript", "-e", "bit64::as.integer64(1)"}, directory_.path());
  if (bit64.Wait().status != 0) GTEST_SKIP() << "without the R package bit64";
  const auto program =
      R("cq_serve(function(id) format(bit64::as.integer64(id) + bit64::as.integer64(2)))");
  WriteFile(directory_.File("in.csv"), "id\n9007199254740993\n");
  Words words = {"run", "in.csv", "-w", "1"};
  words.insert(words.end(), program.begin(), program.end());
  const Ended ended = Cq(words, directory_.path());
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("result"), (Words{"9007199254740995"}));
}

TEST_F(LanguageTest, AJumpToTheTopLevelOfRIsThatTasksError) {
  const Ended ended =
      Run(4, R("cq_serve(function(x) {\n"
               "  if (x == 2) invokeRestart('abort')\n"
               "  if (x == 3) return(withRestarts(invokeRestart('abort'), abort = function() 33))\n"
               "  x })"));
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "error", "ok", "ok"})) << ended.err;
  EXPECT_EQ(Column("cq_error")[1], "it called invokeRestart(\"abort\")");
  EXPECT_EQ(Column("result")[2], "33");
}

TEST_F(LanguageTest, ConnectionsThatRFunctionsLeaveOpenDoNotRunOut) {
  const Ended ended = Run(400, R("kept <- file(tempfile(), 'w+')\n"
                                 "cq_serve(function(x) {\n"
                                 "  for (i in 1:3) cat('x', file = file(tempfile(), 'w'))\n"
                                 "  cat(x, '\\n', file = kept); x })"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words(400, "ok"));
}

TEST_F(LanguageTest, WarningsStandInTheLogOfTheirTask) {
  ASSERT_EQ(Run(9, R("cq_serve(function(x) { if (x %% 3 == 0) warning('odd ', x); x })")).status,
            0);
  for (int task = 1; task <= 9; ++task) {
    EXPECT_EQ(Has(Log(task), "odd"), task % 3 == 0) << Log(task);
    EXPECT_EQ(Has(Log(task), fmt::format("odd {}", task)), task % 3 == 0) << Log(task);
  }
}

TEST_F(LanguageTest, AProgramThatDoesNotStartShowsAllThatItSaid) {
  const Ended r = Run(1, R("f <- function(x) stop('no data')\nmessage('loading')\nf(1)"));
  EXPECT_EQ(r.status, 3);
  for (const char* part : {"loading", "Error in f(1) : no data"})
    EXPECT_TRUE(Has(r.err, part)) << r.err;
  // Through a wrapper that closes what the worker speaks over.
  Python("cq.serve(lambda x: x)");
  WriteFile(directory_.File("w.py"),
            "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, 'm.py']))\n");
  const Ended wrapped = Run(1, {"--program", "python3 w.py"});
  EXPECT_EQ(wrapped.status, 3);
  EXPECT_TRUE(Has(wrapped.err, "descriptors 3 and 4")) << wrapped.err;
  R("cq_serve(function(x) x)");
  WriteFile(directory_.File("w.py"),
            "import subprocess, sys\nsys.exit(subprocess.call(['Rscript', 'm.R']))\n");
  const Ended wrapped_r = Run(1, {"--program", "python3 w.py"});
  EXPECT_EQ(wrapped_r.status, 3);
  EXPECT_TRUE(Has(wrapped_r.err, "descriptors 3 and 4")) << wrapped_r.err;
}

TEST_F(LanguageTest, WhatAFunctionStartsCannotSpeakForIt) {
  const std::string meddle = "(cat <&3 & echo junk >&4; kill $!) 2>/dev/null; true";
  EXPECT_EQ(Run(3, R("cq_serve(function(x) { system(\"" + meddle + "\"); x })")).status, 0);
  EXPECT_EQ(Column("result"), (Words{"1", "2", "3"}));
  EXPECT_EQ(Run(3, Python("import subprocess\n"
                          "def f(x):\n"
                          "  subprocess.run(\"\"\"" +
                          meddle +
                          "\"\"\", shell=True, close_fds=False)\n"
                          "  return x\n"
                          "cq.serve(f)"))
                .status,
            0);
  EXPECT_EQ(Column("result"), (Words{"1", "2", "3"}));
}

TEST_F(LanguageTest, WhateverPythonReturnsOrRaisesIsAValueOrAnError) {
  const Ended ended = Run(
      13, Python("import datetime, decimal, sys, threading\n"
                 "class Bad(Exception):\n"
                 "  def __str__(self): raise ValueError\n"
                 "def f(x):\n"
                 "  if x == 1: return {'a': 1, 'b': object()}\n"
                 "  if x == 2: return '\\ud800'\n"
                 "  if x == 3: raise ValueError('\\ud800')\n"
                 "  if x == 4: return {'a': 10**400, 'b': 2**64, 'c': decimal.Decimal('0.10')}\n"
                 "  if x == 5: sys.exit('said')\n"
                 "  if x == 6: return {'a': datetime.date(2024, 2, 29), 'b': "
                 "datetime.timedelta(hours=1)}\n"
                 "  if x == 7: raise Bad\n"
                 "  if x == 8: return {'\\udc00': 1, 'b': 1}\n"
                 "  if x == 10: return {'a': threading.Lock(), 'b': 1}\n"
                 "  if x == 11: return {'a': 'x\\ud800', 'b': 1}\n"
                 "  if x == 12: return threading.Lock()\n"
                 "  if x == 13: raise ValueError('\\n')\n"
                 "  if x == 9: raise KeyboardInterrupt\n"
                 "cq.serve(f)"));
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "error", "ok", "error", "ok", "error", "ok",
                                        "error", "ok", "ok", "error", "error"}))
      << ended.err;
  // A record keeps what can be said of it.
  EXPECT_EQ(Column("result")[1], "\xef\xbf\xbd");
  EXPECT_EQ(Column("b")[7], "1");
  EXPECT_EQ(Column("a")[9], "");
  EXPECT_EQ(Column("b")[9], "1");
  EXPECT_EQ(Column("a")[10], "x\xef\xbf\xbd");
  EXPECT_EQ(Column("b")[10], "1");
  EXPECT_EQ(Column("cq_error")[12], "ValueError");
  EXPECT_EQ(Column("a")[0], "1");
  EXPECT_EQ(Column("b")[0], "");
  EXPECT_EQ(Column("a")[3], "1" + std::string(400, '0'));
  EXPECT_EQ(Column("b")[3], "18446744073709551616");
  EXPECT_EQ(Column("c")[3], "0.10");
  EXPECT_TRUE(Has(Column("cq_error")[4], "said"));
  EXPECT_EQ(Column("a")[5], "2024-02-29");
  EXPECT_EQ(Column("b")[5], "3600");
  EXPECT_EQ(Column("cq_attempts"), Words(13, "1"));
}

TEST_F(LanguageTest, ChildrenOfPythonsPoolsDoNotServe) {
  for (const char* method : {"spawn", "forkserver", "fork"}) {
    const Ended ended = Run(
        2,
        Python(fmt::format("import multiprocessing, concurrent.futures\n"
                           "def g(x): return 2 * x\n"
                           "def f(x):\n"
                           "  context = multiprocessing.get_context('{}')\n"
                           "  with context.Pool(2) as pool: a = sum(pool.map(g, range(x + 1)))\n"
                           "  with concurrent.futures.ProcessPoolExecutor(2, context) as e:\n"
                           "    b = sum(e.map(g, range(x + 1)))\n"
                           "  return {{'a': a, 'b': b}}\n"
                           "cq.serve(f)",
                           method)),
        {"--task-timeout", "40s"});
    EXPECT_EQ(ended.status, 0) << method << ended.err << Log(1);
    EXPECT_EQ(Column("a"), (Words{"2", "6"})) << method;
    EXPECT_EQ(Column("b"), (Words{"2", "6"})) << method;
  }
}

// A page that processes share counts once.
TEST_F(LanguageTest, SharedMemoryIsNotCountedTwice) {
  const std::string code =
      "big <- rnorm(25e6)\n"
      "cq_serve(function(x) sum(unlist(parallel::mclapply(1:4, function(i) { Sys.sleep(1); "
      "sum(big[i]) }, "
      "mc.cores = 4))))";
  const Ended ended = Run(1, R(code), {"--task-memory", "500M"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_status"), Words{"ok"}) << Column("cq_error")[0];
}

// Daemonised, in a session of its own, with an empty environment, while another slot is busy.
TEST_F(LanguageTest, AnOrphanWithoutAnEnvironmentEndsWithItsTask) {
  WriteFile(directory_.File("in.csv"), "x\n1\n2\n");
  // Quoted in the command, so that only the orphan's own line holds it.
  const std::string token = fmt::format("98{}", getpid());
  const std::string quoted = fmt::format("98''{}", getpid());
  TestProcess run({CQ_PROGRAM, "run", "in.csv", "-w", "1", "--slots", "2", "--", "sh", "-c",
                   "if [ {x} = 1 ]; then (setsid env -i sleep " + quoted +
                       " </dev/null >/dev/null 2>&1 &); echo x > left; else while [ ! -e go ]; do "
                       "sleep 0.05; done; fi"},
                  directory_.path());
  EXPECT_TRUE(Eventually([&] { return !Slurp(directory_.File("left")).empty(); })) << run.Err();
  const auto done = [&] {
    return Has(Cq({"query", "in.cq", "SELECT count(*) AS n FROM results"}, directory_.path()).out,
               "n\n1");
  };
  EXPECT_TRUE(Eventually(done));
  EXPECT_TRUE(DescendantsWith(run.pid(), "sleep " + token).empty());
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(run.Wait().status, 0);
}

TEST_F(LanguageTest, WhatIsNotMeasuredIsMissing) {
  ASSERT_EQ(Run(1, Python("cq.serve(lambda x: x)")).status, 0);
  EXPECT_EQ(Column("cq_max_rss_kb"), Words{""});
  const Ended kept =
      Cq({"query", "in.cq", "SELECT user_us IS NULL AS n FROM results"}, directory_.path());
  EXPECT_EQ(kept.out, "n\n1\n");
}

}  // namespace
}  // namespace cq
