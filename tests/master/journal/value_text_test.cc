// How returned values become the JSON of the journal.
#include "master/journal/value_text.h"

#include <gtest/gtest.h>

#include <limits>
#include <msgpack.hpp>

#include "cq/error.h"
#include "protocol/packed_values.h"
#include "protocol/value_codec.h"

namespace cq {
namespace {

std::string Packed(const std::function<void(ValueWriter&)>& write) {
  msgpack::sbuffer buffer;
  ValueWriter writer(buffer);
  write(writer);
  return {buffer.data(), buffer.size()};
}

struct Text {
  std::string json;
  std::vector<std::string> names;
  bool operator==(const Text&) const = default;
};

Text Direct(const std::string& packed) {
  Text text;
  AppendPackedJson(text.json, packed, text.names);
  return text;
}

Text ByWayOfValues(const std::string& packed) {
  Text text;
  const NamedValues values = UnpackValues(packed);
  AppendJson(text.json, values);
  for (const auto& [name, value] : values) text.names.push_back(name);
  return text;
}

TEST(ValueTextTest, PackedValuesAreWrittenAsTheValuesAre) {
  const double kNan = std::numeric_limits<double>::quiet_NaN();
  const double kInf = std::numeric_limits<double>::infinity();
  const std::vector<std::string> all{
      Packed([](auto& w) { w.Missing(); }),
      Packed([](auto& w) { w.Bool(true); }),
      Packed([](auto& w) { w.Integer(-7); }),
      Packed([](auto& w) { w.Integer(std::numeric_limits<int64_t>::min()); }),
      Packed([](auto& w) { w.Unsigned(INT64_MAX); }),
      Packed([](auto& w) { w.Unsigned(UINT64_MAX); }),
      Packed([](auto& w) { w.Number(-0.0); }),
      Packed([](auto& w) { w.Number(0.1); }),
      Packed([](auto& w) { w.Number(5e-324); }),
      Packed([&](auto& w) { w.Number(kNan); }),
      Packed([&](auto& w) { w.Number(-kInf); }),
      Packed([](auto& w) { w.Text("a\"\n\xc3\xa9", 5); }),
      Packed([](auto& w) { w.Text("\xff\xfe", 2); }),
      Packed([](auto& w) { w.Record(0); }),
      Packed([](auto& w) {
        w.Record(2);
        w.Text("x", 1);
        w.Number(2);
        w.Text("y", 1);
        w.Missing();
      }),
      Packed([](auto& w) {
        w.List(2);
        w.Integer(1);
        w.Text("\xff", 1);
      }),
      Packed([](auto& w) {
        w.Record(2);
        w.Text("x", 1);
        w.Integer(1);
        w.Text("nested", 6);
        w.Record(1);
        w.Text("z", 1);
        w.Number(1);
      }),
  };
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(Direct(all[i]), ByWayOfValues(all[i])) << i << ": " << Direct(all[i]).json;
  }
  EXPECT_EQ(Direct(all[7]).json, R"({"result":0.1})");
  EXPECT_EQ(Direct(all[14]).json, R"({"x":2.0,"y":null})");
}

TEST(ValueTextTest, WhatIsNoValueLeavesNothing) {
  for (const std::string& packed : {std::string(), std::string("\xc1"), std::string("\x81\x01\x02"),
                                    std::string("\xa5"
                                                "ab"),
                                    std::string("\x01\x02"), std::string("\xc4\x01x")}) {
    EXPECT_EQ(Direct(packed), Text()) << packed.size();
    EXPECT_THROW(UnpackValues(packed), Error);
  }
}

}  // namespace
}  // namespace cq
