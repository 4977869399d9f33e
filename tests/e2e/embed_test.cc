// A program that embeds masters: this test is its own worker and slot.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cq/master.h"
#include "cq/runtime.h"
#include "tests/e2e/embed_fixture.h"

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- functions ----

struct Model {
  double loss = 0;
  int64_t steps = 0;
  std::optional<std::string> note;
  std::vector<double> path;
};
CQ_FIELDS(Model, loss, steps, note, path)

double twice(double x) { return 2 * x; }
CQ_FUNCTION(twice);

int64_t product(int a, int64_t b) { return a * b; }
CQ_FUNCTION(product, "a", "b");

Model refine(const Model& model, const std::string& note) {
  Model refined = model;
  refined.note = note;
  refined.path.push_back(model.loss);
  ++refined.steps;
  return refined;
}
CQ_FUNCTION(refine);

void nothing() {}
CQ_FUNCTION(nothing);

int64_t fails(int64_t x) {
  std::fprintf(stderr, "a last word\n");
  if (x % 2 == 1) throw std::runtime_error("odd: " + std::to_string(x));
  return x;
}
CQ_FUNCTION(fails);

int64_t dies(int64_t x) {
  if (x < 0) abort();
  return x;
}
CQ_FUNCTION(dies);

// Says that it runs, and goes on once `go` exists.
int64_t waits(const std::string& begun, const std::string& go) {
  std::ofstream(begun).put('x');
  while (access(go.c_str(), F_OK) != 0) usleep(2000);
  return 1;
}
CQ_FUNCTION(waits);

// Leaves a byte for each call.
int64_t counted(const std::string& file, int64_t x) {
  std::ofstream(file, std::ios::app).put('x');
  return x * x;
}
CQ_FUNCTION(counted);

uint64_t seed_of() { return cq::task().seed; }
CQ_FUNCTION(seed_of);

double from_constants(double x) {
  return x * cq::constant<double>("factor") + cq::constant<std::vector<double>>("shifts").at(1);
}
CQ_FUNCTION(from_constants);

double unknown_constant() { return cq::constant<double>("nobody"); }
CQ_FUNCTION(unknown_constant);

double slowly(double x) {
  usleep(static_cast<useconds_t>(x * 1e6));
  return x;
}
CQ_FUNCTION(slowly);

std::string echo(const std::string& text) { return text; }
CQ_FUNCTION(echo);

double unregistered(double x) { return x; }

// ---- what a test starts as another process ----

