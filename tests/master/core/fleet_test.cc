// The fleet by itself: sessions, leases and ends of workers, and what it tells whoever has tasks
// there.
#include "master/core/fleet.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cq {
namespace {

using std::chrono::seconds;

constexpr RunId kFleet = 77;

/// Writes down what it is told.
class Listener final : public Tenant {
 public:
  uint64_t OnLost(Time, Worker& worker, const Loss& loss) override {
    told.push_back(fmt::format("{} is lost: {}", worker.number, loss.reason));
    last = loss;
    return tasks;
  }
  void OnExplained(Time, const Worker& worker, Blame blame) override {
    const bool explained = blame == Blame::kNobody;
    told.push_back(fmt::format("{} {}", worker.number, explained ? "explained" : "unexplained"));
  }
  void OnForgotten(const Worker& worker) override {
    told.push_back(fmt::format("{} is forgotten", worker.number));
  }
  void OnHello(Worker& worker, const Hello&) override {
    told.push_back(fmt::format("{} is here", worker.number));
  }
  void OnWelcome(const Worker& worker) override {
    told.push_back(fmt::format("{} is welcome", worker.number));
  }
  void OnMayTake(const Worker& worker) override {
    told.push_back(fmt::format("{} may take", worker.number));
  }
  void OnComplete() override { told.push_back("complete"); }

  std::vector<std::string> Told() { return std::exchange(told, {}); }

  std::vector<std::string> told;
  Loss last;
  uint64_t tasks = 0;
};

class FleetTest : public ::testing::Test {
 protected:
  void Start(bool explained_late = false, const Recovered& recovered = {}) {
    fleet_ = std::make_unique<Fleet>(Fleet::Options{kFleet, 1, seconds(30), explained_late},
                                     recovered, out_);
    fleet_->set_tenant(listener_);
    fleet_->OnTick(now_);
  }

  static Hello HelloOf(uint8_t worker, const std::string& allocation) {
    Hello hello;
    hello.run = kFleet;
    hello.worker[0] = worker;
    hello.host = fmt::format("n{}", worker);
    hello.allocation = allocation;
    hello.slots = 2;
    hello.capacity = 20;
    return hello;
  }

  // It knocks, and answers the `who`; its row becomes durable.
  Worker& Join(ConnectionId from, uint8_t worker, const std::string& allocation = "job 1") {
    Hello hello = HelloOf(worker, allocation);
    fleet_->OnHello(now_, from, {0, 0}, hello);
    const SessionId offered = Offered(from);
    fleet_->OnHello(now_, from, {offered, 0}, hello);
    std::vector<uint64_t> recorded;
    for (const auto& record : Written<WorkerRecord>()) recorded.push_back(record.worker);
    fleet_->OnRecorded(recorded);
    fleet_->CheckInvariants();
    return fleet_->workers()[fleet_->workers().FindPeer(from)->worker];
  }

  // The actions so far are kept until they are looked at.
  void Gather() {
    for (Action& action : out_.Take()) actions_.push_back(std::move(action));
  }
  SessionId Offered(ConnectionId to) {
    Gather();
    SessionId offered = 0;
    for (const Action& action : actions_) {
      const auto* send = std::get_if<Send>(&action);
      if (send && send->to == to && std::holds_alternative<Who>(send->message)) {
        offered = send->session;
      }
    }
    return offered;
  }
  template <class R>
  std::vector<R> Written() {
    Gather();
    std::vector<R> records;
    for (const Action& action : std::exchange(actions_, {})) {
      const auto* write = std::get_if<Write>(&action);
      if (write == nullptr) continue;
      for (const JournalRecord& record : write->records) {
        if (const auto* wanted = std::get_if<R>(&record)) records.push_back(*wanted);
      }
    }
    return records;
  }
  template <class M>
  size_t Sent() {
    Gather();
    return static_cast<size_t>(std::count_if(actions_.begin(), actions_.end(), [](const Action& a) {
      const auto* send = std::get_if<Send>(&a);
      return send != nullptr && std::holds_alternative<M>(send->message);
    }));
  }
  void Pass(Time time) {
    for (const Time until = now_ + time; now_ < until;) {
      now_ = std::min(now_ + fleet_->tick(), until);
      fleet_->OnTick(now_);
      fleet_->Sweep(now_);
      fleet_->CheckInvariants();
    }
  }

