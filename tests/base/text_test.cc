#include "base/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/json.h"
#include "base/json_text.h"

namespace cq {
namespace {

TEST(TextTest, EachByteThatIsNoUtf8BecomesAMarkAndTheRestStays) {
  EXPECT_TRUE(IsUtf8("grün 水 😀"));
  EXPECT_EQ(ValidText("grün\xff"
                      "a\xc3"),
            "grün\xef\xbf\xbd"
            "a\xef\xbf\xbd");
  EXPECT_EQ(ValidText(std::string_view("a\0b", 3)),
            "a\xef\xbf\xbd"
            "b");
  // Half of a surrogate pair, and more bytes than a character needs.
  EXPECT_FALSE(IsUtf8("\xed\xa0\x80"));
  EXPECT_FALSE(IsUtf8("\xc0\xaf"));
  EXPECT_TRUE(IsUtf8(ValidText("\xed\xa0\x80\xc0\xaf\xf5\x80")));
}

TEST(TextTest, ATerminalGetsNothingThatItWouldObey) {
  EXPECT_EQ(PrintableText("a\tb\nc\rd"), "a\tb\nc\nd");
  const std::string shown = PrintableText(
      "\x1b[2J\x07\x08"
      "x\x7f\xc2\x9b"
      "31m");
  for (const char c : shown) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20) << shown;
  EXPECT_EQ(shown.find('\x7f'), std::string::npos);
  EXPECT_EQ(shown.find("\xc2\x9b"), std::string::npos);
}

TEST(TextTest, ACutNeverSplitsACharacter) {
  const std::string text = "aü水😀";
  for (size_t bytes = 0; bytes <= text.size(); ++bytes) {
    const std::string_view cut = CutText(text, bytes);
    EXPECT_TRUE(IsUtf8(cut)) << bytes;
    EXPECT_LE(cut.size(), bytes);
    EXPECT_GT(cut.size() + 4, bytes);
  }
}

TEST(TextTest, AListIsJoinedThoughWordsAreAlike) {
  EXPECT_EQ(Joined(std::vector<std::string>{"a", "a", ""}, ", "), "a, a, ");
  EXPECT_EQ(Joined(std::vector<std::string>{}, ", "), "");
}

TEST(JsonTest, ListsOfAnyBytesComeBackAsTheyWere) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const std::vector<std::string> list{"", "plain", "grün", "\xff\xfe", all, "{\"bytes\": 1}"};
  const std::string text = JsonText(JsonOfList(list));
  EXPECT_TRUE(IsUtf8(text));
  EXPECT_EQ(ListOfJson(ParseJson(text)), list);
  EXPECT_THROW(ListOfJson(ParseJson("[1]")), OrderedJson::exception);
  EXPECT_TRUE(TryParseJson("{").is_discarded());
}

TEST(JsonTextTest, NumbersReadBackAsTheyWereAndAsWhatTheyWere) {
  for (const double number : {0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, -123456789.5,
                              std::numeric_limits<double>::max(), 9007199254740993.0}) {
    std::string text;
    AppendJsonNumber(text, number);
    const double read = std::strtod(text.c_str(), nullptr);
    EXPECT_EQ(std::signbit(read), std::signbit(number)) << text;
    EXPECT_EQ(read, number) << text;
    EXPECT_NE(text.find_first_of(".e"), std::string::npos) << text;
  }
  EXPECT_STREQ(NonFiniteName(-INFINITY), "-Inf");
  std::string text;
  AppendJsonText(text, "a\"\\\n\x01ü");
  EXPECT_EQ(ParseJson(text).get<std::string>(), "a\"\\\n\x01ü");
}

}  // namespace
}  // namespace cq
