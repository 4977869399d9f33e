#include "base/quantities.h"

#include <gtest/gtest.h>

#include "base/nearest.h"
#include "cq/error.h"

namespace cq {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

template <class F>
std::string ErrorOf(F&& parse) {
  try {
    parse();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(QuantitiesTest, DurationsNeedAUnitOrAreATimeOfTheClock) {
  EXPECT_EQ(ParseDuration("500ms", "--lease"), milliseconds(500));
  EXPECT_EQ(ParseDuration("3s", "--lease"), seconds(3));
  EXPECT_EQ(ParseDuration("5m", "--lease"), minutes(5));
  EXPECT_EQ(ParseDuration("2d", "--lease"), hours(48));
  EXPECT_EQ(ParseDuration("16:00:07", "--lease"), hours(16) + seconds(7));
  EXPECT_EQ(ParseDuration("0s", "--lease"), seconds(0));
  for (const char* bad : {"", "5", "s", "-1s", "1.5", "1:60:00", "1:00:60", "1:0:00", "1:00", "3 s",
                          "3S", "99999999999999999999s", "36601d", "9000000000:00:00"}) {
    EXPECT_EQ(ErrorOf([&] { ParseDuration(bad, "--lease"); }).find("--lease '"), 0u) << bad;
  }
}

TEST(QuantitiesTest, DurationsMayHaveDecimals) {
  EXPECT_EQ(ParseDuration("1.5h", "--lease"), std::chrono::minutes(90));
  EXPECT_EQ(ParseDuration("0.25s", "--lease"), std::chrono::milliseconds(250));
  for (const char* bad : {"1.5", "1.5:00:00", "1.h.", ".5h"}) {
    EXPECT_EQ(ErrorOf([&] { ParseDuration(bad, "--lease"); }).find("--lease '"), 0u) << bad;
  }
}

TEST(QuantitiesTest, SizesArePowersOf1024WithoutOverflow) {
  EXPECT_EQ(ParseSize("4096", "--stdout"), 4096u);
  EXPECT_EQ(ParseMemory("64K", "--task-memory"), 65536u);
  EXPECT_EQ(ParseMemory("0", "--task-memory"), 0u);
  EXPECT_EQ(ParseMemory("2000000", "--task-memory"), 2'000'000u);
  EXPECT_EQ(ErrorOf([] { ParseMemory("100", "--task-memory"); }),
            "--task-memory '100': that is 100 bytes: 100M, or 100G?");
  EXPECT_EQ(ParseSize("4K", "--task-memory"), 4096u);
  EXPECT_EQ(ParseSize("16G", "--task-memory"), uint64_t{16} << 30);
  EXPECT_EQ(ParseSize("16777215T", "--task-memory"), uint64_t{16777215} << 40);
  EXPECT_EQ(ParseSize("1.5G", "--task-memory"), uint64_t{3} << 29);
  EXPECT_EQ(ParseSize("0.25K", "--task-memory"), 256u);
  for (const char* bad :
       {"", "G", "-1", "1.5", "1.G.", "1.5.5G", "4KiB", "16777216T", "18446744073709551616"}) {
    EXPECT_EQ(ErrorOf([&] { ParseSize(bad, "--task-memory"); }).find("--task-memory '"), 0u) << bad;
  }
}

TEST(QuantitiesTest, SizesAndDurationsAreWrittenAsTheyAreRead) {
  EXPECT_EQ(SizeText(512), "512");
  EXPECT_EQ(SizeText(uint64_t{3} << 29), "1.5G");
  EXPECT_EQ(SizeText(uint64_t{16} << 30), "16G");
  EXPECT_EQ(SizeText(uint64_t{5} << 50), "5120T");
  EXPECT_EQ(DurationText(std::chrono::milliseconds(500)), "500ms");
  EXPECT_EQ(DurationText(std::chrono::milliseconds(90'000)), "90s");
  EXPECT_EQ(DurationText(std::chrono::hours(17)), "17h");
  EXPECT_EQ(DurationText(std::chrono::hours(442)), "442h");
  EXPECT_EQ(DurationText(std::chrono::hours(2400)), "100d");
}

TEST(QuantitiesTest, CountsHaveALeastAndNothingBehindThem) {
  EXPECT_EQ(ParseCount("18446744073709551615", "--seed", 0), UINT64_MAX);
  for (const char* bad : {"", "0", "-1", "1e3", "+1", " 1", "1 ", "18446744073709551616"}) {
    EXPECT_EQ(ErrorOf([&] { ParseCount(bad, "--limit", 1); }).find("--limit '"), 0u) << bad;
  }
}

TEST(NearestTest, AMistypedWordFindsItsNeighbourAndNonsenseFindsNobody) {
  const std::set<std::string> words{"--retries", "--rerun", "--seed", "--seed-by"};
  EXPECT_EQ(Nearest("--retris", words), "--retries");
  EXPECT_EQ(Nearest("--sed", words), "--seed");
  EXPECT_EQ(Nearest("--colour-of-the-plots", words), "");
  EXPECT_EQ(Nearest("", words), "");
  EXPECT_EQ(Nearest("--seed", {}), "");
}

}  // namespace
}  // namespace cq
