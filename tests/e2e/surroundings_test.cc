// A run does not depend on who starts it: signals, standard streams, environment, descriptors and
// limits that it inherits.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <set>
#include <sstream>

#include "tests/support/process.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

// What `python3 -c` does before it becomes `words`: `prepare` is Python, where `sig`, `os` and
// `resource` are known.
Words Launched(const std::string& prepare, const Words& words) {
  Words launched = {"python3", "-c",
                    "import os, resource, signal as sig, sys\n" + prepare +
                        "\nos.execvp(sys.argv[1], sys.argv[1:])"};
  launched.insert(launched.end(), words.begin(), words.end());
  return launched;
}

const std::string kIgnoreAll =
    "for n in sig.valid_signals() - {sig.SIGKILL, sig.SIGSTOP}: sig.signal(n, sig.SIG_IGN)";
const std::string kBlockAll = "sig.pthread_sigmask(sig.SIG_BLOCK, sig.valid_signals())";

class SurroundingsTest : public ::testing::Test {
 protected:
  SurroundingsTest() { WriteFile(directory_.File("in.csv"), "a\n0\n3\n0\n"); }

  Words Column(const std::string& name) const {
    return cq::Column(directory_.File("in.cq/results.csv"), name);
  }
  Ended Launch(const std::string& prepare, const Words& words,
               const std::map<std::string, std::string>& environment = {}) {
    return TestProcess(Launched(prepare, words), directory_.path(), environment).Wait();
  }
  // Tasks that say what they see of signals, and end with the status that their row says.
  static Words RunOfCommands(const Words& options = {}) {
    Words words = {CQ_PROGRAM, "run", "in.csv", "--fresh"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "sh", "-c",
                               "grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2 | tr '\\n' ' '; "
                               "exit {a}"});
    return words;
  }
  void ExpectAsWithout(const Ended& ended, const std::string& what) {
    EXPECT_EQ(ended.status, 1) << what << ended.err;
    EXPECT_EQ(Column("cq_exit"), (Words{"0", "3", "0"})) << what;
    EXPECT_EQ(Column("cq_status"), (Words{"ok", "error", "ok"})) << what;
    EXPECT_EQ(Column("cq_stdout"), (Words{signals_, signals_, signals_})) << what;
  }

  TemporaryDirectory directory_;
  /// What a task sees. (The C library's posix_spawn, by which the tests start cq, leaves its own
  /// two signals, 32 and 33, ignored.)
  const std::string signals_ = "0000000000000000 0000000000000000 ";
};

TEST_F(SurroundingsTest, ARunIsTheSameWithEverySignalIgnoredOrBlocked) {
  for (const std::string& prepare : {kIgnoreAll, kBlockAll, kIgnoreAll + "\n" + kBlockAll}) {
    ExpectAsWithout(Launch(prepare, RunOfCommands()), prepare);
  }
}

TEST_F(SurroundingsTest, ARunIsTheSameWithAnySignalIgnoredAndBlocked) {
#ifdef CQ_SANITIZED
  // Each is a run, which takes seconds: those that cq and its processes have to do with.
  const std::vector<int> numbers = {SIGHUP,  SIGINT,  SIGPIPE, SIGALRM,
                                    SIGTERM, SIGCHLD, SIGXCPU, SIGXFSZ};
#else
  // Of the real-time signals, which nothing tells apart, the first and the last.
  std::vector<int> numbers = {SIGRTMIN, SIGRTMAX};
  for (int number = 1; number < 32; ++number) {
    if (number != SIGKILL && number != SIGSTOP) numbers.push_back(number);
  }
#endif
  for (const int number : numbers) {
    const std::string prepare = fmt::format(
        "sig.signal({0}, sig.SIG_IGN); sig.pthread_sigmask(sig.SIG_BLOCK, {{{0}}})", number);
    ExpectAsWithout(Launch(prepare, RunOfCommands()), prepare);
    if (HasFailure()) return;
  }
}

TEST_F(SurroundingsTest, AProgramIsTheSameWithEverySignalIgnoredOrBlocked) {
  WriteFile(directory_.File("f.py"),
            "import cq, subprocess, sys\n"
            "def f(a): return subprocess.call([sys.executable, '-c', f'raise SystemExit({a})'])\n"
            "cq.serve(f)\n");
  for (const std::string& prepare : {kIgnoreAll, kBlockAll}) {
    const Ended ended =
        Launch(prepare, {CQ_PROGRAM, "run", "in.csv", "--fresh", "--program", "python3 f.py"});
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(Column("result"), (Words{"0", "3", "0"}));
  }
}