namespace {

// Maps `counted` over 0 to 9 in a run directory, or in memory, on this machine or on Slurm, and
// prints the sum; dies in the middle of it if told.
int RunScenario(const std::string& directory, const std::string& how) {
  const bool die = how.starts_with("die");
  const bool slurm = how.find("slurm") != std::string::npos;
  cq::Master master({.pools = {slurm ? cq::Slurm(2, 2, {{"time", "10"}}) : cq::Local(2)},
                     .run_dir = how.ends_with("in memory") ? "" : directory + "/run",
                     .keep = true});
  int64_t sum = 0;
  for (auto& result :
       master.map(counted, std::views::iota(0, 10) | std::views::transform([&](int i) {
                             return std::tuple(directory + "/calls", int64_t{i});
                           }))) {
    sum += *result;
    if (die && result.index() == 4) raise(SIGKILL);
  }
  std::printf("%ld\n", static_cast<long>(sum));
  return 0;
}

// Asks for more workers than there is room for, and prints what the master says about it.
int RunPendingScenario() {
  std::mutex mutex;
  std::string warned;
  cq::Master master({.pools = {cq::Slurm(17)}, .warn = [&](const std::string& text) {
                       const std::lock_guard lock(mutex);
                       warned += text + "\n";
                     }});
  cq::Eventually([&] {
    const std::lock_guard lock(mutex);
    return !warned.empty();
  });
  const cq::MasterStatus status = master.status();
  const std::lock_guard lock(mutex);
  std::printf("%s%d %s\n", warned.c_str(), static_cast<int>(status.pending_workers),
              status.pending_reason.c_str());
  return 0;
}

// A burst of work, a pause in which all workers leave, and another burst.
int RunBurstsScenario() {
  cq::WorkerPool pool = cq::Slurm(3);
  pool.workers_least = 0;
  pool.idle_timeout = seconds(1);
  cq::Master master({.pools = {pool}});
  double sum = 0;
  for (int burst = 1; burst <= 2; ++burst) {
    for (const auto& one : master.map(slowly, std::vector<double>(12, 0.5))) sum += *one;
    cq::Eventually([&] { return master.status().workers == 0; }, seconds(60));
  }
  std::printf("%g\n", sum);
  return 0;
}

TEST_F(EmbedTest, ASubmittedTaskHasTheFunctionsValue) {
  cq::Master master({.pools = {cq::Local(2)}});
  const cq::Future<double> one = master.submit(twice, 21);
  EXPECT_EQ(one.get().value(), 42.0);
  EXPECT_TRUE(one.ready());
  EXPECT_EQ(*master.submit(product, 6, 7).get(), 42);
  EXPECT_TRUE(master.submit(nothing).get().has_value());
  EXPECT_TRUE(cq::Eventually([&] { return master.status().workers == 1; }));
}

TEST_F(EmbedTest, StructsOptionalsAndTextTravel) {
  cq::Master master({.pools = {cq::Local(1)}});
  Model model{-0.0, INT64_MAX - 1, std::nullopt, {1e308, 5e-324}};
  const auto refined = master.submit(refine, model, "ü\xff").get();
  ASSERT_TRUE(refined) << refined.error().message;
  EXPECT_TRUE(std::signbit(refined->loss));
  EXPECT_EQ(refined->steps, INT64_MAX);
  EXPECT_EQ(refined->note, "ü\xff");
  EXPECT_EQ(refined->path, (std::vector<double>{1e308, 5e-324, -0.0}));
  const std::string large(3'000'000, 'x');
  EXPECT_EQ(*master.submit(echo, large).get(), large);
}

TEST_F(EmbedTest, AFailureIsAValue) {
  cq::Master master({.pools = {cq::Local(1)}});
  const auto odd = master.submit(fails, 3).get();
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().outcome, cq::Outcome::kError);
  EXPECT_EQ(odd.error().message, "odd: 3");
  EXPECT_NE(odd.error().err.find("a last word"), std::string::npos);
  EXPECT_THROW(odd.value(), cq::Error);
  EXPECT_EQ(odd.value_or(-1), -1);
  EXPECT_EQ(*master.submit(fails, 4).get(), 4);
  const auto died = master.submit(dies, -1).get();
  ASSERT_FALSE(died);
  EXPECT_EQ(died.error().outcome, cq::Outcome::kCrashed);
  EXPECT_NE(died.error().message.find("SIGABRT"), std::string::npos) << died.error().message;
  EXPECT_EQ(*master.submit(dies, 1).get(), 1);
}

TEST_F(EmbedTest, AFunctionThatIsNotRegisteredIsToldAtOnce) {
  cq::Master master({.pools = {cq::Local(1)}});
  try {
    master.submit(unregistered, 1);
    FAIL();
  } catch (const cq::Error& error) {
    EXPECT_NE(std::string(error.what()).find("CQ_FUNCTION"), std::string::npos);
  }
}

TEST_F(EmbedTest, OptionsThatCannotBeUsedAreRefused) {
  EXPECT_THROW(cq::Master({.pools = {{.scheduler = "pbs"}}}), cq::UsageError);
  EXPECT_THROW(cq::Master({.pools = {{.workers = 0}}}), cq::UsageError);
  EXPECT_THROW(cq::Master({.constants = cq::Constants().add("x", std::string(20 << 20, 'x'))}),
               cq::UsageError);
  cq::Master master({.pools = {cq::Local(1)}});
  EXPECT_THROW(master.submit(product, int64_t{1} << 40, 1), cq::UsageError);
}

TEST_F(EmbedTest, TasksThatWaitOrRunCanBeCancelled) {
  cq::Master master({.pools = {cq::Local(1)}});
  const auto running = master.submit(waits, File("begun"), File("never"));
  const auto waiting = master.submit(twice, 1);
  ASSERT_TRUE(Appears(File("begun")));
  EXPECT_FALSE(waiting.wait_for(milliseconds(50)));
  waiting.cancel();
  EXPECT_EQ(waiting.get().error().outcome, cq::Outcome::kCancelled);
  running.cancel();
  running.cancel();
  EXPECT_EQ(running.get().error().outcome, cq::Outcome::kCancelled);
  const auto after = master.submit(twice, 2);
  EXPECT_EQ(*after.get(), 4.0);
  after.cancel();
  EXPECT_EQ(*after.get(), 4.0);
}

