#include "worker/slots/output.h"

#include <gtest/gtest.h>

#include "protocol/limits.h"
#include "worker/slots/json_values.h"

namespace cq {
namespace {

TEST(KeptOutputTest, ShortOutputIsWhole) {
  KeptOutput output;
  output.Append("a\nb");
  output.Append("c\n\n");
  EXPECT_EQ(output.Text(), "a\nbc\n\n");
  EXPECT_EQ(output.LastLine(), "bc");
}

TEST(KeptOutputTest, OfLongOutputHeadAndTailAreKeptAndTheCutIsCounted) {
  KeptOutput output;
  std::string all;
  for (int i = 0; i < 100'000; ++i) all += std::to_string(i) + "\n";
  for (size_t at = 0; at < all.size(); at += 1000) output.Append(all.substr(at, 1000));
  const size_t cut = all.size() - kOutputHeadBytes - kOutputTailBytes;
  EXPECT_EQ(output.Text(), all.substr(0, kOutputHeadBytes) + "\n[cq: " + std::to_string(cut) +
                               " bytes cut]\n" + all.substr(all.size() - kOutputTailBytes));
  EXPECT_EQ(output.LastLine(), "99999");
}

TEST(KeptOutputTest, WhatJustFitsIsNotCut) {
  KeptOutput output;
  const std::string all(kOutputHeadBytes + kOutputTailBytes, 'x');
  output.Append(all);
  EXPECT_EQ(output.Text(), all);
}

TEST(JsonValuesTest, AnObjectsValuesKeepTheirTypesAndOrder) {
  const auto parsed = ParseLastLine(
      R"({"i":-3,"d":0.1,"s":"x","b":true,"n":null,"l":[1,{"a":2}],"u":18446744073709551615})");
  const auto& values = std::get<NamedValues>(parsed);
  ASSERT_EQ(values.size(), 7u);
  EXPECT_EQ(values[0], (std::pair<std::string, Value>("i", int64_t{-3})));
  EXPECT_EQ(values[1].second, Value(0.1));
  EXPECT_EQ(values[3].second, Value(true));
  EXPECT_EQ(values[4].second, Value(std::monostate{}));
  EXPECT_EQ(values[5].second, Value(Json{R"([1,{"a":2}])"}));
  EXPECT_EQ(values[6].second, Value(Json{"18446744073709551615"}));
}

TEST(JsonValuesTest, WhatIsNoObjectIsAReason) {
  for (const char* line : {"", "3", "[1]", "{\"a\":", "{'a':1}", "ok"}) {
    EXPECT_TRUE(std::holds_alternative<std::string>(ParseLastLine(line))) << line;
  }
}

TEST(LastLineKeptTest, IsWholeHoweverLongAndInHoweverManyParts) {
  LastLineKept kept;
  const std::string line = "{" + std::string(5u << 20, 'x') + "}";
  for (const std::string& part : {std::string("first\n"), line.substr(0, 100), line.substr(100)}) {
    kept.Append(part);
  }
  EXPECT_EQ(kept.line(), line);
  kept.Append("\n  \n\r\n");
  EXPECT_EQ(kept.line(), line);
  EXPECT_FALSE(kept.cut());
  kept.Append("a\nb");
  EXPECT_EQ(kept.line(), "b");
  kept.Append(std::string(kResultBytesMax, 'y'));
  EXPECT_TRUE(kept.cut());
  EXPECT_EQ(kept.line().size(), kResultBytesMax);
}

// What the last words of R, Python, Java, a shell and progress bars say.
TEST(ReasonTest, IsTheLineThatSaysWhy) {
  const std::pair<const char*, const char*> cases[] = {
      {"Error in f(x) : no data\nCalls: f -> g\nExecution halted\n", "Error in f(x) : no data"},
      {"Error in f(x) : \n  a long message\nExecution halted\n", "Error in f(x) : a long message"},
      {"Traceback (most recent call last):\n  File \"m.py\", line 1\nValueError: no\n",
       "ValueError: no"},
      {"Exception in thread \"main\" java.lang.Error: no data\n\tat Main.f(Main.java:2)\n\tat "
       "Main.main(Main.java:5)\n\t... 3 more\n",
       "Exception in thread \"main\" java.lang.Error: no data"},
      {"sh: 1: nope: not found\n   \n\n", "sh: 1: nope: not found"},
      {"could not fit\n\r10%|=  | 1/10\r 50%|=====     | 5/10", "could not fit"},
      {" 50%|=====     | 5/10", " 50%|=====     | 5/10"},
      {"", ""},
      {"\n\n", ""},
  };
  for (const auto& [text, reason] : cases) EXPECT_EQ(ReasonIn(text), reason) << text;
}

TEST(KeptOutputTest, HasItsLastLines) {
  KeptOutput output;
  output.Append("a\nb\nc\n\n");
  EXPECT_EQ(output.LastLine(), "c");
  EXPECT_EQ(output.LastLines(2), "b\nc");
  EXPECT_EQ(output.LastLines(9), "a\nb\nc");
  EXPECT_EQ(KeptOutput().LastLines(2), "");
}

}  // namespace
}  // namespace cq
