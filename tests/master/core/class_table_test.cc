// What tasks ask for, by class, and which classes there may be.
#include "master/core/class_table.h"

#include <gtest/gtest.h>

namespace cq {
namespace {

TEST(ClassTableTest, WhatAsksForTheSameIsOfOneClass) {
  const std::vector<PoolKind> pools(1);
  const Escalation by{2, 1};
  ClassTable classes(pools, by);
  classes.Open({{}, {.memory_bytes = 5}});
  EXPECT_EQ(classes.Find({.memory_bytes = 5}, 1000), ClassId{1});
  EXPECT_EQ(classes.Find({.memory_bytes = 7}, 1000), ClassId{2});
  EXPECT_EQ(classes.Find({.memory_bytes = 7}, 2000), ClassId{3}) << "with another time limit";
  EXPECT_EQ(classes.Find({.memory_bytes = 7}, 1000), ClassId{2});
  EXPECT_EQ(classes.WithMoreMemory(1, 0), ClassId{4});
  EXPECT_EQ(classes[4].request.memory_bytes, 10u);
  EXPECT_EQ(classes.WithMoreTime(1), std::nullopt) << "nobody asked for that";
}

TEST(ClassTableTest, WhatNoPoolHasIsNoClass) {
  std::vector<PoolKind> pools(1);
  pools[0].capacity.memory_bytes = 8;
  const Escalation by{2, 1};
  ClassTable classes(pools, by);
  classes.Open({{.memory_bytes = 8}});
  EXPECT_EQ(classes.Find({.memory_bytes = 9}, 1000), std::nullopt);
  EXPECT_EQ(classes.WithMoreMemory(0, 0), std::nullopt);
  EXPECT_FALSE(classes.full());
}

TEST(ClassTableTest, OnlySoManyHaveRoom) {
  const std::vector<PoolKind> pools(1);
  const Escalation by{2, 1};
  ClassTable classes(pools, by);
  classes.Open({{}});
  uint64_t bytes = 0;
  while (!classes.full()) ASSERT_TRUE(classes.Find({.memory_bytes = ++bytes}, 1000));
  EXPECT_EQ(classes.size(), 60'000u);
  EXPECT_EQ(classes.Find({.memory_bytes = bytes + 1}, 1000), std::nullopt);
  EXPECT_TRUE(classes.Find({.memory_bytes = bytes}, 1000));
}

}  // namespace
}  // namespace cq