TEST_F(SurroundingsTest, AWorkerStartedByHandIsTheSameWithEverySignalIgnoredOrBlocked) {
  for (const std::string& prepare : {kIgnoreAll, kBlockAll}) {
    std::filesystem::remove_all(directory_.File("in.cq"));
    std::filesystem::remove(directory_.File("started"));
    std::filesystem::remove(directory_.File("go"));
    TestProcess master({CQ_PROGRAM, "run", "in.csv", "-w", "1", "--", "sh", "-c",
                        "echo x >> started; while [ ! -e go ]; do sleep 0.02; done; exit {a}"},
                       directory_.path());
    const auto started = [&] { return Slurp(directory_.File("started")).size() / 2; };
    ASSERT_TRUE(Eventually([&] { return started() == 1; })) << master.Err();
    TestProcess worker(Launched(prepare, {CQ_PROGRAM, "worker", "--connect", "in.cq/connect.json",
                                          "--slots", "2"}),
                       directory_.path());
    ASSERT_TRUE(Eventually([&] { return started() == 3; })) << worker.Err();
    WriteFile(directory_.File("go"), "");
    const Ended ended = master.Wait();
    EXPECT_EQ(ended.status, 1) << ended.err;
    EXPECT_EQ(Column("cq_exit"), (Words{"0", "3", "0"}));
    EXPECT_EQ(worker.Wait().status, 0) << worker.Err();
  }
}

TEST_F(SurroundingsTest, ANohuppedRunOutlivesItsTerminal) {
  TestProcess run(Launched("sig.signal(sig.SIGHUP, sig.SIG_IGN)",
                           {CQ_PROGRAM, "run", "in.csv", "--", "sh", "-c",
                            "echo x >> started; while [ ! -e go ]; do sleep 0.02; done; exit {a}"}),
                  directory_.path());
  ASSERT_TRUE(Eventually([&] { return !Slurp(directory_.File("started")).empty(); }));
  run.Signal(SIGHUP);
  WriteFile(directory_.File("go"), "");
  EXPECT_EQ(run.Wait().status, 1);
  EXPECT_EQ(Column("cq_exit"), (Words{"0", "3", "0"}));
}