// Tasks that come one at a time to slots whose programs are ready, while the others are busy.
TEST_F(EmbedTest, WhatWaitsBehindTasksThatCameAloneRunsWhenTheyEnd) {
  cq::Master master({.pools = {cq::Local(2)}});
  for (int round = 0; round < 20; ++round) {
    const std::string name = std::to_string(round);
    // Both programs are started in the first round.
    const auto first = master.submit(waits, File("a" + name), File("go a" + name));
    ASSERT_TRUE(Appears(File("a" + name)));
    const auto second = master.submit(waits, File("b" + name), File("go b" + name));
    ASSERT_TRUE(Appears(File("b" + name)));
    const auto third = master.submit(twice, round);
    EXPECT_FALSE(third.wait_for(milliseconds(5)));
    std::ofstream(File((round % 2 == 0 ? "go a" : "go b") + name)).put('x');
    ASSERT_TRUE(third.wait_for(seconds(10)));
    EXPECT_EQ(*third.get(), 2.0 * round);
    if (round % 4 < 2) {
      (round % 2 == 0 ? second : first).cancel();
      EXPECT_FALSE((round % 2 == 0 ? second : first).get());
    }
    std::ofstream(File((round % 2 == 0 ? "go b" : "go a") + name)).put('x');
    EXPECT_TRUE((round % 2 == 0 ? first : second).get());
    if (round % 4 >= 2) {
      EXPECT_TRUE((round % 2 == 0 ? second : first).get());
    }
  }
}

// They print, fail, crash, and return much: each is as it would be in company.
TEST_F(EmbedTest, WhatHappensToATaskThatCameAloneIsItsOwn) {
  cq::Master master({.pools = {cq::Local(1)}});
  EXPECT_EQ(*master.submit(twice, 1).get(), 2.0);
  const std::string large(1'000'000, 'x');
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(*master.submit(echo, large).get(), large);
    const auto odd = master.submit(fails, 1).get();
    ASSERT_FALSE(odd);
    EXPECT_EQ(odd.error().err, "a last word\n");
    EXPECT_EQ(*master.submit(twice, 2).get(), 4.0);
  }
  const auto died = master.submit(dies, -1).get();
  ASSERT_FALSE(died);
  EXPECT_EQ(died.error().outcome, cq::Outcome::kCrashed);
  EXPECT_EQ(*master.submit(dies, 5).get(), 5);
}

TEST_F(EmbedTest, ContinuationsAreChained) {
  cq::Master master({.pools = {cq::Local(2)}});
  const auto text =
      master.submit(twice, 4)
          .then([&](cq::Result<double> r) { return master.submit(product, int(*r), 10); })
          .then([](cq::Result<int64_t> r) { return std::to_string(*r); });
  EXPECT_EQ(*text.get(), "80");
  std::atomic<int> called = 0;
  const auto done =
      master.submit(fails, 1).then([&](const cq::Result<int64_t>& r) { called = r ? 1 : 2; });
  EXPECT_TRUE(done.get());
  EXPECT_EQ(called, 2);
  const auto thrown = master.submit(twice, 1).then(
      [](cq::Result<double>) -> int { throw std::runtime_error("in the continuation"); });
  EXPECT_EQ(thrown.get().error().message, "in the continuation");
}

TEST_F(EmbedTest, AChainGoesOnUntilItsMasterEnds) {
  std::atomic<int> steps = 0;
  std::function<void(cq::Result<double>)> step;
  std::optional<cq::Master> master;
  master.emplace(cq::MasterOptions{.pools = {cq::Local(1)}});
  step = [&](const cq::Result<double>& result) {
    ++steps;
    if (result) master->submit(twice, 0).then(step);
  };
  for (int i = 0; i < 10; ++i) master->submit(twice, 0).then(step);
  EXPECT_TRUE(cq::Eventually([&] { return steps > 100; }));
  master.reset();
  const int last = steps;
  EXPECT_GT(last, 100);
  const auto nothing_left = master.emplace(cq::MasterOptions{.pools = {cq::Local(1)}})
                                .submit(twice, 1)
                                .then([](const cq::Result<double>&) { return cq::Future<int>(); });
  EXPECT_NE(nothing_left.get().error().message.find("Future of nothing"), std::string::npos);
  EXPECT_EQ(steps, last);
}

