// Tasks that push rows for their own run.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "master/journal/database.h"
#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class PushTest : public ::testing::Test {
 protected:
  PushTest() { WriteFile(directory_.File("in.csv"), "depth,id\n3,1\n"); }

  Ended Run(const Words& options, const Words& command = {}) {
    Words words = {"run", "in.csv"};
    words.insert(words.end(), options.begin(), options.end());
    if (!command.empty()) words.push_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return Cq(words, directory_.path());
  }
  Words Column(const std::string& name) {
    return cq::Column(directory_.File("in.cq/results.csv"), name);
  }
  // A command that notes each execution in `ran`, as "TASK SEED ID".
  void WriteTree(const std::string& name = "tree", const std::string& more = "") {
    WriteProgram(
        directory_.File(name),
        "#!/usr/bin/python3 -SE\n"
        "import json, os, sys, time\n"
        "depth, id = int(sys.argv[1]), int(sys.argv[2])\n"
        "with open('ran', 'a') as ran:\n"
        "    ran.write('%s %s %d\\n' % (os.environ['CQ_TASK'], os.environ['CQ_SEED'], id))\n"
        "rows = [{'depth': depth - 1, 'id': 2 * id + i} for i in (0, 1)] if depth else []\n" +
            more + "print(json.dumps({'twice': 2 * id, 'cq_push': rows + rows}))\n");
  }
  // Seeds by id; whether each ran once.
  std::map<int, std::string> Ran(bool once = true) {
    std::map<int, std::string> seeds;
    std::istringstream lines(Slurp(directory_.File("ran")));
    std::string task;
    std::string seed;
    int id = 0;
    while (lines >> task >> seed >> id) {
      const auto [known, is_new] = seeds.emplace(id, seed);
      EXPECT_EQ(known->second, seed) << id;
      EXPECT_TRUE(is_new || !once) << id << " ran twice";
    }
    WriteFile(directory_.File("ran"), "");
    return seeds;
  }
  // Each node once, in the column `id`; below the first stand those that were pushed, by number.
  void ExpectTree(size_t nodes, const std::string& first = "1") {
    const Words ids = Column("id");
    EXPECT_EQ(ids.size(), nodes);
    EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), nodes);
    const Words status = Column("cq_status");
    EXPECT_EQ(std::count(status.begin(), status.end(), "ok"), static_cast<ptrdiff_t>(nodes));
    const Words tasks = Column("cq_task");
    const Words parents = Column("cq_parent");
    ASSERT_EQ(parents.size(), nodes);
    ASSERT_EQ(ids[0], first);
    EXPECT_EQ(parents[0], "");
    std::map<std::string, int> id_of;
    for (size_t i = 0; i < nodes; ++i) id_of[tasks[i]] = std::stoi(ids[i]);
    for (size_t i = 1; i < nodes; ++i) {
      if (i > 1) {
        EXPECT_GT(std::stoi(tasks[i]), std::stoi(tasks[i - 1]));
      }
      ASSERT_TRUE(id_of.contains(parents[i])) << parents[i];
      EXPECT_EQ(std::stoi(ids[i]) / 2, id_of[parents[i]]);
    }
  }

  TemporaryDirectory directory_;
};

const Words kTree = {"./tree", "{depth}", "{id}"};

TEST_F(PushTest, ACommandsRowsRunOnceEach) {
  WriteTree();
  const Ended ended = Run({"--parse", "json"}, kTree);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_TRUE(Has(ended.err, "15 of 15 tasks ok")) << ended.err;
  EXPECT_EQ(Ran().size(), 15u);
  ExpectTree(15);
  EXPECT_EQ(Column("twice")[0], "2");
  // Nothing of it is a result.
  EXPECT_EQ(ReadCsv(directory_.File("in.cq/results.csv"))[0][2], "twice");
  const Ended status = Cq({"status", "in.cq"}, directory_.path());
  EXPECT_EQ(status.status, 0);
  EXPECT_TRUE(Has(status.out, "finished, 15 of 15 tasks done")) << status.out;
  EXPECT_EQ(Cq({"wait", "in.cq"}, directory_.path()).status, 0);
  // Nothing is left to do.
  EXPECT_EQ(Run({"--parse", "json"}, kTree).status, 0);
  EXPECT_TRUE(Ran().empty());
}

