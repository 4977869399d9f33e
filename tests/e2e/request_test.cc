// What rows ask for, and pools of workers of several kinds, with real processes.
#include "tests/e2e/run_fixture.h"

namespace cq {
namespace {

class RequestTest : public RunTest {
 protected:
  // Says what it is given, and waits until as many as `together` run at once.
  static Words Meet(const std::string& together) {
    return {"sh", "-c",
            "touch started.$CQ_TASK; i=0; until [ $(ls started.* | wc -l) -ge " + together +
                " ]; do sleep 0.02; i=$((i+1)); [ $i -lt 500 ] || exit 1; done; "
                "echo \"$CQ_POOL $CQ_CPUS $OMP_NUM_THREADS $CQ_MEMORY $CUDA_VISIBLE_DEVICES\""};
  }
};

// Two of them fill the worker's CPUs: the third starts when one has ended.
TEST_F(RequestTest, AsManyRunAsTheWorkersCpusAllow) {
  const Ended ended =
      Run("a\n1\n2\n3\n4\n", {"--pool", "four:slots=4,cpus=4", "--task-cpus", "2"},
          {"sh", "-c",
           "mkdir busy.$CQ_TASK; ls -d busy.* | wc -l; until [ $(ls -d busy.* | wc -l) -eq 2 ] || "
           "[ -e met ]; do sleep 0.01; done; touch met; sleep 0.05; rmdir busy.$CQ_TASK"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  for (const std::string& at_once : Column("cq_stdout")) EXPECT_LE(at_once, "2");
  EXPECT_NE(ended.err.find("2 at a time on each worker: a task asks for 2 CPUs, and it has 4 CPUs"),
            std::string::npos)
      << ended.err;
}

TEST_F(RequestTest, ATaskSeesItsShare) {
  const Ended ended = Run("gb,cores\n1,1\n1.5,2\n,\n",
                          {"--pool", "big:slots=4,cpus=4,memory=8G", "--task-cpus", "{cores}",
                           "--task-memory", "{gb}G"},
                          Meet("1"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  // Who does not ask has an equal share of the CPUs; its memory has no bound.
  EXPECT_EQ(Column("cq_stdout"),
            (Words{"big 1 1 1073741824 ", "big 2 2 1610612736 ", "big 1 1  "}));
}

TEST_F(RequestTest, RowsGoToTheSmallestPoolThatHasWhatTheyAskFor) {
  const Ended ended = Run("gb\n1\n3\n1\n3\n",
                          {"--pool", "small:slots=2,memory=2G", "--pool", "large:slots=2,memory=6G",
                           "--task-memory", "{gb}G"},
                          // All of them at once: neither pool takes what is the other's.
                          Meet("4"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  const Words said = Column("cq_stdout");
  ASSERT_EQ(said.size(), 4u);
  for (size_t row : {1, 3}) EXPECT_EQ(said[row].substr(0, 5), "large");
}

TEST_F(RequestTest, AColumnNamesThePool) {
  const Ended ended =
      Run("where\na\nb\na\n",
          {"--pool", "a:workers=1", "--pool", "b:workers=1", "--task-pool", "{where}"},
          {"sh", "-c", "echo $CQ_POOL"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_stdout"), (Words{"a", "b", "a"}));
}

TEST_F(RequestTest, EachTaskHasItsOwnGpus) {
  const Ended ended =
      Cq({"run", "in.csv", "--slots", "4", "--task-need", "gpu=1", "--", "sh", "-c",
          "mkdir gpu.$CUDA_VISIBLE_DEVICES && sleep 0.02 && echo "
          "$CUDA_VISIBLE_DEVICES && rmdir gpu.$CUDA_VISIBLE_DEVICES"},
         (WriteFile(directory_.File("in.csv"), "a\n1\n2\n3\n4\n5\n6\n"), directory_.path()),
         {{"CUDA_VISIBLE_DEVICES", "2,GPU-7"}});
  EXPECT_EQ(ended.status, 0) << ended.err;
  for (const std::string& gpu : Column("cq_stdout"))
    EXPECT_TRUE(gpu == "2" || gpu == "GPU-7") << gpu;
}

// It would compute on what is another's.
TEST_F(RequestTest, ARowThatAsksForNoGpuSeesNone) {
  WriteFile(directory_.File("in.csv"), "a,g\n1,1\n2,0\n3,\n");
  const Ended ended = Cq({"run", "in.csv", "--slots", "2", "--task-need", "gpu={g}", "--", "sh",
                          "-c", "echo \"<${CUDA_VISIBLE_DEVICES-unset}>\""},
                         directory_.path(), {{"CUDA_VISIBLE_DEVICES", "7"}});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_stdout"), (Words{"<7>", "<>", "<>"}));
}

// How long each kind takes is its own matter; a slip in a column's name is told.
TEST_F(RequestTest, KindsAreColumns) {
  const Ended ended = Run("a,kind\n1,x\n2,y\n3,x\n", {"--kind", "kind"}, {"echo", "{a}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_stdout"), (Words{"1", "2", "3"}));
  const Ended slip =
      Cq({"run", "in.csv", "--run-dir", "other", "--kind", "kin", "--", "true"}, directory_.path());
  EXPECT_EQ(slip.status, 2);
  EXPECT_NE(slip.err.find("--kind"), std::string::npos) << slip.err;
  EXPECT_NE(slip.err.find("the columns are: a, kind"), std::string::npos) << slip.err;
}

// One that a slot keeps is another for rows that ask for something else.
TEST_F(RequestTest, AProgramIsStartedAnewForAnotherShare) {
  WriteFile(directory_.File("program.py"),
            "import cq, os\n"
            "cq.serve(lambda cores: {'cpus': int(os.environ['CQ_CPUS']), 'pid': os.getpid()})\n");
  WriteFile(directory_.File("in.csv"), "cores\n1\n1\n2\n2\n1\n");
  const Ended ended = Cq({"run", "in.csv", "--pool", "one:slots=1,cpus=2", "--task-cpus", "{cores}",
                          "--program", "python3 program.py"},
                         directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cpus"), (Words{"1", "1", "2", "2", "1"}));
  const Words pids = Column("pid");
  EXPECT_EQ(pids[0], pids[1]);
  EXPECT_NE(pids[1], pids[2]);
}

// The first ones, before their tasks, too: no more than fit, and each with its GPU.
TEST_F(RequestTest, ProgramsAreStartedWithTheirShare) {
  WriteFile(directory_.File("program.py"),
            "import cq, os\n"
            "open('starts', 'a').write(os.environ.get('CUDA_VISIBLE_DEVICES', '-') + '\\n')\n"
            "cq.serve(lambda a: {'gpu': os.environ['CUDA_VISIBLE_DEVICES']})\n");
  std::string csv = "a\n";
  for (int i = 0; i < 40; ++i) csv += std::to_string(i) + "\n";
  WriteFile(directory_.File("in.csv"), csv);
  const Ended ended = Cq({"run", "in.csv", "--pool", "g:workers=1,slots=8,gpu=2", "--task-need",
                          "gpu=1", "--program", "python3 program.py"},
                         directory_.path(), {{"CUDA_VISIBLE_DEVICES", "x,y"}});
  EXPECT_EQ(ended.status, 0) << ended.err;
  for (const std::string& gpu : Column("gpu")) EXPECT_TRUE(gpu == "x" || gpu == "y") << gpu;
  const std::string starts = Slurp(directory_.File("starts"));
  EXPECT_EQ(starts.find("\n\n"), std::string::npos) << starts;
  EXPECT_TRUE(starts.starts_with("x") || starts.starts_with("y")) << starts;
}

TEST_F(RequestTest, ADryRunSaysHowManyRowsGoWhere) {
  const Ended ended = Run("gb,twin\n1,\n9,\n2,\n",
                          {"--dry-run", "-s", "slurm", "--pool", "a:workers=2,memory=4G", "--pool",
                           "b:workers=2,memory=16G", "--task-memory", "{gb}G"},
                          {"true"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.out.find("rows by pool: a 2, b 1\n"), std::string::npos) << ended.out;
}

TEST_F(RequestTest, APoolSaysMoreThanTheRunsOwnOptions) {
  const Ended ended =
      Run("a\n1\n",
          {"--dry-run", "-s", "slurm", "--set", "time=60", "--set", "memory=1G", "--pool",
           "large:workers=2,time=16h,memory=16G,cpus=4,set.qos=high", "--task-memory", "12G"},
          {"true"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  for (const char* text : {"--time=960\n", "--mem=16384M\n", "--cpus-per-task=4\n", "--qos=high\n",
                           "--slots 4 --pool 'large'"}) {
    EXPECT_NE(ended.out.find(text), std::string::npos) << text << " in\n" << ended.out;
  }
}

TEST_F(RequestTest, ARowThatNobodyCanRunIsSaidBeforeAnythingStarts) {
  ExpectRefused(
      Run("gb\n1\n9\n",
          {"--pool", "small:memory=2G", "--pool", "large:memory=4G", "--task-memory", "{gb}G"},
          {"true"}),
      "in.csv:3: it asks for 9G: no pool has that; the nearest is 'large': its workers "
      "have 4G of memory");
  ExpectRefused(Run("gb\n1\nmuch\n", {"--task-memory", "{gb}G"}, {"true"}),
                "in.csv:3: --task-memory 'muchG': it must be a size");
  ExpectRefused(Run("a\n1\n", {"--task-cpus", "100000"}, {"true"}),
                "tasks ask for 100000 CPUs: its workers have");
  ExpectRefused(Run("a\n1\n", {"--task-need", "licence=1"}, {"true"}),
                "tasks ask for licence 1: its workers have no 'licence'");
  ExpectRefused(Run("a\n1\n", {"--task-cpus", "{b}"}, {"true"}), "--task-cpus '{b}': ");
}

TEST_F(RequestTest, WhatIsNoPoolIsSaid) {
  const auto refused = [&](const Words& options, const std::string& text) {
    ExpectRefused(Run("a\n1\n", options, {"true"}), text);
  };
  refused({"--pool", "a:cpu=1"}, "pool 'a': cpu: there is no such key (did you mean 'cpus'?)");
  refused({"--pool", "a:cpus"}, "--pool a 'cpus'");
  refused({"--pool", "a b:cpus=1"}, "a pool's name is up to 64 letters");
  refused({"--pool", "default:cpus=1", "-w", "1"}, "there are two pools 'default'");
  refused({"--pool", "a:workers=2,gpu=1"},
          "2 workers on this machine would each have the same GPUs");
  refused({"--pool", "a:gpu=1", "--pool", "b:gpu=1"}, "would give the same GPU to two tasks");
  refused({"--pool", "a:scheduler=slurm"}, "on slurm it needs workers=N");
  refused({"--pool", "a:scheduler=none"}, "none");
  WriteFile(directory_.File("bad.toml"), "[pool.a]\nslots = \n");
  refused({"--pools", "bad.toml"}, "bad.toml:2: ");
  WriteFile(directory_.File("other.toml"), "[pools.a]\nslots = 1\n");
  refused({"--pools", "other.toml"}, "'pools' is none of its tables: [pool.NAME]");
}

TEST_F(RequestTest, AFileSaysTheSamePools) {
  WriteFile(directory_.File("pools.toml"),
            "[pool.small]\nslots = 2\nmemory = \"1G\"\n[pool.large]\nmemory = \"3G\"\n");
  const Ended ended = Run("gb\n0.5\n2\n", {"--pools", "pools.toml", "--task-memory", "{gb}G"},
                          {"sh", "-c", "echo $CQ_POOL"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_stdout")[1], "large");
}

// Real figures: 442 h of 4 GB, the longest 14 h, and 23 h of 16 GB.
TEST_F(RequestTest, APlanSaysHowManyWorkersADeadlineNeeds) {
  std::string csv = "package,hours,gigabytes\nlong,14,4\nshort,90s,16\nclock,0:30:00,16\n";
  for (int i = 0; i < 1713; ++i) csv += "p" + std::to_string(i) + ",0.24997,4\n";
  for (int i = 0; i < 22; ++i) csv += "q" + std::to_string(i) + ",1.01,16\n";
  WriteFile(directory_.File("costs.csv"), csv);
  const Words plan = {"plan",          "costs.csv", "--cost",     "hours",
                      "--pool-column", "gigabytes", "--deadline", "16h"};
  const Ended ended = Cq(plan, directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  for (const char* text :
       {"pool '4': 1714 rows, 442.2h in all, the longest 14h (row 1: package=long, hours=14, ",
        "\n  28 workers are done after ", "pool '16': 24 rows, 22.7h in all",
        "\n  2 workers are done after "}) {
    EXPECT_NE(ended.out.find(text), std::string::npos) << text << " in\n" << ended.out;
  }
  // As in the results of a run that is not over.
  WriteFile(directory_.File("costs.csv"), csv + "pending,,4\n");
  const Ended part = Cq(plan, directory_.path());
  EXPECT_EQ(part.status, 0) << part.err;
  EXPECT_NE(part.err.find("1 of 1739 rows have no cost"), std::string::npos) << part.err;
  Words late = plan;
  late.back() = "13h";
  const Ended missed = Cq(late, directory_.path());
  EXPECT_EQ(missed.status, 1);
  EXPECT_NE(missed.out.find("row 1 alone takes 14h"), std::string::npos) << missed.out;
  for (const auto& [column, text] :
       std::map<std::string, std::string>{{"package", "costs.csv:2: --cost 'long': "},
                                          {"gigabytes", "is that seconds, minutes, hours?"},
                                          {"time", "there is no column 'time'"}}) {
    Words wrong = plan;
    wrong[3] = column;
    const Ended refused = Cq(wrong, directory_.path());
    EXPECT_EQ(refused.status, 2);
    EXPECT_NE(refused.err.find(text), std::string::npos) << refused.err;
  }
}

// What the run was started with, but for a pool that is another now.
TEST_F(RequestTest, AResumeKnowsPoolsAndRequests) {
  const Words options = {"--pool",        "small:memory=1G", "--pool",    "large:memory=3G",
                         "--task-memory", "{gb}G",           "--retries", "0"};
  const Ended first = Run("gb\n0.5\n2\n", options, {"sh", "-c", "[ -e good ] && echo $CQ_POOL"});
  EXPECT_EQ(first.status, 1) << first.err;
  WriteFile(directory_.File("good"), "");
  // A file of pools says less than the command line.
  WriteFile(directory_.File("pools.toml"), "[pool.large]\nmemory = \"1G\"\n");
  const Ended again =
      Cq({"resume", "in.cq", "--failed", "--pools", "pools.toml", "--pool", "large:memory=2500M"},
         directory_.path());
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(Column("cq_stdout")[1], "large");
}

// Up to all of the larger pool's memory; whoever fails for another reason is not tried again.
TEST_F(RequestTest, WhatEndsForWantOfMemoryIsTriedWithMore) {
  const Ended ended =
      Run("mb\n10\n150\n600\n-1\n",
          {"--pool", "small:slots=1,memory=200M", "--pool", "large:slots=1,memory=400M",
           "--task-memory", "100M", "--escalate", "memory=2"},
          {"python3", "-c",
           // Its memory is looked at now and then.
           "import sys, os, time; b = bytes(range(256)) * (int(sys.argv[1]) * 4096); "
           "time.sleep(2 if len(b) > 0 else 0); "
           "print(os.environ['CQ_POOL'], os.environ['CQ_MEMORY']); sys.exit(len(b) == 0)",
           "{mb}"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_status"), (Words{"ok", "ok", "memory", "error"}));
  EXPECT_EQ(Column("cq_attempts"), (Words{"1", "2", "3", "1"}));
  EXPECT_EQ(Column("cq_stdout")[1].substr(6), "209715200");
  const Ended why = Cq({"explain", "in.cq", "3"}, directory_.path());
  EXPECT_NE(why.out.find("tried again with 400M"), std::string::npos) << why.out;
}

TEST_F(RequestTest, WhatEndsAtItsTimeLimitIsTriedWithMore) {
  const Ended ended = Run("a,limit\n0.5,200ms\n0,60s\n",
                          {"--task-timeout", "{limit}", "--escalate", "time=10"}, {"sleep", "{a}"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(Column("cq_attempts"), (Words{"2", "1"}));
  for (const auto& [value, said] :
       std::map<std::string, std::string>{{"memory", "--escalate 'memory'"},
                                          {"cpus=2", "it must be memory=F, time=F, or both"},
                                          {"time=1", "must be a number above 1, up to 100"}}) {
    const Ended refused = Run("a\n1\n", {"--escalate", value}, {"true"});
    EXPECT_EQ(refused.status, 2);
    EXPECT_NE(refused.err.find(said), std::string::npos) << refused.err;
  }
}

TEST_F(RequestTest, AWorkerThatHasRunItsTasksMakesRoomForAFreshOne) {
  std::string csv = "a\n";
  for (int i = 0; i < 20; ++i) csv += "1\n";
  for (const Words& options : {Words{"-w", "1", "--worker-tasks", "5"},
                               Words{"--fresh", "--pool", "leaky:workers=1,slots=1,tasks=5"}}) {
    const Ended ended = Run(csv, options, {"sh", "-c", "echo $PPID"});
    EXPECT_EQ(ended.status, 0) << ended.err;
    std::map<std::string, int> tasks;
    for (const std::string& worker : Column("cq_stdout")) ++tasks[worker];
    EXPECT_EQ(tasks.size(), 4u) << ended.err;
    for (const auto& [worker, count] : tasks) EXPECT_EQ(count, 5) << worker;
    EXPECT_EQ(Column("cq_attempts"), Words(20, "1"));
    EXPECT_NE(ended.err.find("left: it has run 5 tasks"), std::string::npos) << ended.err;
  }
}

}  // namespace
}  // namespace cq
