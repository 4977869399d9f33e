// Programs that are started once per slot: C++ functions, Python and R through their helpers, and
// programs that misbehave.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <random>
#include <set>
#include <sstream>

#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

class ProgramTest : public ::testing::Test {
 protected:
  Ended Run(const std::string& csv, const Words& options) {
    WriteFile(directory_.File("in.csv"), csv);
    Words words = {"run", "in.csv", "--fresh"};
    words.insert(words.end(), options.begin(), options.end());
    return Cq(words, directory_.path());
  }
  Words Column(const std::string& name) {
    return cq::Column(directory_.File("in.cq/results.csv"), name);
  }
  std::string Query(const std::string& sql) {
    return Cq({"query", "in.cq", sql}, directory_.path()).out;
  }
  // A program in Python that serves this function.
  std::string Python(const std::string& function) {
    WriteFile(directory_.File("m.py"),
              "import cq, os, sys, random, math\n" + function + "\ncq.serve(f)\n");
    return "python3 m.py";
  }
  std::string R(const std::string& function) {
    WriteFile(directory_.File("m.R"), "source(Sys.getenv('CQ_R'))\ncq_serve(" + function + ")\n");
    return "Rscript m.R";
  }
  static std::string Function(const std::string& name) {
    return std::string(CQ_FUNCTIONS) + ":" + name;
  }
  static std::string Numbers(int count) {
    std::string csv = "n\n";
    for (int i = 1; i <= count; ++i) csv += std::to_string(i) + "\n";
    return csv;
  }

