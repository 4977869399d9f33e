// Values are unpacked the same whether they take the short way or the parser's.
#include "protocol/value_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

namespace cq {
namespace {

std::string Packed(const auto& pack) {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> packer(buffer);
  pack(packer);
  return {buffer.data(), buffer.size()};
}

void ExpectSame(const std::string& packed) {
  const auto parsed = msgpack::unpack(packed.data(), packed.size());
  Unpacker unpacker;
  const msgpack::object& unpacked = unpacker.Unpack(packed);
  EXPECT_EQ(unpacked.type, parsed.get().type);
  // As bits: NaN is not equal to itself.
  EXPECT_EQ(Packed([&](auto& p) { p.pack(unpacked); }),
            Packed([&](auto& p) { p.pack(parsed.get()); }));
}

TEST(UnpackerTest, NumbersOfEverySize) {
  for (int bits = 0; bits < 64; ++bits) {
    for (const uint64_t near : {-1, 0, 1}) {
      const uint64_t value = (uint64_t{1} << bits) + near;
      const auto negative = -static_cast<int64_t>(value >> 1);
      ExpectSame(Packed([&](auto& p) { p.pack_uint64(value); }));
      ExpectSame(Packed([&](auto& p) { p.pack_int64(negative); }));
    }
  }
  ExpectSame(Packed([](auto& p) { p.pack_int64(std::numeric_limits<int64_t>::min()); }));
  ExpectSame(Packed([](auto& p) { p.pack_uint64(std::numeric_limits<uint64_t>::max()); }));
  // A signed form of what is not negative.
  ExpectSame(std::string("\xd0\x05", 2));
  ExpectSame(std::string("\xd3\0\0\0\0\0\0\0\x80", 9));
  for (const double value : {0.0, -0.0, 1.5, -1e308, 5e-324, std::nan("7"), HUGE_VAL, -HUGE_VAL}) {
    msgpack::sbuffer buffer;
    WriteDouble(buffer, value);
    ExpectSame({buffer.data(), buffer.size()});
  }
}

TEST(UnpackerTest, ListsAndWhatStandsInThem) {
  ExpectSame(Packed([](auto& p) { p.pack_array(0); }));
  ExpectSame(Packed([](auto& p) {
    p.pack_array(4);
    p.pack_nil();
    p.pack_true();
    p.pack_int64(-7);
    p.pack_false();
  }));
  // The parser's: texts, nested lists, long lists, records.
  ExpectSame(Packed([](auto& p) {
    p.pack_array(3);
    p.pack_int64(1);
    p.pack(std::string("text"));
    p.pack_array(1).pack_int64(2);
  }));
  ExpectSame(Packed([](auto& p) {
    p.pack_array(16);
    for (int i = 0; i < 16; ++i) p.pack_int64(i);
  }));
  ExpectSame(Packed([](auto& p) { p.pack_map(1).pack(std::string("a")).pack_int64(1); }));
}

// What is cut off, or no MessagePack, is refused by both.
TEST(UnpackerTest, BytesAtRandomAreTakenAsTheParserTakesThem) {
  std::mt19937_64 random(1);
  Unpacker unpacker;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(1 + random() % 12, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    // Lists that say that they are of millions are the frames' to refuse.
    for (const char large : {'\xdd', '\xdf'}) std::replace(bytes.begin(), bytes.end(), large, 'x');
    if (random() % 2 == 0) bytes[0] = static_cast<char>(0x90 + random() % 4);
    std::string expected;
    bool whole = true;
    try {
      size_t end = 0;
      const auto parsed = msgpack::unpack(bytes.data(), bytes.size(), end);
      whole = end == bytes.size();
      expected = Packed([&](auto& p) { p.pack(parsed.get()); });
    } catch (const msgpack::unpack_error&) {
      EXPECT_THROW(unpacker.Unpack(bytes), msgpack::unpack_error);
      continue;
    }
    if (!whole) continue;
    const msgpack::object& unpacked = unpacker.Unpack(bytes);
    EXPECT_EQ(Packed([&](auto& p) { p.pack(unpacked); }), expected);
  }
}

}  // namespace
}  // namespace cq
