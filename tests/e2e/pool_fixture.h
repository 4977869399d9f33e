#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace cq {

/// A warm pool called `p`, and runs on it.
class PoolTest : public ::testing::Test {
 protected:
  ~PoolTest() override {
    // Of a test that failed: nothing of it is to live on.
    pool_.reset();
    for (const pid_t pid : ProcessesWith("POOL_TEST=" + directory_.path())) kill(pid, SIGKILL);
  }

  std::map<std::string, std::string> Environment() {
    return {{"XDG_STATE_HOME", File("state")}, {"POOL_TEST", directory_.path()}};
  }

  // The pool, as a process of this test.
  void StartPool(const std::vector<std::string>& options = {"-w", "4"}) {
    std::vector<std::string> words{CQ_PROGRAM, "pool", "start", "p", "--foreground"};
    words.insert(words.end(), options.begin(), options.end());
    pool_ = std::make_unique<TestProcess>(words, directory_.path(), Environment());
    ASSERT_TRUE(Eventually([&] { return pool_->Err().find("is ready") != std::string::npos; }))
        << pool_->Err();
  }

  Ended CqHere(const std::vector<std::string>& words) {
    return Cq(words, directory_.path(), Environment());
  }

  std::unique_ptr<TestProcess> Run(const std::string& name, int rows,
                                   const std::vector<std::string>& command,
                                   const std::vector<std::string>& options = {}) {
    std::string csv = "a\n";
    for (int i = 1; i <= rows; ++i) csv += std::to_string(i) + "\n";
    WriteFile(File(name + ".csv"), csv);
    std::vector<std::string> words{CQ_PROGRAM, "run", name + ".csv", "--on", "p"};
    words.insert(words.end(), options.begin(), options.end());
    words.emplace_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return std::make_unique<TestProcess>(words, directory_.path(), Environment());
  }

  // Tasks that end once a file of their run's name is there, and say what they are.
  static std::vector<std::string> WaitFor(const std::string& file) {
    return {"sh", "-c",
            "echo $$ >> " + file + ".started; while [ ! -e " + file +
                " ]; do sleep 0.02; done; echo done $0",
            "{a}"};
  }
  static std::vector<std::string> Short() { return {"sleep", "0.02"}; }

  nlohmann::json Status() {
    const Ended status = CqHere({"pool", "status", "p", "--json"});
    return nlohmann::json::parse(status.out, nullptr, false);
  }
  // How many slots the run of this name has.
  int SlotsOf(const std::string& name) {
    const nlohmann::json status = Status();
    if (!status.contains("runs")) return -1;
    for (const nlohmann::json& run : status["runs"]) {
      const auto path = run["run_dir"].get<std::string>();
      if (path.ends_with("/" + name + ".cq")) return run["slots"].get<int>();
    }
    return 0;
  }
  ::testing::AssertionResult Has(const std::string& name, int slots) {
    int last = 0;
    const bool has = Eventually([&] { return (last = SlotsOf(name)) == slots; });
    if (has) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << name << " has " << last << " slots, not " << slots;
  }
  size_t Started(const std::string& file) {
    const std::string text = Slurp(File(file + ".started"));
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  void ExpectAllOk(const std::string& name, size_t rows) {
    const std::string results = File(name + ".cq/results.csv");
    EXPECT_EQ(Column(results, "cq_status"), std::vector<std::string>(rows, "ok")) << name << ":\n"
                                                                                  << Slurp(results);
  }
  std::vector<std::string> Attempts(const std::string& name) {
    return Column(File(name + ".cq/results.csv"), "cq_attempts");
  }

  // What lives of runs' workers and tasks, below the pool.
  std::vector<pid_t> BelowThePool(const std::string& text) {
    return DescendantsWith(pool_->pid(), text);
  }
  static bool Gone(const std::vector<pid_t>& pids) {
    return Eventually(
        [&] {
          return std::none_of(pids.begin(), pids.end(), [](pid_t pid) { return Lives(pid); });
        },
        kASecond);
  }

  std::string File(const std::string& name) const { return directory_.File(name); }

  TemporaryDirectory directory_;
  std::unique_ptr<TestProcess> pool_;
};

}  // namespace cq