  // The command of a run of 40,000 rows of which one waits for the file `go`.
  Words WaitingLate(const std::string& slots) {
    WriteFile(directory_.File("in.csv"), Numbers(40'000));
    return {CQ_PROGRAM, "run", "in.csv", "--slots", slots, "--function", Function("waits_late")};
  }

  // Each row has twice its number.
  void ExpectDoubled(int rows) {
    Words expected;
    for (int i = 1; i <= rows; ++i) expected.push_back(std::to_string(2 * i));
    EXPECT_TRUE(Column("result") == expected);
  }

  TemporaryDirectory directory_;
};

// Functions that return what the columns hold, in each language.
class EchoTest : public ProgramTest, public ::testing::WithParamInterface<const char*> {
 protected:
  Words Options(const std::string& columns) {
    const std::string language = GetParam();
    if (language == "Cpp") return {"--function", Function("echo_" + columns)};
    if (language == "Python")
      return {"--program", Python("def f(**row): return {'out_' + k: v for k, v in row.items()}")};
    return {"--program",
            R("function(...) { r <- list(...); names(r) <- paste0('out_', names(r)); r }")};
  }
};

TEST_P(EchoTest, EveryKindOfValueComesBack) {
  const Ended ended =
      Run("i,x,b,s\n"
          "9223372036854775807,0.1,true,\"a,\"\"b\"\"\"\n"
          "-9223372036854775808,-0.0,FALSE,  spaces \n"
          "9007199254740993,NaN,,\xc3\xa9\n"
          "0,Inf,true,NA\n"
          ",-inf,true,\"two\nlines\"\n"
          "1,5e-324,NA,\xf0\x9f\x90\x84\n"
          "NA,1.7976931348623157e308,true,\\\"\n"
          "2,,true,\n",
          Options("all"));
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("out_i"), (Words{"9223372036854775807", "-9223372036854775808",
                                    "9007199254740993", "0", "", "1", "", "2"}));
  EXPECT_EQ(Column("out_x"),
            (Words{"0.1", "-0", "NaN", "Inf", "-Inf", "5e-324", "1.7976931348623157e+308", ""}));
  EXPECT_EQ(Column("out_b"), (Words{"true", "false", "", "true", "true", "", "true", "true"}));
  EXPECT_EQ(Column("out_s"), (Words{"a,\"b\"", "  spaces ", "\xc3\xa9", "NA", "two\nlines",
                                    "\xf0\x9f\x90\x84", "\\\"", ""}));
}

TEST_P(EchoTest, EveryDoubleSurvivesBitForBit) {
  constexpr int kRows = 10'000;
  constexpr int kColumns = 10;
  std::mt19937_64 random(1);
  std::string csv;
  for (int c = 0; c < kColumns; ++c) csv += (c == 0 ? "x" : ",x") + std::to_string(c);
  csv += '\n';
  std::vector<double> sent;
  for (int i = 0; i < kRows * kColumns; ++i) {
    double value = std::bit_cast<double>(random());
    while (!std::isfinite(value)) value = std::bit_cast<double>(random());
    sent.push_back(value);
    char text[40];
    std::string digits(text, std::to_chars(text, text + sizeof text, value).ptr);
    // Digits alone are an integer, or a name.
    if (digits.find_first_of(".e") == std::string::npos) digits += ".0";
    csv += digits;
    csv += i % kColumns == kColumns - 1 ? '\n' : ',';
  }
  const Ended ended = Run(csv, Options("numbers"));
  ASSERT_EQ(ended.status, 0) << ended.err;
  const auto rows = ReadCsv(directory_.File("in.cq/results.csv"));
  const size_t first =
      static_cast<size_t>(std::find(rows[0].begin(), rows[0].end(), "out_x0") - rows[0].begin());
  ASSERT_EQ(rows.size(), kRows + 1u);
  size_t different = 0;
  for (size_t i = 0; i < sent.size(); ++i) {
    const std::string& text = rows[1 + i / kColumns][first + i % kColumns];
    double value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    different += std::bit_cast<uint64_t>(value) != std::bit_cast<uint64_t>(sent[i]);
  }
  EXPECT_EQ(different, 0u);
}

INSTANTIATE_TEST_SUITE_P(Languages, EchoTest, ::testing::Values("Cpp", "Python", "R"),
                         [](const auto& language) { return std::string(language.param); });

// The second task of a batch goes on when the test says so, which it does once it has the first's
// result.
TEST_P(EchoTest, AnAnswerDoesNotWaitForTheNextTask) {
  const std::string language = GetParam();
  const Words program =
      language == "Cpp" ? Words{"--function", Function("waits")}
      : language == "Python"
          ? Words{"--program", Python("def f(n):\n  while n == 2 and not os.path.exists('go'):\n"
                                      "    __import__('time').sleep(0.01)\n  return n")}
          : Words{"--program", R("function(n) {\n  while (n == 2 && !file.exists('go')) "
                                 "Sys.sleep(0.01)\n  n\n}")};
  WriteFile(directory_.File("in.csv"), Numbers(2));
  Words words = {"run", "in.csv", "--slots", "1", "--chunk", "2"};
  words.insert(words.end(), program.begin(), program.end());
  words.insert(words.begin(), CQ_PROGRAM);
  TestProcess run(words, directory_.path());
  EXPECT_TRUE(Eventually([&] { return Query("SELECT task FROM results") == "task\n1\n"; }));
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(run.Wait().status, 0);
  EXPECT_EQ(Column("result"), (Words{"1", "2"}));
}

TEST_F(ProgramTest, AFunctionTakesColumnsByNameAndConstants) {
  const Ended ended =
      Run("b,a\n1,10\n2,20\n", {"--const", "k=0.5", "--function", Function("weigh")});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("result"), (Words{"10.5", "20.5"}));
}

TEST_F(ProgramTest, ErrorsOfTheUsersCodeEndTheirTaskAndTheProgramLivesOn) {
  for (const Words& options :
       {Words{"--function", Function("fragile")},
        Words{"--program",
              Python("calls = 0\ndef f(n):\n global calls\n calls += 1\n"
                     " if n == 3: raise ValueError('three is too much')\n return calls")},
        Words{"--program", R("local({ calls <- 0; function(n) { calls <<- calls + 1; if (n == 3) "
                             "stop('three is too much'); calls } })")}}) {
    Words all = {"--slots", "1"};
    all.insert(all.end(), options.begin(), options.end());
    const Ended ended = Run(Numbers(5), all);
    EXPECT_EQ(ended.status, 1) << ended.err;
    EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "error", "ok", "ok"}));
    EXPECT_EQ(Column("result"), (Words{"1", "2", "", "4", "5"}));
    EXPECT_NE(Column("cq_error")[2].find("three is too much"), std::string::npos);
    EXPECT_EQ(Query("SELECT count(*) AS n FROM failures"), "n\n0\n");
  }
}

