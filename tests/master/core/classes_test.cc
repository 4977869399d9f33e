// Tasks that ask for different things: who gets which, and in which order.
#include "tests/master/core/core_fixture.h"

namespace cq {
namespace {

class ClassesTest : public CoreTest {
 protected:
  // Class 1 asks for `small` CPUs, class 2 for `large` ones; `of` says the class of each task.
  void Begin(const std::vector<uint16_t>& of, uint64_t small = 1, uint64_t large = 4) {
    options_.requests.classes = {{}, {.cpus = small}, {.cpus = large}};
    options_.requests.of = of;
    for (uint16_t one = 0; one < 3; ++one) {
      const uint64_t begin = options_.order.tasks.size();
      for (TaskId task = 1; task <= of.size(); ++task) {
        if (of[task - 1] == one) options_.order.tasks.push_back(task);
      }
      if (options_.order.tasks.size() > begin) options_.order.sections.push_back({begin, one});
    }
    Start(of.size());
  }

  std::vector<Action> Come(ConnectionId connection, uint64_t slots, uint64_t cpus,
                           const std::string& pool = "") {
    const auto id = static_cast<uint8_t>(connection);
    Hello hello = HelloOf(id, slots);
    PutCapacity(hello.extras, {cpus, std::nullopt, {}}, pool);
    return JoinAs(connection, hello);
  }