TEST_F(PushTest, SoDoThoseOfFunctionsInEachLanguage) {
  WriteFile(directory_.File("m.py"),
            "import cq\n"
            "def f(depth, id):\n"
            "    for child in (2 * id, 2 * id + 1, 2 * id):\n"
            "        if depth: cq.push(depth=depth - 1, id=float(child))\n"
            "    return {'result': 10 * id} if id % 2 else 10 * id\n"
            "cq.serve(f)\n");
  WriteFile(directory_.File("m.R"),
            "source(Sys.getenv('CQ_R'))\n"
            "f <- function(depth, id) {\n"
            "  if (depth) cq_push(data.frame(depth = depth - 1, id = 2 * id + 0:1))\n"
            "  if (depth) cq_push(list(id = 2L * id, depth = depth - 1L))\n"
            "  if (id %% 2) list(result = 10 * id) else 10 * id\n"
            "}\n"
            "cq_serve(f)\n");
  for (const Words& options :
       {Words{"--program", "python3 m.py"}, Words{"--program", "Rscript m.R"},
        Words{"--function", std::string(CQ_FUNCTIONS) + ":grow"}}) {
    Words fresh = options;
    fresh.emplace_back("--fresh");
    const Ended ended = Run(fresh);
    EXPECT_EQ(ended.status, 0) << options[1] << ended.err;
    ExpectTree(15);
    const Words ids = Column("id");
    const Words results = Column("result");
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_DOUBLE_EQ(std::stod(results[i]), 10 * std::stod(ids[i])) << options[1];
    }
  }
}