TEST_F(ProgramTest, OnlyTheGuiltyTaskOfABatchIsCharged) {
  for (const Words& options :
       {Words{"--function", Function("deadly")},
        Words{"--program", Python("def f(n):\n if n == 300: os._exit(9)\n return n")}}) {
    Words all = {"--slots", "1"};
    all.insert(all.end(), options.begin(), options.end());
    const Ended ended = Run(Numbers(600), all);
    EXPECT_EQ(ended.status, 1) << ended.err;
    EXPECT_EQ(
        Query("SELECT task, outcome, attempts FROM results WHERE outcome <> 0 OR attempts > 1"),
        "task,outcome,attempts\n300,2,3\n");
    EXPECT_EQ(Query("SELECT task, count(*) AS n FROM failures"), "task,n\n300,2\n");
  }
}

// What a program loads may take long: no slot waits for another's. Each start waits here for the
// other one.
TEST_F(ProgramTest, TheSlotsStartTheirProgramsAtTheSameTimeAndNoMoreThanThereAreTasks) {
  WriteFile(directory_.File("p.py"),
            "import cq, os, time\nopen('starts', 'a').write('x')\n"
            "while os.path.getsize('starts') < 2: time.sleep(0.01)\n"
            "cq.serve(lambda n: n)\n");
  EXPECT_EQ(Run("n\n1\n2\n", {"--slots", "4", "--program", "python3 p.py"}).status, 0);
  EXPECT_EQ(Column("result"), (Words{"1", "2"}));
  EXPECT_EQ(Slurp(directory_.File("starts")), "xx");
}

TEST_F(ProgramTest, WhatDoesNotFitIsToldBeforeTheFirstTask) {
  const std::vector<std::pair<Words, const char*>> wrong = {
      {{"--function", Function("zebra")}, "takes a column 'zebra'"},
      {{"--function", Function("echo_all")}, "takes 4 parameters"},
      {{"--function", Function("whole")},
       "parameter 1 of 'whole' is integer, column 'a' is number"},
      {{"--function", Function("nothing")}, "no function 'nothing'"},
      {{"--function", "missing.so:f"}, "cannot be loaded"},
      {{"--program", Python("def f(a): return a")}, "cannot be called with the columns"},
      {{"--program", R("function(a) a")}, "cannot be called with the columns"},
      {{"--program", "no-such-program"}, "cannot be started"},
      {{"--program", "true"}, "ended before it was ready"},
      {{"--program", "Rscript no-such-file.R"}, "cannot open file 'no-such-file.R'"},
      {{"--program", "echo"}, "ended before it was ready"}};
  for (const auto& [options, reason] : wrong) {
    const Ended ended = Run("b,a\n1,1.5\n", options);
    EXPECT_EQ(ended.status, 3) << options[1] << ended.err;
    EXPECT_NE(ended.err.find(reason), std::string::npos) << options[1] << ": " << ended.err;
  }
  const Ended both = Run("a\n1\n", {"--program", "cat", "--", "true"});
  EXPECT_EQ(both.status, 2);
  EXPECT_NE(both.err.find("choose one"), std::string::npos) << both.err;
}

TEST_F(ProgramTest, TypesAreFoundOverTheWholeColumnShownAndOverridden) {
  const std::string csv = "i,x,b,s,z,e\n1,1,true,a,007,\n2,2.5,FALSE,b,12,NA\n";
  const Ended shown = Run(csv, {"--dry-run", "--program", "cat"});
  EXPECT_NE(shown.out.find("types: i integer, x number, b boolean, s string, z string, e string"),
            std::string::npos)
      << shown.out;
  const Ended ended = Run(csv, {"--types", "i=string", "--program",
                                Python("def f(**r): return type(r['i']).__name__")});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("result"), (Words{"str", "str"}));
  EXPECT_EQ(Run(csv, {"--types", "q=string", "--program", "cat"}).status, 2);
  EXPECT_EQ(Run(csv, {"--types", "i=word", "--program", "cat"}).status, 2);
}