  static std::vector<TaskId> Tasks(const std::vector<AttemptRef>& refs) {
    std::vector<TaskId> tasks;
    for (const AttemptRef& ref : refs) tasks.push_back(ref.task);
    std::sort(tasks.begin(), tasks.end());
    return tasks;
  }
  using Ids = std::vector<TaskId>;
};

TEST_F(ClassesTest, AWorkerIsGivenWhatFitsItAtOnce) {
  Begin({2, 1, 1, 1, 2});
  // In the order of the rows: the first takes all, and what is behind it waits.
  EXPECT_EQ(Tasks(Given(Come(1, 8, 4), 1)), Ids{1});
  EXPECT_EQ(Tasks(Given(Come(2, 8, 5), 2)), (Ids{2, 3, 4})) << "not the fifth, which asks for 4";
  EXPECT_EQ(Tasks(Given(Finish(1, held_[1][0]), 1)), Ids{5});
}

TEST_F(ClassesTest, OneThatIsTooSmallGetsNone) {
  Begin({2, 2, 1});
  EXPECT_EQ(Tasks(Given(Come(1, 8, 2), 1)), Ids{3});
  EXPECT_EQ(Tasks(Given(Come(2, 8, 8), 2)), (Ids{1, 2}));
}

TEST_F(ClassesTest, OfOneClassWithRoomForFewerThanSlotsTheOthersWaitAtHand) {
  options_.requests.classes = {{.cpus = 2}};
  Start(10);
  // Two at a time, and as unknown tasks one more for each.
  EXPECT_EQ(Given(Come(1, 8, 4), 1).size(), 4u);
}

TEST_F(ClassesTest, ShortOnesOfOneClassAreGivenAhead) {
  Begin(std::vector<uint16_t>(40, 1), 2);
  Come(1, 8, 4);
  ASSERT_EQ(held_[1].size(), 2u) << "nobody knows how long they take";
  const auto more = Report(1, Results{kRun, {}, {ResultOf(held_[1][0], Outcome::kOk, 10'000)}});
  EXPECT_GT(Given(more, 1).size(), 2u);
}

TEST_F(ClassesTest, LongOnesAreNot) {
  Begin(std::vector<uint16_t>(40, 1), 2);
  Come(1, 8, 4);
  const auto more = Report(1, Results{kRun, {}, {ResultOf(held_[1][0], Outcome::kOk, 5'000'000)}});
  EXPECT_EQ(Given(more, 1).size(), 1u);
}

TEST_F(ClassesTest, TheWorkersPoolComesFirst) {
  options_.pools = {{"small", {2, std::nullopt, {}}, 8, 0}, {"large", {8, std::nullopt, {}}, 8, 0}};
  Begin({1, 1, 2, 2});
  // Both could take the first; the large one's own work are the others, and then what is left.
  EXPECT_EQ(Tasks(Given(Come(1, 8, 8, "large"), 1)), (Ids{3, 4}));
  EXPECT_EQ(Tasks(Given(Come(2, 8, 2, "small"), 2)), (Ids{1, 2}));
}

TEST_F(ClassesTest, ALargerPoolThatIdlesTakesWhatIsAnothers) {
  options_.pools = {{"small", {2, std::nullopt, {}}, 8, 0}, {"large", {8, std::nullopt, {}}, 8, 0}};
  Begin({1, 1, 2});
  EXPECT_EQ(Tasks(Given(Come(1, 8, 8, "large"), 1)), (Ids{1, 2, 3}));
  // But it is no reason to start it.
  EXPECT_EQ(core_->demand(0).tasks, 2u);
  EXPECT_EQ(core_->demand(1).tasks, 1u);
  EXPECT_EQ(core_->demand(1).slots, 4u) << "two of them fill 8 slots";
}

TEST_F(ClassesTest, AWorkerOfAPoolThatIsGoneLeaves) {
  Begin({1, 1});
  const auto actions = Come(1, 8, 8, "gone");
  EXPECT_TRUE(Given(actions, 1).empty());
  EXPECT_EQ(All<cq::Drain>(actions).size(), 1u);
}

// Small ones would fit for ever, and the large one never.
TEST_F(ClassesTest, AWorkerIsKeptForWhoWaitsLong) {
  std::vector<uint16_t> of(400, 1);
  of[3] = 2;
  Begin(of);
  Come(1, 4, 4);
  ASSERT_EQ(Tasks(held_[1]), (Ids{1, 2, 3, 5})) << "the fourth is next, and does not fit";
  std::vector<TaskId> given;
  size_t next = 0;
  for (int second = 0; second < 200 && next < held_[1].size(); ++second) {
    Tick(seconds(1));
    Tell(1, session_[1], ++sequence_[1], WorkerHeartbeat{0, 400, {}, {}});
    for (const AttemptRef& ref : Given(Finish(1, held_[1][next++]), 1)) given.push_back(ref.task);
    if (std::find(given.begin(), given.end(), 4) != given.end()) break;
  }
  EXPECT_NE(std::find(given.begin(), given.end(), 4), given.end());
  EXPECT_LT(given.size(), 100u);
}

// However long what runs there takes: it is not kept in vain before the large one has had room.
TEST_F(ClassesTest, AWorkerIsKeptForAsLongAsWhatRunsThereTakes) {
  std::vector<uint16_t> of(400, 1);
  of[3] = 2;
  Begin(of);
  Come(1, 4, 4);
  const std::vector<AttemptRef> running = held_[1];
  ASSERT_EQ(Tasks(running), (Ids{1, 2, 3, 5}));
  std::vector<Action> last;
  for (const AttemptRef& ref : running) {
    EXPECT_TRUE(Given(last, 1).empty()) << "a small one took the place";
    for (int second = 0; second < 150; ++second) {
      Tick(seconds(1));
      Tell(1, session_[1], ++sequence_[1], WorkerHeartbeat{0, 400, {}, {}});
    }
    last = Finish(1, ref);
  }
  EXPECT_EQ(Tasks(Given(last, 1)), Ids{4});
}

// The worker that is kept for it gets meanwhile what ends before the long one there does.
TEST_F(ClassesTest, WhatEndsBeforeTheKeptWorkerIsFreeGoesThereMeanwhile) {
  // Class 1: 1 CPU, short; class 2: 4 CPUs; class 3: 1 CPU, long.
  options_.requests.classes = {
      {}, {.cpus = 1, .time_ms = 2'000}, {.cpus = 4}, {.cpus = 1, .time_ms = 200'000}};
  options_.requests.of = std::vector<uint16_t>(300, 1);
  options_.requests.of[0] = 3;
  options_.requests.of[1] = 2;
  options_.order.sections = {{0, 3}, {1, 2}, {2, 1}};
  for (TaskId task = 1; task <= 300; ++task) options_.order.tasks.push_back(task);
  Start(300);
  const auto run = [&](const AttemptRef& ref) {
    Report(1, Started{kRun, {{ref.task, ref.attempt, 0}}});
  };
  Come(1, 4, 4);
  ASSERT_EQ(Tasks(held_[1]), (Ids{1, 3, 4, 5}));
  const AttemptRef long_one = held_[1][0];
  for (const AttemptRef& ref : held_[1]) run(ref);
  // Every 2 s the short ones end: others come until the long one will soon end.
  std::vector<AttemptRef> running(held_[1].begin() + 1, held_[1].end());
  std::optional<seconds> last_given;
  for (seconds now{2}; now <= seconds(200); now += seconds(2)) {
    std::vector<AttemptRef> next;
    for (int i = 0; i < 2; ++i) {
      Tick(seconds(1));
      Tell(1, session_[1], ++sequence_[1], WorkerHeartbeat{0, 400, {}, {}});
    }
    for (const AttemptRef& ref : running) {
      for (const AttemptRef& given : Given(Finish(1, ref), 1)) next.push_back(given);
    }
    for (const AttemptRef& ref : next) run(ref);
    if (!next.empty()) last_given = now;
    running = next;
  }
  EXPECT_GE(last_given, seconds(190)) << "it is kept from 60 s on";
  EXPECT_LE(last_given, seconds(198));
  EXPECT_EQ(Tasks(Given(Finish(1, long_one), 1)), Ids{2});
}

TEST_F(ClassesTest, WhatNobodyHasIsSaid) {
  options_.pools = {{"default", {2, std::nullopt, {}}, 8, 0}};
  Begin({1, 2});
  Come(1, 8, 2);
  EXPECT_EQ(core_->CommonProblem(), "") << "one of them runs";
  Finish(1, held_[1][0]);
  EXPECT_EQ(core_->CommonProblem(),
            "tasks that are left ask for 4 CPUs, and no worker has that: the largest, on h1, has 2 "
            "CPUs");
}

// Its pool did not say how much its workers have.
TEST_F(ClassesTest, WhatWorkersSayIsWhatTheirPoolHas) {
  Begin({2, 2});
  EXPECT_EQ(core_->demand(0).tasks, 2u);
  Come(1, 8, 2);
  EXPECT_EQ(core_->demand(0).tasks, 0u) << "more of these would not help";
  EXPECT_NE(core_->CommonProblem(), "");
}

TEST_F(ClassesTest, TheWorkOfAPoolThatIsClosedIsAnothers) {
  options_.pools = {{"small", {2, std::nullopt, {}}, 2, 0}, {"large", {8, std::nullopt, {}}, 8, 0}};
  Begin({1, 2});
  EXPECT_EQ(core_->demand(0).tasks, 1u);
  core_->OnPool(0, true);
  EXPECT_EQ(core_->demand(0).tasks, 0u);
  EXPECT_EQ(core_->demand(1).tasks, 2u);
  // Of those that are in its queue nobody is taken back who alone can do it.
  core_->OnPool(1, true);
  EXPECT_EQ(core_->demand(1).tasks, 1u);
}

TEST_F(ClassesTest, NobodyIsWaitedForOfAPoolThatIsClosed) {
  options_.pools = {{"small", {2, std::nullopt, {}}, 2, 0}, {"large", {8, std::nullopt, {}}, 8, 0}};
  Begin({2, 2});
  Come(1, 2, 2, "small");
  EXPECT_EQ(core_->CommonProblem(), "");
  core_->OnPool(1, true);
  EXPECT_NE(core_->CommonProblem(), "");
}

// Those that leave are no sign that nobody can do the rest: others may come.
TEST_F(ClassesTest, WorkersThatLeaveAreNotTooSmall) {
  Start(5);
  Join(1, 1, 1);
  core_->OnLimit("local ", 0, {});
  Take();
  for (const AttemptRef& ref : std::vector<AttemptRef>(held_[1])) {
    Report(1, Returned{kRun, {{ref.task, ref.attempt, ReturnReason::kToldToGo, 0, ""}}});
  }
  EXPECT_EQ(core_->CommonProblem(), "");
}

// As where fewer GPUs can be seen than a pool was said to have.
TEST_F(ClassesTest, AWorkerWithLessThanItsPoolIsToldAndDoesNotHoldTheRun) {
  options_.pools = {{"g", {4, std::nullopt, {{"gpu", 2}}}, 4, 0}};
  options_.requests.classes = {{.needs = {{"gpu", 2}}}};
  Start(2);
  const auto actions = Come(1, 4, 4, "g");
  bool told = false;
  for (const Action& action : actions) {
    const auto* note = std::get_if<Note>(&action);
    told = told || (note != nullptr && note->text.find("has gpu 0, and its pool 'g' was said to "
                                                       "have 2") != std::string::npos);
  }
  EXPECT_TRUE(told);
  EXPECT_NE(core_->CommonProblem(), "");
}

TEST_F(ClassesTest, WhatIsWorkForTwoPoolsIsSaidOfBothAndOfNoThird) {
  options_.pools = {{"a", {2, std::nullopt, {}}, 2, 0},
                    {"b", {2, std::nullopt, {}}, 2, 0},
                    {"c", {1, std::nullopt, {}}, 8, 0}};
  Begin({1, 1}, 2);
  EXPECT_EQ(core_->demand(0).shared, 4u);
  EXPECT_EQ(core_->demand(0).with, (std::set<size_t>{0, 1}));
  EXPECT_EQ(core_->demand(2).tasks, 0u);
}

TEST_F(ClassesTest, OneThatCouldNotBeStartedIsTriedWhereItFits) {
  Begin({2, 1});
  Come(1, 4, 4);
  Come(2, 4, 1);
  Come(3, 4, 4);
  ASSERT_EQ(Tasks(held_[1]), Ids{1});
  const auto again = CannotStart(1, held_[1][0]);
  EXPECT_EQ(Tasks(Given(again, 3)), Ids{1});
  EXPECT_TRUE(Given(again, 2).empty());
  // Nobody else has what it asks for: that is its end.
  EXPECT_EQ(Written<ResultRecord>(CannotStart(3, held_[3][0])).size(), 1u);
}

// A peer may say anything of itself, and another thing the next time.
TEST_F(ClassesTest, ABookFollowsWhatAWorkerSaysOfItself) {
  Begin({1, 1, 1, 1});
  Come(1, 8, 4);
  ASSERT_EQ(held_[1].size(), 4u);
  std::vector<Held> held;
  for (const AttemptRef& ref : held_[1]) {
    held.push_back({kRun, ref.task, ref.attempt, HeldState::kRunning});
  }
  Hello hello = HelloOf(1, 1, held);
  PutCapacity(hello.extras, {1, 0, {{"gpu", 0}}, UINT64_MAX, uint64_t{1} << 62}, "");
  const auto offered = Tell(2, 0, 0, hello);
  session_[2] = Only<Who>(offered).session;
  Tell(2, session_[2], 0, hello);
  sequence_[2] = 0;
  for (const AttemptRef& ref : held_[1]) Finish(2, ref);
  EXPECT_EQ(core_->counts().done, 4u);
}

}  // namespace
}  // namespace cq
