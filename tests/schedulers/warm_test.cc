// A run's end of a warm pool, against a pool that the test plays over the real socket.
#include "schedulers/warm.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/proc.h"
#include "protocol/connection_file.h"
#include "protocol/ids.h"
#include "protocol/pool_channel.h"
#include "schedulers/registry.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

class WarmTest : public ::testing::Test {
 protected:
  WarmTest() {
    setenv("XDG_STATE_HOME", directory_.path().c_str(), 1);
    std::filesystem::create_directories(PoolDirectory("p"));
    WriteConnectionFile(directory_.File("connect.json"), {77, {}, "", {}});
    Listen("cq-warm-test-" + std::to_string(getpid()));
  }
  ~WarmTest() override { unsetenv("XDG_STATE_HOME"); }

  void Listen(const std::string& name, bool same_host = false) {
    file_ = {"p",
             HostName(),
             BootId(),
             static_cast<uint64_t>(getpid()),
             StartTimeOf(getpid()).value_or(0),
             name,
             "slurm",
             2,
             2,
             same_host};
    WritePoolFile(file_);
    listener_ = ListenForRuns(name);
  }

  WorkerLaunch Launch() const {
    WorkerLaunch launch;
    launch.program = {"/usr/bin/cq"};
    launch.connection_file = directory_.File("connect.json");
    launch.run_dir = directory_.path();
    launch.log_dir = directory_.path();
    launch.priority = 3;
    return launch;
  }

  // The run's, connected; what it said first is taken.
  std::unique_ptr<Scheduler> Borrow() {
    auto scheduler = MakeScheduler("pool:p", Launch());
    scheduler->Submit(4, "token");
    Accept();
    return scheduler;
  }
  void Accept() {
    channel_ = AcceptRun(listener_.get());
    ASSERT_TRUE(channel_);
    first_ = Wait();
    EXPECT_EQ(Wait()["say"], "want");
  }
  // What the run says next, whenever that is.
  OrderedJson Wait() {
    for (;;) {
      if (auto word = Next()) return *word;
      if (channel_->broken()) throw Error("the run has gone");
      pollfd readable{channel_->fd(), POLLIN, 0};
      poll(&readable, 1, 10'000);
    }
  }
  // All has been said when the scheduler returns.
  std::optional<OrderedJson> Next() { return channel_->Receive(); }
  void Say(const OrderedJson& message) { channel_->Send(message); }

  static LoanId Loan(uint64_t serial) { return MakeSerial(2, serial); }

  TemporaryDirectory directory_;
  PoolFile file_;
  Fd listener_;
  std::optional<PoolChannel> channel_;
  OrderedJson first_;
};

TEST_F(WarmTest, ItSaysWhoItIsAndWhatItWants) {
  const auto scheduler = Borrow();
  EXPECT_EQ(first_["say"], "borrow");
  EXPECT_EQ(first_["run"], 77);
  EXPECT_EQ(first_["priority"], 3);
  EXPECT_EQ(first_["allocations"], "pool p ");
  EXPECT_EQ(first_["pid"], getpid());
  EXPECT_TRUE(first_["loans"].empty());
  scheduler->Want(3);
  EXPECT_EQ((*Next())["slots"], 3);
  scheduler->Avoid("n7");
  EXPECT_EQ((*Next())["host"], "n7");
}

TEST_F(WarmTest, LoansAreItsWorkersUntilTheyEnd) {
  const auto scheduler = Borrow();
  scheduler->Want(2);
  Say({{"say", "lends"}, {"slots", 4}, {"none", false}});
  Say({{"say", "loan"}, {"loan", Loan(5)}, {"log", directory_.File("log")}});
  auto jobs = scheduler->Poll();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].allocation, "pool p 2.5");
  EXPECT_EQ(jobs[0].state, WorkerJob::State::kRunning);
  EXPECT_NE(scheduler->Terms().waits, "");
  Say({{"say", "ended"}, {"loan", Loan(5)}, {"reason", "it died"}, {"explained", false}});
  jobs = scheduler->Poll();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].state, WorkerJob::State::kEnded);
  EXPECT_FALSE(Explains(jobs[0].ending));
  EXPECT_EQ(jobs[0].reason, "pool p 2.5: it died");
  EXPECT_TRUE(scheduler->Poll().empty());
}

TEST_F(WarmTest, ItIsToldToLetGo) {
  const auto scheduler = Borrow();
  EXPECT_EQ(scheduler->Terms().allocations, "pool p ");
  EXPECT_FALSE(scheduler->Terms().limit);
  Say({{"say", "limit"}, {"slots", 1}});
  scheduler->Poll();
  EXPECT_EQ(scheduler->Terms().limit, 1u);
  Say({{"say", "limit"}, {"slots", -1}});
  scheduler->Poll();
  EXPECT_FALSE(scheduler->Terms().limit);
}

TEST_F(WarmTest, ThatThePoolEndsIsNoEndOfItsLoans) {
  const auto scheduler = Borrow();
  Say({{"say", "loan"}, {"loan", Loan(1)}, {"log", ""}});
  Say({{"say", "closing"}, {"reason", "told to end"}});
  EXPECT_EQ(scheduler->Poll().size(), 1u);
  EXPECT_EQ(scheduler->Terms().over, "the pool 'p': told to end");
  EXPECT_EQ(scheduler->Terms().limit, 0u);
}