TEST_F(ProgramTest, PrintsBelongToTheirTasks) {
  Words expected;
  for (int i = 1; i <= 200; ++i) expected.push_back(i % 7 == 0 ? fmt::format("task {}", i) : "");
  for (const std::string& program :
       {Python("def f(n):\n if n % 7 == 0: print('task', n)\n return n"),
        R("function(n) { if (n %% 7 == 0) cat('task ', n, '\\n', sep = ''); n }")}) {
    ASSERT_EQ(Run(Numbers(200), {"--slots", "1", "--program", program}).status, 0);
    EXPECT_EQ(Column("cq_stdout"), expected);
  }
}

// A program without marks: what it prints is its batch's.
TEST_F(ProgramTest, PrintsWithoutMarksBelongToTheBatch) {
  ASSERT_EQ(Run(Numbers(50), {"--slots", "1", "--stdout-column", "64K", "--program",
                              Python("def f(n):\n os.write(1, b'<%d>' % n)\n return n")})
                .status,
            0);
  std::string all;
  for (const std::string& text : Column("cq_stdout")) all += text;
  for (int i = 1; i <= 50; ++i) EXPECT_NE(all.find(fmt::format("<{}>", i)), std::string::npos) << i;
}

TEST_F(ProgramTest, ATaskFindsItsNumberAndSeedAndTheGeneratorIsSeeded) {
  const std::string python = Python(
      "def f(n): return {'task': int(os.environ['CQ_TASK']), 'seed': "
      "int(os.environ['CQ_SEED']), 'u': random.random()}");
  ASSERT_EQ(Run(Numbers(50), {"--seed", "1", "--program", python}).status, 0);
  const auto seeds = Column("seed");
  const auto draws = Column("u");
  EXPECT_EQ(Column("task")[41], "42");
  ASSERT_EQ(Run(Numbers(50), {"--seed", "1", "--slots", "1", "--program", python}).status, 0);
  EXPECT_EQ(Column("seed"), seeds);
  EXPECT_EQ(Column("u"), draws);
  ASSERT_EQ(Run(Numbers(50), {"--seed", "1", "--function", Function("seed_of")}).status, 0);
  EXPECT_EQ(Column("result"), seeds);
  // R's generator is seeded when it is first used, whoever asks.
  const std::string r =
      R("function(n) { first <- if (n %% 3 == 0) .Random.seed else if (n %% 3 == 1) RNGkind();"
        " u <- runif(1); seed <- as.integer(Sys.getenv('CQ_SEED')); set.seed(seed);"
        " list(task = as.integer(Sys.getenv('CQ_TASK')), seed = seed, same = u == runif(1)) }");
  ASSERT_EQ(Run(Numbers(50), {"--seed", "1", "--program", r}).status, 0);
  EXPECT_EQ(Column("task")[41], "42");
  EXPECT_EQ(Column("seed"), seeds);
  EXPECT_EQ(Column("same"), Words(50, "true"));
}

TEST_F(ProgramTest, AnyOtherObjectTravelsAsABlob) {
  ASSERT_EQ(
      Run("n\n5\n", {"--program", Python("def f(n): return cq.Result({'y': n}, blob=[1, (2, n)])")})
          .status,
      0);
  EXPECT_EQ(Column("y"), (Words{"5"}));
  EXPECT_EQ(Cq({"export", "in.cq", "--blob", "1", "-o", "object"}, directory_.path()).status, 0);
  EXPECT_EQ(
      TestProcess({"python3", "-c", "import pickle; print(pickle.load(open('object', 'rb')))"},
                  directory_.path())
          .Wait()
          .out,
      "[1, (2, 5)]\n");
  ASSERT_EQ(
      Run("n\n5\n", {"--program", R("function(n) lm(y ~ x, data.frame(x = 1:9, y = (1:9) * n))")})
          .status,
      0);
  EXPECT_EQ(Cq({"export", "in.cq", "--blob", "1", "-o", "object"}, directory_.path()).status, 0);
  EXPECT_EQ(
      TestProcess({"Rscript", "-e", "cat(round(coef(readRDS('object'))[[2]]))"}, directory_.path())
          .Wait()
          .out,
      "5");
  EXPECT_EQ(Cq({"export", "in.cq", "--blob", "2"}, directory_.path()).status, 2);
}