// As many processes as the user may have run already when a task is to start; it starts once one of
// them has gone. (Root has no such limit.)
TEST_F(SurroundingsTest, ATaskWaitsForRoomForItsProcess) {
  if (getuid() != 0) GTEST_SKIP() << "needs root to become another user";
  constexpr int kUser = 54'321;
  std::filesystem::permissions(directory_.path(), std::filesystem::perms::all);
  const std::string become = fmt::format(
      "os.setgroups([]); os.setgid({0}); os.setuid({0}); os.environ['HOME'] = os.getcwd()", kUser);
  // Each task holds one of few processes for a while; there are more slots than room.
  const Ended ended =
      Launch(become + "\nresource.setrlimit(resource.RLIMIT_NPROC, (21, 21))",
             {CQ_PROGRAM, "run", "in.csv", "-w", "1", "--slots", "8", "--", "python3", "-c",
              "import time; time.sleep(0.3); raise SystemExit({a})"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_EQ(Column("cq_exit"), (Words{"0", "3", "0"})) << ended.err;
}

TEST_F(SurroundingsTest, WhatCannotWorkIsOneClearSentence) {
  std::vector<std::string> limits{"RLIMIT_NOFILE, (%d, %d)"};
#ifndef CQ_SANITIZED
  // A sanitizer reserves terabytes of addresses.
  limits.push_back("RLIMIT_AS, (%d<<20, %d<<20)");
#endif
  for (const std::string& limit : limits) {
    for (const int most : {4, 8, 16, 24, 32, 64, 128, 256, 512}) {
      // Where the program itself finds no room, the system ends it before a line of it has run.
      if (most == 4 && limit.starts_with("RLIMIT_AS")) continue;
      std::string with = limit;
      for (size_t at = 0; (at = with.find("%d", at)) != std::string::npos;) {
        with.replace(at, 2, std::to_string(most));
      }
      std::filesystem::remove_all(directory_.File("in.cq"));
      const Ended ended = Launch("resource.setrlimit(resource." + with + ")",
                                 {CQ_PROGRAM, "run", "in.csv", "-w", "1", "--", "true"});
      EXPECT_EQ(ended.err.find("terminate called"), std::string::npos) << with << ended.err;
      EXPECT_LT(ended.status, 128) << with << ended.err;
      if (ended.status == 0) continue;
      // The loader, whose words are not ours, has 127.
      EXPECT_TRUE(ended.status == 3 || ended.status == 2 || ended.status == 127 ||
                  ended.status == 1)
          << ended.status << with << ended.err;
    }
  }
}

// Exported functions of bash, names that are no identifiers, an empty value: what a shell on the
// way would drop.
TEST_F(SurroundingsTest, TasksFindTheSameEnvironmentWhateverStandsBetween) {
  WriteFile(directory_.File("in.csv"), "a\n1\n");
  WriteFile(directory_.File("f.py"),
            "import cq\n"
            "cq.serve(lambda a: open('environ', 'w').write(open('/proc/self/environ').read()))\n");
  const auto environment = [&](Words options, const Words& program) {
    Words words = {CQ_PROGRAM, "run", "in.csv", "--fresh", "-w", "1", "--seed", "1"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), program.begin(), program.end());
    const Ended ended = TestProcess(words, directory_.path(),
                                    {{"BASH_FUNC_greet%%", "() {  echo hello\n}"},
                                     {"a.b", "1"},
                                     {"x-y", "2 \t'\""},
                                     {"PS1", "\\u$ "},
                                     {"IFS", ":"},
                                     {"OPTIND", "7"},
                                     {"EMPTY", ""}})
                            .Wait();
    EXPECT_EQ(ended.status, 0) << ended.err;
    std::set<std::string> entries;
    std::istringstream text(Slurp(directory_.File("environ")));
    for (std::string entry; std::getline(text, entry, '\0');) {
      // A shell that users ask for has these of its own, and the mark is another for each program.
      bool own = entry.starts_with("CQ_SLOT_MARK=");
      for (const char* name : {"_=", "SHLVL=", "PWD=", "OLDPWD="}) {
        own = own || (!options.empty() && options[0] == "--worker-init" && entry.starts_with(name));
      }
      if (!own) entries.insert(entry);
    }
    return entries;
  };
  for (const Words& program : {Words{"--", "cp", "/proc/self/environ", "environ"},
                               Words{"--program", "/usr/bin/python3 f.py"}}) {
    const auto plain = environment({}, program);
    EXPECT_TRUE(plain.contains("BASH_FUNC_greet%%=() {  echo hello\n}"));
    EXPECT_TRUE(plain.contains("a.b=1") && plain.contains("EMPTY="));
    auto limited = environment({"--task-memory", "1G"}, program);
    EXPECT_EQ(limited.erase("CQ_MEMORY=1073741824"), 1u);
    EXPECT_EQ(limited, plain);
    const auto with_init = environment({"--worker-init", "true"}, program);
    for (const std::string& entry : plain) {
      const std::string name = entry.substr(0, entry.find('=') + 1);
      if (name == "_=" || name == "SHLVL=" || name == "PWD=" || name == "OLDPWD=") continue;
      EXPECT_TRUE(with_init.contains(entry)) << entry;
    }
  }
}

// In the directory, the input's name, the run directory, what it depends on, and arguments.
TEST_F(SurroundingsTest, PathsMayHoldAnyBytes) {
  const std::string odd = "o\xff d'd";
  const std::string here = directory_.File(odd);
  std::filesystem::create_directory(here);
  WriteFile(here + "/\xfe.csv", "a\n1\n2\n");
  WriteFile(here + "/dep\xff", "1");
  WriteProgram(here + "/pro\xffg", "#!/bin/sh\necho \"$1\"\n");
  const Words run = {"run",     "\xfe.csv", "--run-dir",  "r\xff.cq", "--depends",
                     "dep\xff", "--",       "./pro\xffg", "{a}\xff"};
  const Ended first = Cq(run, here);
  EXPECT_EQ(first.status, 0) << first.err;
  const std::string results = here + "/r\xff.cq/results.csv";
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(cq::Column(results, "cq_stdout"), (Words{"1" + r, "2" + r}));
  EXPECT_EQ(Cq({"resume", "r\xff.cq"}, here).status, 0);
  EXPECT_EQ(Cq({"status", "r\xff.cq", "--json"}, here).status, 0);
  EXPECT_EQ(Cq({"log", "r\xff.cq", "1"}, here).status, 0);
  // Changes of such files are told.
  for (const std::string& file : {std::string("/dep\xff"), std::string("/pro\xffg")}) {
    const std::string before = Slurp(here + file);
    WriteFile(here + file, before + "\n# changed\n");
    const Ended changed = Cq(run, here);
    EXPECT_EQ(changed.status, 2) << file << changed.err;
    WriteFile(here + file, before);
  }
}

}  // namespace
}  // namespace cq
