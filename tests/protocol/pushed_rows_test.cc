// What may be a row that a task pushes, and by what it is known.
#include "protocol/pushed_rows.h"

#include <gtest/gtest.h>

namespace cq {
namespace {

using Fields = std::vector<std::string>;

class PushedRowsTest : public ::testing::Test {
 protected:
  // The fields of the rows; or why they are none.
  std::vector<Fields> Take(const std::string& json) {
    TaskResult result;
    result.values = {{"y", int64_t{1}}, {kPushName, Json{json}}};
    rows_.clear();
    problem_ = TakePushed(result, form_, rows_);
    EXPECT_EQ(result.values, (NamedValues{{"y", int64_t{1}}}));
    std::vector<Fields> fields;
    for (const PushedRow& row : rows_) fields.push_back(row.fields);
    return fields;
  }
  std::string Problem(const std::string& json) {
    EXPECT_TRUE(Take(json).empty()) << json;
    return problem_;
  }

  RowForm form_{{"i", "x", "b", "s"},
                {ColumnType::kInteger, ColumnType::kNumber, ColumnType::kBool, ColumnType::kText},
                {}};
  std::vector<PushedRow> rows_;
  std::string problem_;
};

TEST_F(PushedRowsTest, FieldsAreTextsOfTheirColumnsTypes) {
  EXPECT_EQ(Take(R"([{"s":"a,b","i":3,"x":0.1,"b":true},{"x":2,"i":4.0,"b":"FALSE","s":5}])"),
            (std::vector<Fields>{{"3", "0.1", "true", "a,b"}, {"4", "2", "false", "5"}}));
  EXPECT_EQ(problem_, "");
  EXPECT_EQ(Take(R"([{"x":{"$number":"NaN"}},{"x":{"$number":"-Inf"}},{"i":null,"x":"NA"}])"),
            (std::vector<Fields>{{"", "NaN", "", ""}, {"", "-Inf", "", ""}, {"", "", "", ""}}));
  EXPECT_TRUE(Take("[]").empty());
  EXPECT_EQ(problem_, "");
}

TEST_F(PushedRowsTest, EqualValuesAreTheSameRow) {
  Take(R"([{"x":0.1},{"x":"0.10"},{"x":1e-1},{"x":0.0},{"x":-0.0},{"x":0},
           {"x":{"$number":"NaN"}},{"x":"nan"},{"x":0.2}])");
  ASSERT_EQ(rows_.size(), 9u) << problem_;
  EXPECT_EQ(rows_[0], rows_[1]);
  EXPECT_EQ(rows_[0], rows_[2]);
  EXPECT_EQ(rows_[3], rows_[4]);
  EXPECT_EQ(rows_[3], rows_[5]);
  EXPECT_EQ(rows_[6], rows_[7]);
  EXPECT_NE(rows_[0].key, rows_[8].key);
  form_.key = {0};
  Take(R"([{"i":1,"x":1},{"i":1,"x":2},{"i":2,"x":1}])");
  EXPECT_EQ(rows_[0].key, rows_[1].key);
  EXPECT_NE(rows_[0].key, rows_[2].key);
}

// Neither rounded nor cut.
TEST_F(PushedRowsTest, NumbersThatAColumnDoesNotHoldAreRefused) {
  EXPECT_EQ(Take(R"([{"i":9223372036854775807,"x":9007199254740992}])"),
            (std::vector<Fields>{{"9223372036854775807", "9007199254740992", "", ""}}));
  for (const char* value : {"9223372036854775808", "1.5", "1e300", "true", "\"one\""}) {
    EXPECT_NE(Problem(std::string(R"([{"i":)") + value + "}]").find("'i' is "), std::string::npos)
        << value;
  }
  for (const char* value : {"9007199254740993", "\"9007199254740993\"", "false", "\"0x1\""}) {
    EXPECT_NE(Problem(std::string(R"([{"x":)") + value + "}]").find("'x' is "), std::string::npos)
        << value;
  }
  EXPECT_NE(Problem(R"([{"s":99999999999999999999}])").find("64 bits"), std::string::npos);
  EXPECT_NE(Problem(R"([{"b":1}])").find("'b' is 1"), std::string::npos);
}

TEST_F(PushedRowsTest, WhatIsNoRowIsToldOf) {
  EXPECT_NE(Problem(R"([{"penalty":1}])").find("no column 'penalty'; its columns are i, x, b, s"),
            std::string::npos);
  form_.columns[1] = "penalty";
  EXPECT_NE(Problem(R"([{"penalti":1}])").find("did you mean 'penalty'?"), std::string::npos);
  for (const char* json : {"{\"i\":1}", "[1]", "[[1]]", "3"}) {
    EXPECT_NE(Problem(json).find("a list of objects"), std::string::npos) << json;
  }
  for (const char* json : {R"([{"s":[1]}])", R"([{"s":{"a":1}}])"}) {
    EXPECT_NE(Problem(json).find("one value"), std::string::npos) << json;
  }
  // One that is wrong, and none is taken.
  EXPECT_TRUE(Take(R"([{"i":1},{"i":"x"}])").empty());
  std::string many = "[";
  for (size_t i = 0; i <= kPushedMax; ++i) many += i == 0 ? "{}" : ",{}";
  EXPECT_NE(Problem(many + "]").find("there may be 100000 at a time"), std::string::npos);
}

TEST_F(PushedRowsTest, WithoutTypesAllAreTexts) {
  form_.types.clear();
  EXPECT_EQ(Take(R"([{"i":3.0,"x":"0.10","b":true,"s":1e100},{"i":1e5,"x":-0.0,"b":1e-7}])"),
            (std::vector<Fields>{{"3", "0.10", "true", "1e+100"}, {"100000", "0", "1e-07", ""}}));
}

}  // namespace
}  // namespace cq