TEST_F(ProgramTest, TimeLimitsEndOneTaskAndItsProgram) {
  const Ended ended =
      Run(Numbers(6), {"--slots", "1", "--task-timeout", "1s", "--program",
                       Python("import time\ndef f(n):\n if n == 4: time.sleep(60)\n return n")});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "ok", "timeout", "ok", "ok"}));
}

TEST_F(ProgramTest, MemoryLimitsEndOneTaskAndItsProgram) {
  const Ended ended =
      Run(Numbers(6), {"--slots", "1", "--task-memory", "300M", "--program",
                       Python("import time\ndef f(n):\n if n == 4:\n  b = bytearray(600 << 20)\n  "
                              "time.sleep(5)\n return n")});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "ok", "memory", "ok", "ok"}));
}

TEST_F(ProgramTest, BytesThatJsonCannotCarryEndTheirTask) {
  const Ended ended =
      Run("s\nfine\n\xff\xfe\nalso fine\n", {"--program", Python("def f(s): return s")});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "error", "ok"}));
  EXPECT_NE(Column("cq_error")[1].find("UTF-8"), std::string::npos);
  ASSERT_EQ(Run("s\n\xff\xfe\n", {"--function", Function("same")}).status, 0);
  // A CSV is UTF-8; the journal has the bytes.
  EXPECT_EQ(Column("result"), (Words{"\xEF\xBF\xBD\xEF\xBF\xBD"}));
}

TEST_F(ProgramTest, TheExamplesRun) {
  const std::string examples = CQ_SOURCE_DIR "/examples/programs/";
  const Ended built =
      TestProcess({"c++", "-std=c++20", "-shared", "-fPIC", "-I" CQ_SOURCE_DIR "/protocol/include",
                   examples + "model.cc", "-o", "libmodel.so"},
                  directory_.path())
          .Wait();
  ASSERT_EQ(built.status, 0) << built.err;
  for (const Words& options : {Words{"--program", "python3 " + examples + "model.py"},
                               Words{"--program", "Rscript " + examples + "model.R"},
                               Words{"--function", "libmodel.so:walk"}}) {
    const Ended ended = Run(Slurp(examples + "params.csv"), options);
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(Column("steps").size(), 8u);
  }
}