TEST_F(PushTest, ManyRowsAreNoMatter) {
  WriteFile(directory_.File("in.csv"), "depth,id\n14,1\n");
  const Ended ended = Run({"--function", std::string(CQ_FUNCTIONS) + ":grow"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_TRUE(Has(ended.err, "32767 of 32767 tasks ok")) << ended.err;
  ExpectTree(32767);
  EXPECT_TRUE(Has(Cq({"status", "in.cq"}, directory_.path()).out, "32767 of 32767"));
}

TEST_F(PushTest, WhatIsNoRowIsItsTasksError) {
  WriteFile(directory_.File("in.csv"), "id\n1\n2\n3\n4\n5\n6\n7\n8\n");
  WriteFile(directory_.File("m.py"),
            "import cq, os\n"
            "def f(id):\n"
            "    if id == 1: cq.push(idd=1)\n"
            "    if id == 2: cq.push(id='two')\n"
            "    if id == 3: cq.push(id=[3])\n"
            "    if id == 4: cq.push(id=100); raise ValueError('no')\n"
            "    if id == 5: cq.push({'id': object()})\n"
            "    if id == 6:\n"
            "        if os.fork() == 0:\n"
            "            try: cq.push(id=101)\n"
            "            except RuntimeError: os._exit(7)\n"
            "        return os.wait()[1] // 256\n"
            "    if id == 8: cq.push([{'id': 200}, {'id': 201}])\n"
            "    if id == 7: cq.push(id=101); return {'cq_push': [{'id': 1}]}\n"
            "    return id\n"
            "cq.serve(f)\n");
  const Ended ended = Run({"--program", "python3 m.py"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  const Words errors = Column("cq_error");
  ASSERT_EQ(errors.size(), 10u);
  EXPECT_TRUE(Has(errors[0], "no column 'idd'; did you mean 'id'?")) << errors[0];
  EXPECT_TRUE(Has(errors[1], "'id' is 'two', and the column is integer: a fresh run with --types"))
      << errors[1];
  EXPECT_TRUE(Has(errors[2], "one value")) << errors[2];
  EXPECT_EQ(errors[3], "ValueError: no");
  EXPECT_TRUE(Has(errors[4], "a field of a row is")) << errors[4];
  EXPECT_EQ(Column("result")[5], "7");
  EXPECT_TRUE(Has(errors[6], "pushed rows and returned")) << errors[6];
  EXPECT_EQ(Column("result")[7], "8");
}

// Other types are another run.
TEST_F(PushTest, WhatColumnsHoldIsSaidByAFreshRun) {
  WriteFile(directory_.File("in.csv"), "x\n1\n");
  WriteFile(directory_.File("m.py"),
            "import cq\n"
            "def f(x):\n"
            "    if x == 1: cq.push(x=0.5)\n"
            "    return x\n"
            "cq.serve(f)\n");
  EXPECT_EQ(Run({"--program", "python3 m.py"}).status, 1);
  EXPECT_TRUE(Has(Column("cq_error")[0], "a fresh run with --types")) << Column("cq_error")[0];
  const Ended other = Run({"--program", "python3 m.py", "--rerun", "--types", "x=number"});
  EXPECT_EQ(other.status, 2);
  EXPECT_TRUE(Has(other.err, "its column 'x' is integer, not number; --fresh")) << other.err;
  const Ended fresh = Run({"--program", "python3 m.py", "--fresh", "--types", "x=number"});
  EXPECT_EQ(fresh.status, 0) << fresh.err;
  EXPECT_EQ(Column("x"), (Words{"1", "0.5"}));
  EXPECT_EQ(Cq({"resume", "in.cq"}, directory_.path()).status, 0);
}

TEST_F(PushTest, OneThatFailedPushesNothingUntilItIsOk) {
  WriteTree("tree", "if id == 1 and not os.path.exists('go'): rows[0]['nothing'] = 1\n");
  EXPECT_EQ(Run({"--parse", "json"}, kTree).status, 1);
  EXPECT_EQ(Column("id"), Words{"1"});
  EXPECT_TRUE(Has(Column("cq_error")[0], "no column 'nothing'"));
  // As whoever tries it sees.
  const Ended tried = Cq({"test", "in.cq", "1"}, directory_.path());
  EXPECT_EQ(tried.status, 1) << tried.out;
  EXPECT_TRUE(Has(tried.out, "no column 'nothing'")) << tried.out;
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(Cq({"resume", "in.cq", "--failed"}, directory_.path()).status, 0);
  ExpectTree(15);
}

// Masters and their workers die at any time; nothing is lost, no row has two numbers.
TEST_F(PushTest, KilledAgainAndAgainItGrowsAsIfNothingHadBeen) {
  WriteFile(directory_.File("in.csv"), "depth,id\n5,1\n");
  WriteTree();
  for (const uint64_t done : {3, 15, 40}) {
    TestProcess master({CQ_PROGRAM, "run", "in.csv", "--parse", "json", "--slots", "3", "--",
                        kTree[0], kTree[1], kTree[2]},
                       directory_.path());
    const auto results = [&]() -> uint64_t {
      try {
        Database journal(directory_.File("in.cq/journal.db"), Database::Mode::kRead);
        auto count = journal.Prepare("SELECT count(*) FROM results");
        return count.Step() ? static_cast<uint64_t>(count.Int(0)) : 0;
      } catch (const std::exception&) {
        return 0;
      }
    };
    ASSERT_TRUE(Eventually([&] { return results() >= done; })) << master.Err();
    master.Signal(SIGKILL);
    master.Wait();
  }
  const Ended ended = Run({"--parse", "json"}, kTree);
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectTree(63);
  const auto seeds = Ran(false);
  EXPECT_EQ(seeds.size(), 63u);
}

TEST_F(PushTest, SeedsGoByWhatARowIs) {
  WriteTree();
  EXPECT_EQ(Run({"--parse", "json", "--seed", "5", "--slots", "1"}, kTree).status, 0);
  const auto seeds = Ran();
  // Other numbers: there are more rows, and they start in another order.
  WriteFile(directory_.File("in.csv"), "depth,id\n3,1\n0,100\n0,101\n");
  EXPECT_EQ(
      Run({"--parse", "json", "--seed", "5", "--fresh", "--order", "lpt", "--cost", "id"}, kTree)
          .status,
      0);
  auto others = Ran();
  EXPECT_EQ(others.size(), 17u);
  for (const auto& [id, seed] : seeds) EXPECT_EQ(others[id], seed) << id;
}

// As rows whose parents are gone, or push others, do.
TEST_F(PushTest, WhatNobodyPushesAnyMoreIsNotThereAndComesBack) {
  WriteFile(directory_.File("in.csv"), "depth,id\n1,1\n1,8\n");
  WriteTree();
  EXPECT_EQ(Run({"--parse", "json"}, kTree).status, 0);
  EXPECT_EQ(Ran().size(), 6u);
  const Words before = Column("id");
  const std::string gone = Column("cq_task")[static_cast<size_t>(
      std::find(before.begin(), before.end(), "2") - before.begin())];
  // Without the first row.
  WriteFile(directory_.File("in.csv"), "depth,id\n1,8\n");
  const Ended ended = Run({"--parse", "json"}, kTree);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_TRUE(Ran().empty());
  ExpectTree(3, "8");
  const Ended why = Cq({"explain", "in.cq", gone}, directory_.path());
  EXPECT_TRUE(Has(why.out, "as ok")) << why.out;
  EXPECT_TRUE(Has(Cq({"status", "in.cq"}, directory_.path()).out, "3 of 3 tasks done"));
  // A new one that pushes the same, beside others.
  WriteFile(directory_.File("in.csv"), "depth,id\n1,8\n2,1\n");
  WriteTree("tree", "if id == 1: rows.append({'depth': 0, 'id': 2})\n");
  EXPECT_EQ(Run({"--parse", "json", "--keep"}, kTree).status, 0);
  auto ran = Ran();
  // Of 1: its own two (of depth 1) with two each; the row (0, 2) had its result.
  EXPECT_EQ(ran.size(), 7u);
  EXPECT_EQ(ran.count(2), 1u);
  const Words ids = Column("id");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), "2"), 2);
}

TEST_F(PushTest, TheyGoWithOrderGroupsAndWhatRowsAskFor) {
  WriteTree();
  EXPECT_EQ(
      Run({"--parse", "json", "--order", "lpt", "--cost", "id", "--group", "depth", "--slots", "2"},
          kTree)
          .status,
      0);
  EXPECT_EQ(Ran().size(), 15u);
  ExpectTree(15);
  // Memory by depth: those of depth 2 ask for more than there is.
  WriteFile(directory_.File("in.csv"), "depth,id\n1,1\n");
  WriteTree("tree", "if depth == 1: rows.append({'depth': 2, 'id': 9})\n");
  const Ended ended = Run({"--parse", "json", "--fresh", "--pool", "a:workers=1,slots=2,memory=2G",
                           "--task-memory", "{depth}.5G"},
                          kTree);
  EXPECT_EQ(ended.status, 1) << ended.err;
  const Words ids = Column("id");
  const Words errors = Column("cq_error");
  ASSERT_EQ(ids.size(), 4u) << ended.err;
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(!errors[i].empty(), ids[i] == "9") << ids[i] << errors[i];
    EXPECT_TRUE(ids[i] != "9" || Has(errors[i], "memory")) << errors[i];
  }
}