TEST_F(EmbedTest, FuturesCanBeWaitedForTogether) {
  cq::Master master({.pools = {cq::Local(2)}});
  std::vector<cq::Future<int64_t>> futures{master.submit(waits, File("begun"), File("go")),
                                           master.submit(product, 1, 2)};
  EXPECT_EQ(cq::wait_any(futures), 1u);
  futures.pop_back();
  EXPECT_EQ(cq::wait_any(futures, milliseconds(20)), std::nullopt);
  EXPECT_FALSE(cq::wait_all(futures, milliseconds(20)));
  Touch(File("go"));
  EXPECT_TRUE(cq::wait_all(futures));
  EXPECT_EQ(cq::wait_any(futures), 0u);
  EXPECT_TRUE(master.submit(twice, 1).wait_for(std::chrono::hours(100'000'000)));
  EXPECT_EQ(cq::wait_any(std::vector<cq::Future<int64_t>>()), std::nullopt);
}

TEST_F(EmbedTest, ADescriptorTellsWhatHasEnded) {
  cq::Master master({.pools = {cq::Local(2)}});
  pollfd fd{master.fd(), POLLIN, 0};
  EXPECT_EQ(poll(&fd, 1, 0), 0);
  std::set<uint64_t> wanted;
  for (int i = 0; i < 20; ++i) wanted.insert(master.submit(twice, i).id());
  std::set<uint64_t> seen;
  while (seen.size() < wanted.size()) {
    ASSERT_EQ(poll(&fd, 1, 20'000), 1);
    for (const uint64_t id : master.completed()) EXPECT_TRUE(seen.insert(id).second);
  }
  EXPECT_EQ(seen, wanted);
  EXPECT_EQ(poll(&fd, 1, 0), 0);
}

TEST_F(EmbedTest, ConstantsReachEverySlot) {
  cq::Master master(
      {.pools = {cq::Local(2)},
       .constants = cq::Constants().add("factor", 3.0).add("shifts", std::vector<double>{1, 0.5})});
  for (auto& result : master.map(from_constants, std::views::iota(0, 50))) {
    EXPECT_EQ(*result, 3.0 * static_cast<double>(result.index()) + 0.5);
  }
  EXPECT_EQ(master.submit(unknown_constant).get().error().message,
            "the run has no constant 'nobody'");
}

TEST_F(EmbedTest, SeedsBelongToTasks) {
  std::vector<std::vector<uint64_t>> seeds;
  for (const uint64_t seed : {1, 1, 2}) {
    cq::Master master({.pools = {cq::Local(2)}, .seed = seed});
    seeds.emplace_back();
    for (int i = 0; i < 20; ++i) seeds.back().push_back(*master.submit(seed_of).get());
  }
  EXPECT_EQ(seeds[0], seeds[1]);
  EXPECT_NE(seeds[0], seeds[2]);
  EXPECT_EQ(std::set(seeds[0].begin(), seeds[0].end()).size(), 20u);
}

TEST_F(EmbedTest, ManyThreadsAndManyMasters) {
  cq::Master one({.pools = {cq::Local(1)}});
  cq::Master two({.pools = {cq::Local(1)}});
  std::atomic<int64_t> sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      cq::Master& master = t % 2 == 0 ? one : two;
      std::vector<cq::Future<int64_t>> futures;
      for (int i = 0; i < 200; ++i) futures.push_back(master.submit(product, i, t));
      for (const auto& future : futures) sum += *future.get();
      for (auto& result : master.map(product, std::vector(100, std::tuple(1, t)))) sum += *result;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, (0 + 1 + 2 + 3) * (199 * 200 / 2 + 100));
}

TEST_F(EmbedTest, TheEndOfAMasterLeavesNothing) {
  const std::string temporary = directory_.path();
  setenv("TMPDIR", temporary.c_str(), 1);
  cq::Future<int64_t> running;
  cq::Future<double> waiting;
  cq::Future<int> chained;
  {
    cq::Master master({.pools = {cq::Local(1)}});
    running = master.submit(waits, File("begun"), File("never"));
    waiting = master.submit(twice, 1);
    chained = waiting.then([](const cq::Result<double>& r) { return r ? 1 : 2; });
    ASSERT_TRUE(Appears(File("begun")));
    EXPECT_FALSE(Left().empty());
  }
  unsetenv("TMPDIR");
  EXPECT_TRUE(cq::Eventually([] { return Left().empty(); }, cq::kASecond));
  EXPECT_EQ(running.get().error().outcome, cq::Outcome::kCancelled);
  EXPECT_EQ(waiting.get().error().message, "the master has ended");
  EXPECT_EQ(*chained.get(), 2);
  waiting.cancel();
  std::filesystem::remove(File("begun"));
  EXPECT_TRUE(std::filesystem::is_empty(temporary));
}

TEST_F(EmbedTest, AWorkerThatIsKilledIsReplaced) {
  std::vector<std::string> warnings;
  std::mutex mutex;
  cq::Master master({.pools = {cq::Local(1)}, .warn = [&](const std::string& text) {
                       const std::lock_guard lock(mutex);
                       warnings.push_back(text);
                     }});
  const auto task = master.submit(waits, File("begun"), File("go"));
  ASSERT_TRUE(Appears(File("begun")));
  for (const pid_t pid : cq::DescendantsWith(getpid(), "--life-fd")) kill(pid, SIGKILL);
  Touch(File("go"));
  EXPECT_EQ(*task.get(), 1);
  const std::lock_guard lock(mutex);
  EXPECT_FALSE(warnings.empty());
}

TEST_F(EmbedTest, PoolsOfSeveralKindsWorkTogether) {
  cq::Master master({.pools = {cq::Local(1), {.workers = 2, .slots = 1}}});
  ASSERT_TRUE(cq::Eventually([&] { return master.status().workers == 3; }));
  std::vector<cq::Future<int64_t>> futures;
  for (int i = 0; i < 3; ++i) {
    futures.push_back(master.submit(waits, File("begun" + std::to_string(i)), File("go")));
  }
  // All at a time: each on another worker.
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Appears(File("begun" + std::to_string(i))));
  for (const pid_t pid : cq::DescendantsWith(getpid(), "local 1000001")) kill(pid, SIGKILL);
  Touch(File("go"));
  EXPECT_TRUE(cq::wait_all(futures));
  for (const auto& future : futures) EXPECT_TRUE(future.get());
}