// A program of one's own, without a helper, that breaks the protocol in various ways.
TEST_F(ProgramTest, NonsenseOfAProgramIsItsTasksErrorAndNeverTheWorkers) {
  const std::string hello =
      "import json, os, sys\ni = os.fdopen(3, 'rb'); o = os.fdopen(4, 'wb', buffering=0)\n"
      "def say(**m): o.write(json.dumps(m).encode() + b'\\n')\n"
      "say(type='hello', protocol=1); m = json.loads(i.readline()); say(type='ready', id=m['id'])\n"
      "for line in i:\n m = json.loads(line)\n for t in m.get('tasks', []):\n  ";
  const std::vector<std::pair<std::string, const char*>> programs = {
      {"o.write(b'nonsense\\n')", "broke the slot protocol"},
      {"say(type='result', task=t[0] + 1, value=1)", "not to work on"},
      {"say(type='result', task='x')", "broke the slot protocol"},
      {"sys.exit(7)", "ended with status 7"}};
  for (const auto& [line, reason] : programs) {
    WriteFile(directory_.File("p.py"), hello + line + "\n");
    const Ended ended = Run("n\n1\n", {"--crash-limit", "1", "--program", "python3 p.py"});
    EXPECT_EQ(ended.status, 1) << ended.err;
    EXPECT_EQ(Column("cq_status"), (Words{"crashed"}));
    EXPECT_NE(Column("cq_error")[0].find(reason), std::string::npos) << Column("cq_error")[0];
  }
  // What it says after its answer is nobody's fault, and it is not asked again.
  WriteFile(directory_.File("p.py"),
            hello +
                "r = json.dumps({'type': 'result', 'task': t[0], 'value': os.getpid()})\n  "
                "o.write((r + '\\n' + r + '\\n').encode())\n");
  EXPECT_EQ(Run("n\n1\n2\n", {"--slots", "1", "--program", "python3 p.py"}).status, 0);
  EXPECT_EQ(Column("cq_attempts"), (Words{"1", "1"}));
  EXPECT_NE(Column("result")[0], Column("result")[1]);
  // What is reserved is answered, and harms nobody.
  WriteFile(directory_.File("p.py"),
            hello +
                "say(type='progress', id=9)\n  r = json.loads(i.readline())\n  "
                "say(type='result', task=t[0], value={'answer': r['type'], 'id': r['id']})\n");
  EXPECT_EQ(Run("n\n1\n", {"--program", "python3 p.py"}).status, 0);
  EXPECT_EQ(Column("answer"), (Words{"unsupported"}));
  EXPECT_EQ(Column("id"), (Words{"9"}));
}

TEST_F(ProgramTest, AKilledMasterIsResumedAndNothingOfAProgramIsLeft) {
  WriteFile(directory_.File("in.csv"), Numbers(40));
  const std::string program = Python(
      "import time\ndef f(n):\n open('ran', 'a').write('%d\\n' % n)\n while n == 20 and not "
      "os.path.exists('go'): time.sleep(0.02)\n return n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--slots", "1", "--program", program},
                     directory_.path(), {{"PROGRAM_TEST", directory_.path()}});
  ASSERT_TRUE(Eventually([&] { return Slurp(directory_.File("ran")).ends_with("20\n"); }))
      << master.Err();
  master.Signal(SIGKILL);
  master.Wait();
  EXPECT_TRUE(Eventually([&] { return ProcessesWith("PROGRAM_TEST=" + directory_.path()).empty(); },
                         std::chrono::seconds(2)));
  WriteFile(directory_.File("go"), "");
  const Ended resumed = Cq({"resume"}, directory_.path());
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  Words expected;
  for (int i = 1; i <= 40; ++i) expected.push_back(std::to_string(i));
  EXPECT_EQ(Column("result"), expected);
}

// Short tasks travel together. What happens to some of them is theirs alone.
TEST_F(ProgramTest, EachOfManyShortTasksHasItsOwnFate) {
  constexpr int kRows = 30'000;
  const Ended ended = Run(Numbers(kRows), {"--function", Function("eventful")});
  EXPECT_EQ(ended.status, 1) << ended.err;
  const auto results = Column("result");
  const auto status = Column("cq_status");
  const auto attempts = Column("cq_attempts");
  const auto printed = Column("cq_stdout");
  ASSERT_EQ(results.size(), static_cast<size_t>(kRows));
  std::multiset<std::string> lines;
  for (int n = 1; n <= kRows; ++n) {
    const size_t at = static_cast<size_t>(n - 1);
    const bool crashes = n == 12'345;
    const bool fails = n % 1000 == 7;
    ASSERT_EQ(status[at], crashes ? "crashed" : fails ? "error" : "ok") << n;
    ASSERT_EQ(attempts[at], crashes ? "3" : "1") << n;
    if (!crashes && !fails) {
      ASSERT_EQ(std::stod(results[at]), n / 2.0);
    }
    std::istringstream text(printed[at]);
    for (std::string line; std::getline(text, line);) {
      if (line.starts_with("eleven")) lines.insert(line);
    }
  }
  EXPECT_EQ(lines, (std::multiset<std::string>{"eleven: 11", "eleven: 5011", "eleven: 10011",
                                               "eleven: 15011", "eleven: 20011", "eleven: 25011"}));
}

