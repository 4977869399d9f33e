#include "master/input/row_matching.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/files.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

class RowMatchingTest : public ::testing::Test {
 protected:
  RowMatch Match(const std::vector<std::string>& before, const std::vector<RowRange>& ranges,
                 TaskId last, const std::vector<std::string>& after) {
    const auto write = [](const std::string& path, const std::vector<std::string>& rows) {
      std::string text = "a\n";
      for (const std::string& row : rows) text += row + "\n";
      ReplaceFile(path, text, 0600);
    };
    write(copy_, before);
    write(edited_, after);
    return MatchRows(copy_, ranges, last, edited_);
  }
  static std::vector<TaskId> TasksOf(const std::vector<RowRange>& ranges) {
    std::vector<TaskId> tasks;
    for (const RowRange& range : ranges) {
      EXPECT_EQ(range.position, tasks.size() + 1);
      for (uint64_t i = 0; i < range.rows; ++i) tasks.push_back(range.task + i);
    }
    return tasks;
  }
  TemporaryDirectory directory_;
  const std::string copy_ = directory_.File("copy.csv");
  const std::string edited_ = directory_.File("edited.csv");
};

TEST_F(RowMatchingTest, ARowKeepsItsNumberWhereverItMoves) {
  const RowMatch match = Match({"x", "y", "z"}, {{1, 1, 3}}, 3, {"z", "new", "x"});
  EXPECT_EQ(TasksOf(match.ranges), (std::vector<TaskId>{3, 4, 1}));
  EXPECT_EQ(match.removed, (std::vector<TaskId>{2}));
  EXPECT_EQ(match.kept, 2u);
  EXPECT_EQ(match.added, 1u);
}

TEST_F(RowMatchingTest, EqualRowsAreMatchedByOccurrence) {
  const RowMatch match = Match({"x", "x", "y"}, {{1, 1, 3}}, 3, {"y", "x", "x", "x"});
  // The second stays where it is.
  EXPECT_EQ(TasksOf(match.ranges), (std::vector<TaskId>{3, 2, 1, 4}));
  EXPECT_TRUE(match.removed.empty());
}

TEST_F(RowMatchingTest, ANumberThatWasGoneIsNeverUsedAgain) {
  const RowMatch match = Match({"x"}, {{1, 5, 1}}, 9, {"x", "y"});
  EXPECT_EQ(TasksOf(match.ranges), (std::vector<TaskId>{5, 10}));
}

TEST_F(RowMatchingTest, RandomEditsNeitherLoseNorDoubleARow) {
  std::mt19937 random(7);
  std::vector<std::string> rows{"a", "b", "a", "c"};
  std::vector<RowRange> ranges{{1, 1, 4}};
  TaskId last = 4;
  std::map<TaskId, std::string> row_of{{1, "a"}, {2, "b"}, {3, "a"}, {4, "c"}};
  for (int i = 0; i < 200; ++i) {
    std::vector<std::string> edited = rows;
    for (int edits = static_cast<int>(random() % 5); edits >= 0; --edits) {
      const size_t at = edited.empty() ? 0 : random() % edited.size();
      const auto place = edited.begin() + static_cast<ptrdiff_t>(at);
      if (random() % 2 == 0 || edited.empty()) {
        edited.insert(place, std::string(1, static_cast<char>('a' + random() % 6)));
      } else if (random() % 2 == 0) {
        edited.erase(place);
      } else {
        std::iter_swap(place, edited.begin());
      }
    }
    const RowMatch match = Match(rows, ranges, last, edited);
    const auto tasks = TasksOf(match.ranges);
    ASSERT_EQ(tasks.size(), edited.size());
    EXPECT_EQ(match.kept + match.added, edited.size());
    EXPECT_EQ(match.kept + match.removed.size(), rows.size());
    std::map<TaskId, std::string> now;
    for (size_t at = 0; at < tasks.size(); ++at) {
      EXPECT_TRUE(now.emplace(tasks[at], edited[at]).second) << "twice: " << tasks[at];
      if (tasks[at] > last) continue;
      EXPECT_EQ(row_of.at(tasks[at]), edited[at]);
    }
    for (const TaskId task : match.removed) EXPECT_FALSE(now.contains(task));
    last += match.added;
    rows = edited;
    ranges = match.ranges;
    row_of = now;
  }
}

TEST_F(RowMatchingTest, FilesAreTheSameByTheirBytesAlone) {
  ReplaceFile(copy_, "a\n1\n", 0600);
  ReplaceFile(edited_, "a\n1\n", 0644);
  EXPECT_TRUE(SameBytes(copy_, edited_));
  ReplaceFile(edited_, "a\n1\n\n", 0600);
  EXPECT_FALSE(SameBytes(copy_, edited_));
  EXPECT_FALSE(SameBytes(copy_, directory_.File("none")));
}

}  // namespace
}  // namespace cq
