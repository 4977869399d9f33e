#include "protocol/pool_channel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "protocol/loan_order.h"

namespace cq {
namespace {

struct Ends {
  Ends() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    channel.emplace(Fd(fds[0]));
    other = Fd(fds[1]);
  }
  void Write(const std::string& text) const { EXPECT_TRUE(WriteAll(other.get(), text)); }
  std::optional<PoolChannel> channel;
  Fd other;
};

TEST(PoolChannel, MessagesAreLinesHoweverTheyArrive) {
  Ends ends;
  ends.Write(R"({"say":"a"})"
             "\n"
             R"({"say":"b","n":)");
  EXPECT_EQ((*ends.channel->Receive())["say"], "a");
  EXPECT_FALSE(ends.channel->Receive());
  ends.Write("7}\n");
  EXPECT_EQ((*ends.channel->Receive())["n"], 7);
  EXPECT_FALSE(ends.channel->broken());
}

TEST(PoolChannel, WhatIsNoMessageEndsIt) {
  for (const char* text : {"nonsense\n", "[1]\n", "{}\n", "{\"say\":3}\n", "\n"}) {
    Ends ends;
    ends.Write(text);
    EXPECT_FALSE(ends.channel->Receive()) << text;
    EXPECT_TRUE(ends.channel->broken()) << text;
  }
}

TEST(PoolChannel, WhatCameBeforeTheEndIsHeard) {
  Ends ends;
  ends.Write("{\"say\":\"last\"}\n");
  ends.other.Close();
  EXPECT_EQ((*ends.channel->Receive())["say"], "last");
  EXPECT_FALSE(ends.channel->Receive());
  EXPECT_TRUE(ends.channel->broken());
}

TEST(PoolChannel, ALineWithoutEndHasABound) {
  Ends ends;
  const std::string part(1 << 16, 'x');
  while (!ends.channel->broken()) {
    ASSERT_TRUE(WriteAll(ends.other.get(), part));
    EXPECT_FALSE(ends.channel->Receive());
  }
}

TEST(PoolChannel, OneThatDoesNotReadIsGivenUpInTheEnd) {
  Ends ends;
  for (int i = 0; i < 100'000 && !ends.channel->broken(); ++i) {
    ends.channel->Send({{"say", "x"}, {"text", std::string(1000, 'y')}});
  }
  EXPECT_TRUE(ends.channel->broken());
}

TEST(PoolChannel, ANameIsOnePoolsAtATime) {
  const std::string name = "cq-test-" + std::to_string(getpid());
  EXPECT_FALSE(ConnectToPool(name));
  const Fd listener = ListenForRuns(name);
  EXPECT_THROW(ListenForRuns(name), std::exception);
  auto run = ConnectToPool(name);
  ASSERT_TRUE(run);
  auto pool = AcceptRun(listener.get());
  ASSERT_TRUE(pool);
  EXPECT_FALSE(AcceptRun(listener.get()));
  run->Send({{"say", "hello"}});
  EXPECT_EQ((*pool->Receive())["say"], "hello");
}

TEST(LoanOrder, IsReadAsItWasWritten) {
  const LoanOrder order{{"/opt/c q", "x"}, "/a\xff/connect.json", "pool p 1.2", "/l", 12, 34, "/w"};
  EXPECT_EQ(ParseLoanOrder(LoanOrderText(order)), order);
  for (const char* text : {"", "{}", "[]", "{\"program\":[]}"}) {
    EXPECT_THROW(ParseLoanOrder(text), std::exception) << text;
  }
}

}  // namespace
}  // namespace cq