// Also after it was tried, by a later master.
TEST_F(PushTest, WhatOneAsksForOutlivesItsMaster) {
  WriteFile(directory_.File("in.csv"), "g\n1\n");
  WriteProgram(directory_.File("task"),
               "#!/bin/sh\n"
               "[ $1 = 1 ] && { echo '{\"cq_push\": [{\"g\": 3}]}'; exit 0; }\n"
               "echo $CQ_ATTEMPT $CQ_MEMORY >> ran\n"
               "[ -e go ] && { echo '{}'; exit 0; }\n"
               "exit 1\n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--parse", "json", "--retries", "9",
                      "--task-memory", "{g}00M", "--", "./task", "{g}"},
                     directory_.path());
  ASSERT_TRUE(Eventually([&] { return Has(Slurp(directory_.File("ran")), "2 "); })) << master.Err();
  master.Signal(SIGKILL);
  master.Wait();
  WriteFile(directory_.File("ran"), "");
  WriteFile(directory_.File("go"), "");
  const Ended small =
      Cq({"resume", "in.cq", "--pool", "a:workers=1,memory=200M"}, directory_.path());
  EXPECT_EQ(small.status, 2) << small.err;
  EXPECT_TRUE(Has(small.err, "task 2, which was not in the input")) << small.err;
  const Ended ended = Cq({"resume", "in.cq"}, directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  const std::string ran = Slurp(directory_.File("ran"));
  EXPECT_TRUE(Has(ran, " 314572800\n")) << ran;
}

// Rows beyond a limit that have results are not counted, and those of others that are pushed are.
TEST_F(PushTest, HowFarItIsCountsWhatIsWanted) {
  WriteFile(directory_.File("in.csv"), "depth,id\n0,1\n0,2\n0,3\n");
  WriteTree("tree", "while id == 8 and not os.path.exists('go'): time.sleep(0.02)\n");
  EXPECT_EQ(Run({"--parse", "json"}, kTree).status, 0);
  WriteFile(directory_.File("in.csv"), "depth,id\n1,4\n0,2\n0,3\n");
  TestProcess master({CQ_PROGRAM, "run", "in.csv", "--parse", "json", "--limit", "1", "--",
                      kTree[0], kTree[1], kTree[2]},
                     directory_.path());
  const auto status = [&] { return Cq({"status", "in.cq"}, directory_.path()).out; };
  EXPECT_TRUE(Eventually([&] { return Has(status(), "running, 2 of 3 tasks done"); })) << status();
  master.Signal(SIGKILL);
  master.Wait();
  EXPECT_EQ(Cq({"wait", "in.cq"}, directory_.path()).status, 3);
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(Run({"--parse", "json", "--limit", "1"}, kTree).status, 0);
  EXPECT_TRUE(Has(status(), "finished, 3 of 3 tasks done")) << status();
}