TEST_F(WarmTest, APoolThatIsStartedAnewIsToldWhatItHad) {
  const auto scheduler = Borrow();
  Say({{"say", "loan"}, {"loan", Loan(1)}, {"log", ""}});
  scheduler->Poll();
  channel_.reset();
  listener_.Close();
  Listen("cq-warm-test-again-" + std::to_string(getpid()));
  EXPECT_EQ(scheduler->Poll().size(), 1u);
  Accept();
  EXPECT_EQ(first_["loans"], OrderedJson::array({Loan(1)}));
  EXPECT_EQ(scheduler->Terms().over, "");
}

TEST_F(WarmTest, OfAPoolOnThisMachineAllIsGoneWithIt) {
  Listen("cq-warm-test-here-" + std::to_string(getpid()), true);
  const auto scheduler = Borrow();
  EXPECT_EQ(first_["allocations"], "local pool p ");
  Say({{"say", "loan"}, {"loan", Loan(1)}, {"log", ""}});
  scheduler->Poll();
  channel_.reset();
  listener_.Close();
  const auto jobs = scheduler->Poll();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].state, WorkerJob::State::kEnded);
  EXPECT_TRUE(Explains(jobs[0].ending));
  EXPECT_NE(scheduler->Terms().waits, "");
}

TEST_F(WarmTest, WhatThePoolSaysWrongIsDropped) {
  const auto scheduler = Borrow();
  Say({{"say", "loan"}, {"loan", "five"}});
  Say({{"say", "ended"}});
  Say({{"say", "ended"}, {"loan", Loan(9)}, {"reason", ""}, {"explained", true}});
  Say({{"say", "something new"}});
  Say({{"say", "loan"}, {"loan", Loan(1)}, {"log", ""}});
  EXPECT_EQ(scheduler->Poll().size(), 1u);
}

TEST_F(WarmTest, InTheEndWhatIsLeftIsEnded) {
  const auto scheduler = Borrow();
  Say({{"say", "loan"}, {"loan", Loan(1)}, {"log", ""}});
  scheduler->Poll();
  // The pool, which ends what it is asked to end.
  std::thread pool([this] {
    while (!channel_->broken()) {
      pollfd readable{channel_->fd(), POLLIN, 0};
      poll(&readable, 1, 1000);
      while (const auto word = Next()) {
        if ((*word)["say"] != "end") continue;
        EXPECT_EQ((*word)["loan"], Loan(1));
        Say({{"say", "ended"}, {"loan", Loan(1)}, {"reason", ""}, {"explained", true}});
      }
    }
  });
  const auto began = std::chrono::steady_clock::now();
  scheduler->CancelAll();
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(4));
  pool.join();
}

TEST_F(WarmTest, WhatWasSaidLastIsHeardThoughNothingCanBeSent) {
  const auto scheduler = Borrow();
  Say({{"say", "closing"}, {"reason", "told to end"}});
  channel_.reset();
  scheduler->Want(2);
  scheduler->Want(3);
  scheduler->Poll();
  EXPECT_EQ(scheduler->Terms().over, "the pool 'p': told to end");
}

TEST_F(WarmTest, WhatAnEarlierMasterHadIsAskedFor) {
  const auto scheduler = MakeScheduler("pool:p", Launch());
  std::thread pool([this] {
    pollfd readable{listener_.get(), POLLIN, 0};
    poll(&readable, 1, 10'000);
    Accept();
    Say({{"say", "loan"}, {"loan", Loan(1)}, {"log", "x"}});
    Say({{"say", "ended"}, {"loan", Loan(2)}, {"reason", "gone"}, {"explained", true}});
    Say({{"say", "lends"}, {"slots", 4}, {"none", false}});
  });
  LeftSubmission left;
  left.allocations = {"pool p 2.1", "pool p 2.2", "slurm 3_4", "pool p nonsense"};
  EXPECT_EQ(scheduler->Adopt(left), Scheduler::Adopted::kYes);
  pool.join();
  EXPECT_EQ(first_["loans"], OrderedJson::array({Loan(1), Loan(2)}));
  const auto jobs = scheduler->Poll();
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].state, WorkerJob::State::kEnded);
  EXPECT_EQ(jobs[1].allocation, "pool p 2.1");
}

TEST_F(WarmTest, APoolOfAnotherKindIsNotThePoolThatItWas) {
  const auto scheduler = Borrow();
  channel_.reset();
  listener_.Close();
  file_.scheduler = "local";
  WritePoolFile(file_);
  listener_ = ListenForRuns(file_.socket);
  scheduler->Poll();
  scheduler->Poll();
  EXPECT_FALSE(AcceptRun(listener_.get()));
}

TEST_F(WarmTest, APoolThatCannotBeReachedIsRefusedBeforeAnythingStarts) {
  EXPECT_TRUE(TraitsOf("pool:p").lends);
  EXPECT_EQ(TraitsOf("pool:p").lent_at_most, 4u);
  EXPECT_THROW(TraitsOf("pool:other"), UsageError);
  EXPECT_THROW(TraitsOf("pool:../p"), UsageError);
  EXPECT_THROW(TraitsOf("nonesuch"), UsageError);
  file_.pid = 1;
  WritePoolFile(file_);
  EXPECT_THROW(MakeScheduler("pool:p", Launch()), UsageError);
  file_.host = "elsewhere";
  WritePoolFile(file_);
  EXPECT_THROW(MakeScheduler("pool:p", Launch()), UsageError);
}

}  // namespace
}  // namespace cq
