#include "protocol/column_types.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cq/error.h"

namespace cq {
namespace {

ColumnType TypeOfAll(const std::vector<std::string>& fields) {
  TypeFinder finder;
  for (const std::string& field : fields) finder.Add(field);
  return finder.type();
}

TEST(ColumnTypesTest, AColumnIsWhatAllOfItsFieldsAre) {
  EXPECT_EQ(TypeOfAll({"1", "-2", "0"}), ColumnType::kInteger);
  EXPECT_EQ(TypeOfAll({"1", "", "NA", "3"}), ColumnType::kInteger);
  EXPECT_EQ(TypeOfAll({"1", "2.5"}), ColumnType::kNumber);
  EXPECT_EQ(TypeOfAll({"1", "NaN", "-inf", "1e5", "INF"}), ColumnType::kNumber);
  EXPECT_EQ(TypeOfAll({"true", "FALSE", "", "True", "False"}), ColumnType::kBool);
  EXPECT_EQ(TypeOfAll({"true", "1"}), ColumnType::kText);
  EXPECT_EQ(TypeOfAll({"1", "x"}), ColumnType::kText);
  EXPECT_EQ(TypeOfAll({"", "NA"}), ColumnType::kText);
  EXPECT_EQ(TypeOfAll({}), ColumnType::kText);
}

TEST(ColumnTypesTest, WhatIsNotCanonicalIsNoInteger) {
  EXPECT_EQ(TypeOfAll({"9223372036854775807"}), ColumnType::kInteger);
  EXPECT_EQ(TypeOfAll({"-9223372036854775808"}), ColumnType::kInteger);
  // Ids are never rounded.
  EXPECT_EQ(TypeOfAll({"9223372036854775808"}), ColumnType::kText);
  EXPECT_EQ(TypeOfAll({"123456789012345678901", "0.5"}), ColumnType::kText);
  EXPECT_EQ(TypeOfAll({"9007199254740993", "0.5"}), ColumnType::kText);
  EXPECT_EQ(TypeOfAll({"0.5", "-9007199254740993"}), ColumnType::kText);
  EXPECT_EQ(TypeOfAll({"9007199254740994", "0.5"}), ColumnType::kNumber);
  EXPECT_EQ(TypeOfAll({"-0"}), ColumnType::kNumber);
  for (const char* text :
       {"007", "+1", " 1", "1 ", "0x10", "1,5", "--1", "1e400", "nano", "00.5"}) {
    EXPECT_EQ(TypeOfAll({text}), ColumnType::kText) << text;
  }
}

TEST(ColumnTypesTest, FieldsBecomeValues) {
  EXPECT_EQ(TypedValue("5", ColumnType::kInteger), Value(int64_t{5}));
  EXPECT_EQ(TypedValue("5", ColumnType::kNumber), Value(5.0));
  EXPECT_EQ(TypedValue("5", ColumnType::kText), Value(std::string("5")));
  EXPECT_EQ(TypedValue("NA", ColumnType::kText), Value(std::string("NA")));
  EXPECT_EQ(TypedValue("NA", ColumnType::kNumber), Value());
  EXPECT_EQ(TypedValue("TRUE", ColumnType::kBool), Value(true));
  EXPECT_TRUE(std::signbit(std::get<double>(TypedValue("-0", ColumnType::kNumber))));
  EXPECT_THROW(ParseColumnType("word", "--types a"), UsageError);
}

}  // namespace
}  // namespace cq
