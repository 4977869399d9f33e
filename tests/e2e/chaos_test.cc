// Real processes under steady fire: workers are killed and replaced all the time, one is stopped
// for longer than its lease, the master is killed and resumed again and again. At the end every row
// has exactly one result, the one of an undisturbed run. CQ_CHAOS_TASKS=100000 makes it large.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "master/journal/database.h"
#include "tests/support/process.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Words = std::vector<std::string>;

pid_t ParentOf(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream rest(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string state;
  pid_t parent = 0;
  rest >> state >> parent;
  return parent;
}

TEST(ChaosTest, EveryRowHasExactlyOneResultWhateverDies) {
  const char* wanted = getenv("CQ_CHAOS_TASKS");
  const int tasks = wanted != nullptr ? std::atoi(wanted) : 15000;
  const int masters = wanted != nullptr ? 6 : 4;
  TemporaryDirectory directory;
  std::string csv = "a\n";
  for (int i = 1; i <= tasks; ++i) csv += std::to_string(i) + "\n";
  WriteFile(directory.File("in.csv"), csv);
  const Words command = {CQ_PROGRAM,      "run",  "in.csv",  "-w", "4",         "--lease", "2s",
                         "--crash-limit", "1000", "--quiet", "--", "/bin/echo", "{a}"};
  const std::map<std::string, std::string> mark = {{"CHAOS_TEST", directory.path()}};
  const auto mine = [&] { return ProcessesWith("CHAOS_TEST=" + directory.path()); };
  std::minstd_rand random(1);

  std::unique_ptr<TestProcess> master;
  const auto done = [&] {
    const auto text = Cq({"query", "in.cq", "SELECT count(*) FROM results"}, directory.path()).out;
    const size_t line = text.find('\n');
    return line == std::string::npos ? 0 : std::atoi(text.c_str() + line + 1);
  };
  for (int life = 1; life <= masters; ++life) {
    master = std::make_unique<TestProcess>(command, directory.path(), mark);
    // Each life but the last ends when its share of the rows is done.
    const int share = tasks / masters * life;
    pid_t stopped = 0;
    auto stopped_at = steady_clock::now();
    while (life < masters && Lives(master->pid()) && done() < share) {
      std::this_thread::sleep_for(milliseconds(300));  // the rate of fire, not a wait for anything
      // Children of guardians: a worker's own child looks like it for the moment before its exec.
      auto workers = DescendantsWith(master->pid(), "--life-fd");
      const std::set<pid_t> all(workers.begin(), workers.end());
      std::erase_if(workers, [&](pid_t pid) { return all.contains(ParentOf(pid)); });
      if (workers.empty()) continue;
      const pid_t victim = workers[random() % workers.size()];
      if (stopped == 0) {
        stopped = victim;
        stopped_at = steady_clock::now();
        kill(stopped, SIGSTOP);
      } else if (victim != stopped) {
        kill(victim, SIGKILL);
      }
      if (stopped > 0 && steady_clock::now() - stopped_at > std::chrono::seconds(4)) {
        kill(stopped, SIGCONT);
      }
    }
    if (life == masters) break;
    master->Signal(SIGKILL);
    master->Wait();
  }
  Ended ended;
  for (int i = 0; i < 20 && ended.status == -1; ++i) {
    if (Eventually([&] { return !Lives(master->pid()); }, std::chrono::seconds(50))) {
      ended = master->Wait();
    }
  }
  EXPECT_EQ(ended.status, 0) << ended.err;
  Words expected;
  for (int i = 1; i <= tasks; ++i) expected.push_back(std::to_string(i));
  EXPECT_TRUE(Column(directory.File("in.cq/results.csv"), "cq_stdout") == expected);
  EXPECT_EQ(Cq({"query", "in.cq",
                "SELECT task, outcome, exit, error, attempts, worker FROM results WHERE outcome <> "
                "0 LIMIT 5"},
               directory.path())
                .out,
            "task,outcome,exit,error,attempts,worker\n");
  Database journal(directory.File("in.cq/journal.db"), Database::Mode::kRead);
  auto check = journal.Prepare("PRAGMA integrity_check");
  ASSERT_TRUE(check.Step());
  EXPECT_EQ(check.Text(0), "ok");
  EXPECT_TRUE(Eventually([&] { return mine().empty(); }, std::chrono::seconds(2)));
}

}  // namespace
}  // namespace cq
