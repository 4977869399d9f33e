#include "protocol/json_record.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/json_text.h"
#include "protocol/limits.h"

namespace cq {
namespace {

NamedValues MembersOf(const std::string& text) {
  JsonRecord record;
  EXPECT_EQ(record.Read(text), "") << text;
  EXPECT_TRUE(record.is_object()) << text;
  return record.members();
}

std::string ProblemOf(const std::string& text) { return JsonRecord().Read(text); }

TEST(JsonRecordTest, KeepsValuesAsTheyWereWritten) {
  EXPECT_EQ(MembersOf(R"({"a": 1, "b": -0.0, "c": "x", "d": null, "e": true, "f": 1.5})"),
            (NamedValues{{"a", int64_t{1}},
                         {"b", -0.0},
                         {"c", "x"},
                         {"d", std::monostate()},
                         {"e", true},
                         {"f", 1.5}}));
  // Lists and records, digit by digit.
  EXPECT_EQ(
      MembersOf(R"({"l": [1e2, 123456789012345678901, {"k": [0.10, "\u00e9,\""]}, []], "o": {}})"),
      (NamedValues{{"l", Json{"[1e2,123456789012345678901,{\"k\":[0.10,\"\u00e9,\\\"\"]},[]]"}},
                   {"o", Json{"{}"}}}));
}

TEST(JsonRecordTest, IntegersBeyond64BitsAreNotRounded) {
  EXPECT_EQ(MembersOf(R"({"a": 18446744073709551615, "b": 18446744073709551616,
                          "c": -9223372036854775809, "d": -9223372036854775808})"),
            (NamedValues{{"a", Json{"18446744073709551615"}},
                         {"b", Json{"18446744073709551616"}},
                         {"c", Json{"-9223372036854775809"}},
                         {"d", INT64_MIN}}));
}

TEST(JsonRecordTest, TakesWhatPythonAndRWriteForWhatIsNotFinite) {
  const auto members =
      MembersOf(R"({"a": NaN, "b": Infinity, "c": -Infinity, "d": "NaN", "e": [NaN, 1]})");
  EXPECT_TRUE(std::isnan(std::get<double>(members[0].second)));
  EXPECT_EQ(members[1].second, Value(HUGE_VAL));
  EXPECT_EQ(members[2].second, Value(-HUGE_VAL));
  EXPECT_EQ(members[3].second, Value(std::string("NaN")));
  EXPECT_EQ(members[4].second, Value(Json{R"([{"$number":"NaN"},1])"}));
  EXPECT_EQ(MembersOf(R"({"a": {"$number": "Inf"}})"), (NamedValues{{"a", HUGE_VAL}}));
}

TEST(JsonRecordTest, NumbersThatNoDoubleHasAreRefused) {
  EXPECT_NE(ProblemOf(R"({"a": 1e400})").find("too large"), std::string::npos);
  EXPECT_NE(ProblemOf(R"({"a": [1, 1e-400]})").find("too small"), std::string::npos);
  EXPECT_EQ(MembersOf(R"({"a": 0e5, "b": 5e-324})"), (NamedValues{{"a", 0.0}, {"b", 5e-324}}));
}

TEST(JsonRecordTest, HalfOfAPairBecomesTheReplacement) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(
      MembersOf(R"({"a": "x\ud800y", "b": "\udc00", "\ud800": "\ud83d\ude00", "c": "\\ud800"})"),
      (NamedValues{{"a", "x" + r + "y"}, {"b", r}, {r, "\xf0\x9f\x98\x80"}, {"c", "\\ud800"}}));
}

TEST(JsonRecordTest, OfANameThatComesTwiceTheLastCounts) {
  EXPECT_EQ(MembersOf(R"({"a": 1, "b": 2, "a": 3})"),
            (NamedValues{{"a", int64_t{3}}, {"b", int64_t{2}}}));
}

TEST(JsonRecordTest, LimitsAreNamed) {
  EXPECT_NE(ProblemOf(std::string(200, '[') + std::string(200, ']')).find("100"),
            std::string::npos);
  std::string many = "{";
  for (size_t i = 0; i < kNamesMax; ++i)
    many += fmt::format("{}\"n{}\":{}", i > 0 ? "," : "", i, i);
  EXPECT_EQ(MembersOf(many + "}").size(), kNamesMax);
  EXPECT_NE(ProblemOf(many + ",\"more\":1}").find("65536 names"), std::string::npos);
}

TEST(JsonRecordTest, RefusesWhatIsNone) {
  for (const char* text :
       {"", "{", "{\"a\":}", "nan", "{} x", "[1,]", "{\"a\":\"\xff\"}", "Infinit"}) {
    EXPECT_NE(ProblemOf(text), "") << text;
    EXPECT_FALSE(IsJson(text)) << text;
  }
  JsonRecord record;
  EXPECT_EQ(record.Read("[1, [2]]"), "");
  EXPECT_FALSE(record.is_object());
  EXPECT_EQ(record.members()[0].second, Value(Json{"[1,[2]]"}));
}

}  // namespace
}  // namespace cq
