#include "master/input/grid.h"

#include <gtest/gtest.h>

#include "cq/error.h"

namespace cq {
namespace {

using Rows = std::vector<std::vector<std::string>>;

Table Letters() { return {"letters", {"letter"}, {{"a"}, {"b"}}}; }
Table Numbers() { return {"numbers", {"number", "square"}, {{"1", "1"}, {"2", "4"}, {"3", "9"}}}; }

Rows AllOf(const Grid& grid) {
  Rows rows;
  grid.Each([&](const std::vector<std::string>& fields) { rows.push_back(fields); });
  return rows;
}

template <class F>
std::string WhatIsWrong(F&& run) {
  try {
    run();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(GridTest, TheFirstTableChangesSlowest) {
  Grid grid;
  grid.Times(Letters());
  grid.Times(Numbers());
  EXPECT_EQ(grid.rows(), 6u);
  EXPECT_EQ(grid.columns(), (std::vector<std::string>{"letter", "number", "square"}));
  EXPECT_EQ(AllOf(grid), (Rows{{"a", "1", "1"},
                               {"a", "2", "4"},
                               {"a", "3", "9"},
                               {"b", "1", "1"},
                               {"b", "2", "4"},
                               {"b", "3", "9"}}));
}

TEST(GridTest, ZippedRowsGoTogether) {
  Grid grid;
  grid.Times(Numbers());
  EXPECT_EQ(WhatIsWrong([&] { grid.Zip(Letters()); }),
            "letters has 2 rows, and numbers, beside which they would stand, has 3");
  grid.Times(Letters());
  grid.Zip({"more", {"more"}, {{"x"}, {"y"}}});
  EXPECT_EQ(AllOf(grid)[3], (std::vector<std::string>{"2", "4", "b", "y"}));
  EXPECT_EQ(grid.rows(), 6u);
}

TEST(GridTest, WhatCannotBeIsSaid) {
  Grid grid;
  grid.Times(Letters());
  EXPECT_EQ(WhatIsWrong([&] { grid.Times(Letters()); }),
            "the column 'letter' is in letters and in letters: rename one of them");
  grid.Times({"nothing", {"none"}, {}});
  EXPECT_EQ(grid.rows(), 0u);
  EXPECT_TRUE(AllOf(grid).empty());
  Grid large;
  for (const char* name : {"a", "b", "c"}) {
    Table table{name, {name}, {}};
    table.rows.resize(100'000, {"1"});
    large.Times(std::move(table));
  }
  EXPECT_EQ(WhatIsWrong([&] { large.rows(); }), "that would be more than 1000000000000 rows");
}

}  // namespace
}  // namespace cq
