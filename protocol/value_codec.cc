#include "protocol/value_codec.h"

#include <bit>

namespace cq {
namespace {

namespace type = msgpack::type;

// So many bytes of a number, the highest first. False: there are fewer.
bool TakeBytes(std::string_view& packed, size_t count, uint64_t& value) {
  if (packed.size() < count) return false;
  value = 0;
  for (const char byte : packed.substr(0, count)) {
    value = value << 8 | static_cast<unsigned char>(byte);
  }
  packed.remove_prefix(count);
  return true;
}

void SetInteger(msgpack::object& value, uint64_t bits, bool negative) {
  value.type = negative ? type::NEGATIVE_INTEGER : type::POSITIVE_INTEGER;
  value.via.u64 = bits;
}

// Takes a value of one of these types off what is packed.
bool TakePlain(std::string_view& packed, msgpack::object& value) {
  if (packed.empty()) return false;
  const auto head = static_cast<unsigned char>(packed.front());
  packed.remove_prefix(1);
  uint64_t bits = 0;
  if (head == 0xcb) {
    if (!TakeBytes(packed, 8, bits)) return false;
    value.type = type::FLOAT64;
    value.via.f64 = std::bit_cast<double>(bits);
  } else if (head <= 0x7f || head >= 0xe0) {
    SetInteger(value, static_cast<uint64_t>(static_cast<int8_t>(head)), head >= 0xe0);
  } else if (head >= 0xcc && head <= 0xcf) {
    if (!TakeBytes(packed, size_t{1} << (head - 0xcc), bits)) return false;
    SetInteger(value, bits, false);
  } else if (head >= 0xd0 && head <= 0xd3) {
    const size_t size = size_t{1} << (head - 0xd0);
    if (!TakeBytes(packed, size, bits)) return false;
    const auto above = static_cast<unsigned>(64 - 8 * size);
    const int64_t number = static_cast<int64_t>(bits << above) >> above;
    SetInteger(value, static_cast<uint64_t>(number), number < 0);
  } else if (head == 0xc2 || head == 0xc3) {
    value.type = type::BOOLEAN;
    value.via.boolean = head == 0xc3;
  } else if (head == 0xc0) {
    value.type = type::NIL;
  } else {
    return false;
  }
  return true;
}

}  // namespace

bool Unpacker::UnpackPlain(std::string_view packed) {
  const auto head = static_cast<unsigned char>(packed.empty() ? '\0' : packed.front());
  if ((head & 0xf0) != 0x90) return TakePlain(packed, value_) && packed.empty();
  packed.remove_prefix(1);
  list_.resize(head & 0x0f);
  for (msgpack::object& value : list_) {
    if (!TakePlain(packed, value)) return false;
  }
  value_.type = type::ARRAY;
  value_.via.array = {static_cast<uint32_t>(list_.size()), list_.data()};
  return packed.empty();
}

const msgpack::object& Unpacker::UnpackAny(std::string_view packed) {
  zone_.clear();
  size_t end = 0;
  const auto reference = [](type::object_type, size_t, void*) { return true; };
  value_ = msgpack::unpack(zone_, packed.data(), packed.size(), end, reference);
  return value_;
}

}  // namespace cq