TEST_F(PushTest, APythonFunctionPushesOnItsOwnThreadAndTask) {
  WriteFile(directory_.File("in.csv"), "row\n1\n2\n");
  WriteFile(directory_.File("m.py"),
            "import cq, threading\n"
            "def f(row):\n"
            "    said = []\n"
            "    def other():\n"
            "        try: cq.push(row=9)\n"
            "        except RuntimeError as error: said.append(str(error))\n"
            "    thread = threading.Thread(target=other)\n"
            "    thread.start()\n"
            "    thread.join()\n"
            "    if row == 1: cq.push(row=3)\n"
            "    return said[0][:8]\n"
            "cq.serve(f)\n");
  const Ended ended = Run({"--program", "python3 m.py"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("row"), (Words{"1", "2", "3"}));
  EXPECT_EQ(Column("result"), (Words{"cq.push:", "cq.push:", "cq.push:"}));
}

TEST_F(PushTest, WhoPushesForEverIsBounded) {
  WriteFile(directory_.File("in.csv"), "depth,id\n100,1\n");
  WriteTree("tree", "rows = [{'depth': 100, 'id': id + 1}, {'depth': 100, 'id': id + 2}]\n");
  const Ended ended = Run({"--parse", "json", "--max-tasks", "20"}, kTree);
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_TRUE(Has(ended.err, "beyond --max-tasks 20")) << ended.err;
  EXPECT_EQ(Ran().size(), 20u);
  // The same again runs nothing; a larger one does.
  EXPECT_EQ(Run({"--parse", "json", "--max-tasks", "20"}, kTree).status, 1);
  EXPECT_TRUE(Ran().empty());
  EXPECT_EQ(Cq({"resume", "in.cq", "--max-tasks", "25"}, directory_.path()).status, 1);
  EXPECT_EQ(Ran().size(), 5u);
  const Words status = Column("cq_status");
  EXPECT_EQ(std::count(status.begin(), status.end(), "ok"), 25);
  EXPECT_EQ(std::count(status.begin(), status.end(), "pending"),
            static_cast<ptrdiff_t>(status.size()) - 25);
}

TEST_F(PushTest, EachIsShownAndTriedAsAnyOtherTask) {
  WriteTree();
  EXPECT_EQ(Run({"--parse", "json"}, kTree).status, 0);
  const auto seeds = Ran();
  const Words tasks = Column("cq_task");
  const Words ids = Column("id");
  const size_t last = tasks.size() - 1;
  const Ended log = Cq({"log", "in.cq", tasks[last]}, directory_.path());
  EXPECT_EQ(log.status, 0) << log.err;
  EXPECT_TRUE(Has(log.out, "'./tree' '0' '" + ids[last])) << log.out;
  const Ended tried = Cq({"test", "in.cq", tasks[1]}, directory_.path());
  EXPECT_EQ(tried.status, 0) << tried.err << tried.out;
  EXPECT_TRUE(Has(tried.out, "'./tree' '2' '" + ids[1])) << tried.out;
  // With its seed, and without those that it would push.
  const auto again = Ran();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again.begin()->second, seeds.at(std::stoi(ids[1])));
  EXPECT_EQ(Cq({"log", "in.cq", "99"}, directory_.path()).status, 2);
  EXPECT_TRUE(Has(log.out, "pushed by: task ")) << log.out;
  EXPECT_TRUE(Has(Cq({"log", "in.cq", "1"}, directory_.path()).out, "pushed: 2, 3\n"));
}

// The rows of the input that come later have numbers of their own.
TEST_F(PushTest, AnEditedInputMovesNothingOfThem) {
  WriteTree();
  EXPECT_EQ(Run({"--parse", "json"}, kTree).status, 0);
  Ran();
  std::map<std::string, std::string> before;
  for (size_t i = 0; i < 15; ++i) before[Column("id")[i]] = Column("cq_task")[i];
  WriteFile(directory_.File("in.csv"), "depth,id\n0,500\n3,1\n1,700\n");
  EXPECT_EQ(Run({"--parse", "json"}, kTree).status, 0);
  EXPECT_EQ(Ran().size(), 4u);
  const Words ids = Column("id");
  const Words tasks = Column("cq_task");
  ASSERT_EQ(ids.size(), 19u);
  EXPECT_EQ((Words{ids[0], ids[1], ids[2]}), (Words{"500", "1", "700"}));
  EXPECT_EQ(std::set<std::string>(tasks.begin(), tasks.end()).size(), 19u);
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_TRUE(!before.contains(ids[i]) || before[ids[i]] == tasks[i]) << ids[i];
  }
}

}  // namespace
}  // namespace cq
