#include "protocol/pieces.h"

#include <gtest/gtest.h>

#include "protocol/run_text.h"
#include "protocol/seeds.h"

namespace cq {
namespace {

TEST(PiecesTest, PiecesComeBackAndAPartOfOneIsNone) {
  std::string pieces;
  AppendPiece(pieces, "");
  AppendPiece(pieces, std::string(70'000, 'x'));
  AppendPiece(pieces, std::string_view("\0\xff", 2));
  std::string_view rest = pieces;
  std::string_view piece;
  ASSERT_TRUE(TakePiece(rest, piece));
  EXPECT_EQ(piece, "");
  ASSERT_TRUE(TakePiece(rest, piece));
  EXPECT_EQ(piece.size(), 70'000u);
  ASSERT_TRUE(TakePiece(rest, piece));
  EXPECT_EQ(piece, std::string_view("\0\xff", 2));
  EXPECT_FALSE(TakePiece(rest, piece));
  for (size_t cut = 1; cut < 7; ++cut) {
    std::string_view whole = pieces;
    whole.remove_suffix(cut);
    int taken = 0;
    while (TakePiece(whole, piece)) ++taken;
    EXPECT_EQ(taken, 2) << cut;
  }
}

// Results of years ago are repeated by them: these numbers never change.
TEST(SeedsTest, SeedsAreTheSameForEver) {
  EXPECT_EQ(SeedOfTask(0, 1), 1626877895u);
  EXPECT_EQ(SeedOfTask(42, 1), 1359147488u);
  EXPECT_EQ(SeedOfTask(42, 1'000'000'000), 955247007u);
  EXPECT_EQ(SeedOfValues(42, {"H3K4", "7"}), 1298556582u);
  EXPECT_EQ(SeedOfValues(42, {}), 43u);
}

TEST(SeedsTest, SeedsFitIntoWhatREngineTakes) {
  for (TaskId task = 1; task < 10'000; ++task) {
    const uint64_t seed = SeedOfTask(7, task);
    EXPECT_TRUE(seed >= 1 && seed <= 2'147'483'647) << task;
  }
}

TEST(RunTextTest, WideColumnsTravelAsAnExtraAndOthersAreLeftAlone) {
  RunText text;
  SetWideColumns(text, {});
  EXPECT_TRUE(text.extras.empty());
  EXPECT_TRUE(WideColumns(text).empty());
  text.extras.emplace_back("later", int64_t{1});
  text.extras.emplace_back("wide_columns", std::string("no JSON value"));
  SetWideColumns(text, {"id", "gr\xfc", "\""});
  EXPECT_EQ(WideColumns(text), (std::vector<std::string>{"id", "gr\xfc", "\""}));
}

}  // namespace
}  // namespace cq