  Outbox out_;
  Listener listener_;
  std::unique_ptr<Fleet> fleet_;
  std::vector<Action> actions_;
  Time now_ = seconds(100);
};

TEST_F(FleetTest, AWorkerIsWelcomeOnceItsRowIsDurable) {
  Start();
  Hello hello = HelloOf(1, "job 1");
  fleet_->OnHello(now_, 5, {0, 0}, hello);
  fleet_->OnHello(now_, 5, {Offered(5), 0}, hello);
  EXPECT_EQ(Sent<Welcome>(), 0u);
  EXPECT_FALSE(fleet_->workers()[0].Takes());
  EXPECT_EQ(listener_.Told(), std::vector<std::string>{"1 is here"});
  fleet_->OnRecorded({1});
  EXPECT_EQ(Sent<Welcome>(), 1u);
  EXPECT_TRUE(fleet_->workers()[0].Takes());
  EXPECT_EQ(listener_.Told(), (std::vector<std::string>{"1 is welcome", "1 may take"}));
}

TEST_F(FleetTest, AnotherFleetsWorkerIsRefused) {
  Start();
  Hello hello = HelloOf(1, "job 1");
  hello.run = kFleet + 1;
  fleet_->OnHello(now_, 5, {0, 0}, hello);
  EXPECT_EQ(Sent<Refuse>(), 1u);
  EXPECT_EQ(Sent<Who>(), 0u);
}

TEST_F(FleetTest, WhatComesInAnOlderSessionIsNotHeard) {
  Start();
  const Worker& worker = Join(5, 1);
  EXPECT_EQ(fleet_->OnMessage(now_, 5, {worker.session, 1}).worker, &worker);
  EXPECT_EQ(fleet_->OnMessage(now_, 5, {worker.session - 1, 2}).worker, nullptr);
  EXPECT_FALSE(fleet_->OnMessage(now_, 5, {worker.session, 2}).gap);
  EXPECT_TRUE(fleet_->OnMessage(now_, 5, {worker.session, 4}).gap);
  // Whoever is unknown is asked.
  EXPECT_EQ(fleet_->OnMessage(now_, 6, {worker.session, 5}).worker, nullptr);
  EXPECT_NE(Offered(6), 0u);
}

TEST_F(FleetTest, SilenceEndsALeaseAndAPauseOfTheMasterDoesNot) {
  Start(true);
  const Worker& worker = Join(5, 1);
  now_ += seconds(60);
  fleet_->OnTick(now_);
  fleet_->Sweep(now_);
  EXPECT_FALSE(worker.gone());
  listener_.tasks = 3;
  Pass(seconds(31));
  EXPECT_TRUE(worker.gone());
  EXPECT_EQ(listener_.last.blame, Blame::kProvisional);
  EXPECT_GT(listener_.last.runs_until, now_ + seconds(30));
  EXPECT_EQ(fleet_->workers().here(), 0u);
  EXPECT_EQ(Written<WorkerEndRecord>().size(), 1u);
}

TEST_F(FleetTest, AJobThatIsSaidToHaveEndedIsLostUnlessItAnswers) {
  Start(true);
  const Worker& worker = Join(5, 1);
  fleet_->OnAllocationEnded(now_, "job 1", "out of memory", Blame::kNobody);
  Pass(seconds(2));
  EXPECT_FALSE(worker.gone());
  // It answers the `who` that this brings.
  Hello hello = HelloOf(1, "job 1");
  fleet_->OnHello(now_, 5, {Offered(5), 0}, hello);
  Pass(seconds(2));
  EXPECT_FALSE(worker.gone());
  fleet_->OnAllocationEnded(now_, "job 1", "out of memory", Blame::kNobody);
  Pass(seconds(4));
  EXPECT_TRUE(worker.gone());
  EXPECT_EQ(listener_.last.blame, Blame::kNobody);
  // What the scheduler says later is for whoever was charged.
  listener_.told.clear();
  fleet_->OnAllocationEnded(now_, "job 1", "node failed", Blame::kNobody);
  EXPECT_EQ(listener_.Told(), std::vector<std::string>{"1 explained"});
}

TEST_F(FleetTest, ALostConnectionIsNoLossAndANewOneTakesItsPlace) {
  Start();
  const Worker& worker = Join(5, 1);
  fleet_->OnUnreachable(5);
  EXPECT_EQ(worker.here(), nullptr);
  EXPECT_FALSE(worker.gone());
  Join(6, 1);
  ASSERT_NE(worker.here(), nullptr);
  EXPECT_EQ(worker.here()->connection, 6u);
  EXPECT_EQ(fleet_->workers().all().size(), 1u);
  EXPECT_EQ(fleet_->workers().here(), 1u);
}

TEST_F(FleetTest, WorkersOfAnEarlierMasterAreAwaitedUntilTheLastIsBackOrGivenUp) {
  Recovered recovered;
  for (uint8_t i = 1; i <= 3; ++i) {
    KnownWorker& known = recovered.workers.emplace_back();
    known.number = i;
    known.id[0] = i;
    known.allocation = fmt::format("job {}", i);
    // Of the third its scheduler tells.
    known.watched = i == 3;
  }
  recovered.last_worker = 3;
  Start(false, recovered);
  EXPECT_EQ(fleet_->awaiting(), 3u);
  Join(5, 1);
  EXPECT_EQ(fleet_->awaiting(), 2u);
  Pass(seconds(61));
  EXPECT_EQ(fleet_->awaiting(), 1u);
  EXPECT_EQ(std::count(listener_.told.begin(), listener_.told.end(), "complete"), 0);
  // Its allocation was started anew: nobody waits for the old one.
  Join(7, 9, "job 3");
  EXPECT_EQ(fleet_->awaiting(), 0u);
  EXPECT_EQ(std::count(listener_.told.begin(), listener_.told.end(), "complete"), 1);
}

TEST_F(FleetTest, WhoIsLongGoneIsForgottenAndItsPlaceIsAnothers) {
  Start();
  const WorkerRef first = Join(5, 1, "job 1").ref();
  const WorkerRef second = Join(6, 2, "job 2").ref();
  Worker& worker = *fleet_->workers().Find(first);
  const Time remembered = CoreOptions{}.remembered;
  fleet_->OnGoodbye(now_, worker, "idle");
  listener_.Told();
  const auto pass = [&](Time time) {
    // The other one lives on.
    for (const Time until = now_ + time; now_ < until;) {
      Pass(std::min<Time>(seconds(20), until - now_));
      fleet_->workers().Find(second)->last_heard = now_;
    }
  };
  pass(remembered);
  EXPECT_TRUE(fleet_->HasSession("job 1"));
  EXPECT_EQ(fleet_->workers().Find(first), &worker);
  pass(seconds(20));
  EXPECT_EQ(listener_.Told(), std::vector<std::string>{"1 is forgotten"});
  EXPECT_FALSE(fleet_->HasSession("job 1"));
  EXPECT_EQ(fleet_->workers().Find(first), nullptr);
  EXPECT_EQ(fleet_->workers().WithNumber(1), nullptr);
  EXPECT_EQ(fleet_->workers().Find(second)->number, 2u);
  // Its place is used again, and it comes back as another.
  const Worker& third = Join(7, 3, "job 3");
  EXPECT_EQ(third.index, first.index);
  EXPECT_EQ(third.number, 3u);
  EXPECT_EQ(fleet_->workers().Find(first), nullptr);
  EXPECT_EQ(Join(8, 1, "job 1").number, 4u);
  EXPECT_EQ(fleet_->workers().all().size(), 3u);
}

// Until the journal has its row it may not be named by another's number.
TEST_F(FleetTest, WhoseRowIsNotDurableIsNotForgotten) {
  Start();
  Hello hello = HelloOf(1, "job 1");
  fleet_->OnHello(now_, 5, {0, 0}, hello);
  fleet_->OnHello(now_, 5, {Offered(5), 0}, hello);
  Pass(CoreOptions{}.remembered + 2 * fleet_->lease());
  ASSERT_NE(fleet_->workers().WithNumber(1), nullptr);
  EXPECT_TRUE(fleet_->workers().WithNumber(1)->gone());
  fleet_->OnRecorded({1});
  Pass(seconds(1));
  EXPECT_EQ(fleet_->workers().WithNumber(1), nullptr);
}

TEST_F(FleetTest, ADrainedFleetTellsWhoeverComesLater) {
  Start();
  Join(5, 1);
  fleet_->Drain("enough");
  EXPECT_EQ(Sent<cq::Drain>(), 1u);
  EXPECT_TRUE(Join(6, 2, "job 2").leaving);
  EXPECT_FALSE(fleet_->workers()[1].stays());
}

}  // namespace
}  // namespace cq