TEST_F(EmbedTest, NoWorkerIsAnErrorAndNoHang) {
  cq::Master master({.pools = {cq::Local(1)},
                     .worker_check = "echo no licence >&2; exit 1",
                     .warn = [](const std::string&) {}});
  const auto task = master.submit(twice, 1);
  EXPECT_NE(task.get().error().message.find("no licence"), std::string::npos)
      << task.get().error().message;
  EXPECT_FALSE(master.submit(twice, 1).get());
  // Whoever waits for the descriptor hears of it, too.
  pollfd fd{master.fd(), POLLIN, 0};
  const uint64_t id = master.submit(twice, 1).id();
  ASSERT_EQ(poll(&fd, 1, 20'000), 1);
  EXPECT_EQ(master.completed(), std::vector<uint64_t>{id});
  for (auto& result : master.map(twice, std::vector<double>{1, 2})) EXPECT_FALSE(result);
}

TEST_F(EmbedTest, MemoryForArgumentsIsBounded) {
  cq::Master master({.pools = {cq::Local(1)}, .memory_bytes = 100'000});
  const auto running = master.submit(waits, File("begun"), File("go"));
  const std::string text(60'000, 'x');
  const auto second = master.try_submit(echo, text);
  ASSERT_TRUE(second);
  EXPECT_FALSE(master.try_submit(echo, text));
  std::thread opener([&] {
    EXPECT_TRUE(Appears(File("begun")));
    Touch(File("go"));
  });
  // Blocks until there is room.
  EXPECT_EQ(*master.submit(echo, text).get(), text);
  opener.join();
  EXPECT_TRUE(second->ready());
  EXPECT_TRUE(master.try_submit(echo, text));
  size_t sum = 0;
  for (auto& result : master.map(echo, std::vector(40, text))) sum += result->size();
  EXPECT_EQ(sum, 40 * text.size());
}

TEST_F(EmbedTest, AResultInTheRunDirectoryIsNotComputedAgain) {
  const cq::MasterOptions options{.pools = {cq::Local(2)}, .run_dir = File("run"), .seed = 7};
  uint64_t seed = 0;
  {
    cq::Master master(options);
    EXPECT_EQ(*master.submit(counted, File("calls"), 3).get(), 9);
    // The same again is another task.
    EXPECT_EQ(*master.submit(counted, File("calls"), 3).get(), 9);
    EXPECT_FALSE(master.submit(fails, 1).get());
    seed = *master.submit(seed_of).get();
  }
  EXPECT_EQ(Calls(), 2u);
  {
    cq::Master master(options);
    EXPECT_EQ(*master.submit(counted, File("calls"), 3).get(), 9);
    EXPECT_EQ(*master.submit(counted, File("calls"), 3).get(), 9);
    EXPECT_EQ(Calls(), 2u);
    EXPECT_EQ(*master.submit(counted, File("calls"), 3).get(), 9);
    EXPECT_EQ(*master.submit(counted, File("calls"), 4).get(), 16);
    EXPECT_EQ(Calls(), 4u);
    EXPECT_EQ(master.submit(fails, 1).get().error().message, "odd: 1");
    EXPECT_EQ(*master.submit(seed_of).get(), seed);
    EXPECT_NE(*master.submit(seed_of).get(), seed);
  }
  auto other = options;
  other.constants.add("x", 1.0);
  EXPECT_THROW(cq::Master{other}, cq::UsageError);
  other = options;
  other.fresh = true;
  cq::Master master(other);
  EXPECT_EQ(*master.submit(counted, File("calls"), 3).get(), 9);
  EXPECT_EQ(Calls(), 5u);
  EXPECT_THROW(cq::Master{options}, cq::UsageError);
}

TEST_F(EmbedTest, TheToolsKnowARunOfCalls) {
  {
    cq::Master master({.pools = {cq::Local(1)}, .run_dir = File("run")});
    EXPECT_EQ(*master.submit(product, 6, 7).get(), 42);
    EXPECT_FALSE(master.submit(fails, 1).get());
  }
  const auto cq_program = [&](std::vector<std::string> words) {
    words.insert(words.begin(), CQ_PROGRAM);
    return cq::TestProcess(words, directory_.path()).Wait();
  };
  const auto status = cq_program({"status", "run"});
  EXPECT_EQ(status.status, 1) << status.err;
  EXPECT_NE(status.out.find("finished, 2 of 2"), std::string::npos) << status.out;
  const auto log = cq_program({"log", "run", "1"});
  EXPECT_NE(log.out.find("call: product(6,7)\nreturned: 42\n"), std::string::npos) << log.out;
  EXPECT_NE(cq_program({"log", "run", "2"}).out.find("error: odd: 1"), std::string::npos);
  EXPECT_NE(cq_program({"export", "run"}).err.find("are calls of a program"), std::string::npos);
  EXPECT_NE(cq_program({"resume", "run"}).err.find("are calls of a program"), std::string::npos);
  Touch(File("in.csv"));
  EXPECT_EQ(cq_program({"run", "in.csv", "--run-dir", "run", "--", "true"}).status, 2);
}

TEST_F(EmbedTest, WhatAKilledMasterLeftIsRemovedByTheNext) {
  setenv("TMPDIR", directory_.path().c_str(), 1);
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  cq::TestProcess killed({self, "--scenario", directory_.path(), "die in memory"}, "/");
  EXPECT_EQ(killed.Wait().status, 128 + SIGKILL);
  const auto private_directories = [&] {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      count += entry.path().filename().string().starts_with(".cq-master-") ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(private_directories(), 1u);
  cq::Master one({.pools = {cq::Local(1)}});
  EXPECT_EQ(private_directories(), 1u);
  cq::Master two({.pools = {cq::Local(1)}});
  EXPECT_EQ(private_directories(), 2u);
  unsetenv("TMPDIR");
}

TEST_F(EmbedTest, AMasterThatWasKilledGoesOnWhereItWas) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  cq::TestProcess killed({self, "--scenario", directory_.path(), "die"}, directory_.path());
  EXPECT_EQ(killed.Wait().status, 128 + SIGKILL);
  const size_t before = Calls();
  EXPECT_GE(before, 5u);
  cq::TestProcess again({self, "--scenario", directory_.path(), "live"}, directory_.path());
  const auto ended = again.Wait();
  EXPECT_EQ(ended.out, "285\n") << ended.err;
  // What was recorded did not run again; the rest may have been running when all was killed.
  EXPECT_LE(Calls(), before + 5);
}

}  // namespace

int main(int argc, char** argv) {
  cq::Runtime runtime(argc, argv);
  if (argc == 4 && std::string(argv[1]) == "--scenario") {
    const std::string which = argv[3];
    return which == "pending"  ? RunPendingScenario()
           : which == "bursts" ? RunBurstsScenario()
                               : RunScenario(argv[2], which);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
