#include "protocol/pieces.h"

#include <bit>
#include <cstdint>
#include <cstring>

namespace cq {

// The order of bytes of a length is that of these machines.
static_assert(std::endian::native == std::endian::little);

void AppendPiece(std::string& pieces, std::string_view piece) {
  const auto size = static_cast<uint32_t>(piece.size());
  pieces.append(reinterpret_cast<const char*>(&size), sizeof size);
  pieces += piece;
}

bool TakePiece(std::string_view& pieces, std::string_view& piece) {
  uint32_t size = 0;
  if (pieces.size() < sizeof size) return false;
  std::memcpy(&size, pieces.data(), sizeof size);
  if (pieces.size() - sizeof size < size) return false;
  piece = pieces.substr(sizeof size, size);
  pieces.remove_prefix(sizeof size + size);
  return true;
}

}  // namespace cq