// The same in a language that speaks JSON, with values of all kinds.
TEST_F(ProgramTest, EachOfManyShortTasksOfAScriptHasItsOwnFate) {
  constexpr int kRows = 20'000;
  const std::string function =
      "def f(n):\n"
      " if n % 1000 == 7: raise ValueError('seven')\n"
      " if n % 5000 == 11: print('eleven:', n)\n"
      " if n == 12345: os.abort()\n"
      " if n % 1000 == 13: return {n, 0}\n"
      " if n % 1000 == 14: return [n]\n"
      " return {'half': n / 2, 'text': 'ü%d' % n, 'seed': int(os.environ['CQ_SEED']) % 2, 'none': "
      "None}";
  const Ended ended = Run(Numbers(kRows), {"--seed", "1", "--program", Python(function)});
  EXPECT_EQ(ended.status, 1) << ended.err;
  const auto status = Column("cq_status");
  const auto half = Column("half");
  const auto text = Column("text");
  const auto printed = Column("cq_stdout");
  const auto nested = Column("result");
  ASSERT_EQ(half.size(), static_cast<size_t>(kRows));
  for (int n = 1; n <= kRows; ++n) {
    const size_t at = static_cast<size_t>(n - 1);
    const bool crashes = n == 12'345;
    const bool fails = n % 1000 == 7;
    ASSERT_EQ(status[at], crashes ? "crashed" : fails ? "error" : "ok") << n;
    ASSERT_EQ(printed[at], n % 5000 == 11 ? fmt::format("eleven: {}", n) : "") << n;
    if (n % 1000 == 14) {
      ASSERT_EQ(nested[at], fmt::format("[{}]", n));
    }
    if (crashes || fails || n % 1000 == 13 || n % 1000 == 14) continue;
    ASSERT_EQ(std::stod(half[at]), n / 2.0);
    ASSERT_EQ(text[at], fmt::format("ü{}", n));
  }
  EXPECT_EQ(Query("SELECT count(*) FROM blobs"), "count(*)\n20\n");
}

// What was answered before a row that takes long is durable while that one runs.
TEST_F(ProgramTest, ShortTasksDoNotWaitForALongOneBehindThem) {
  TestProcess run(WaitingLate("2"), directory_.path());
  EXPECT_TRUE(Eventually([&] {
    return Query("SELECT count(*) FROM results WHERE task < 20000") == "count(*)\n19999\n";
  }));
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(run.Wait().status, 0);
  ExpectDoubled(40'000);
}

TEST_F(ProgramTest, AMasterKilledAmidShortTasksIsResumed) {
  TestProcess master(WaitingLate("2"), directory_.path(), {{"PROGRAM_TEST", directory_.path()}});
  ASSERT_TRUE(Eventually(
      [&] { return Query("SELECT count(*) > 10000 FROM results") == "count(*) > 10000\n1\n"; }));
  master.Signal(SIGKILL);
  master.Wait();
  EXPECT_TRUE(Eventually([&] { return ProcessesWith("PROGRAM_TEST=" + directory_.path()).empty(); },
                         std::chrono::seconds(2)));
  WriteFile(directory_.File("go"), "");
  const Ended resumed = Cq({"resume"}, directory_.path());
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  ExpectDoubled(40'000);
}

TEST_F(ProgramTest, ADrainedRunOfShortTasksIsResumed) {
  // So many in flight that some wait at the worker while that one runs.
  TestProcess master(WaitingLate("1"), directory_.path());
  ASSERT_TRUE(Eventually([&] {
    return Query("SELECT count(*) FROM results WHERE task < 20000") == "count(*)\n19999\n";
  }));
  master.Signal(SIGINT);
  ASSERT_TRUE(
      Eventually([&] { return master.Err().find("no other started") != std::string::npos; }));
  WriteFile(directory_.File("go"), "");
  const Ended drained = master.Wait();
  EXPECT_EQ(drained.status, 130) << drained.err;
  const Ended resumed = Cq({"resume"}, directory_.path());
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  ExpectDoubled(40'000);
}

}  // namespace
}  // namespace cq
