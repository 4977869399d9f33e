#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace cq {

/// Writes a double as MessagePack's float 64. `pack_double` of msgpack-c writes whole numbers as
/// integers, and so −0 as 0.
template <class Buffer>
void WriteDouble(Buffer& buffer, double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  std::array<char, 9> bytes{static_cast<char>(0xcb)};
  for (size_t i = 0; i < 8; ++i) bytes[1 + i] = static_cast<char>(bits >> (8 * (7 - i)));
  buffer.write(bytes.data(), bytes.size());
}

}  // namespace cq
