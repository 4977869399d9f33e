#include "protocol/bundle.h"

#include <cstdint>
#include <cstring>

namespace cq {

// The two ends are one program on machines of one kind: the order of bytes is theirs.
void AppendPiece(std::string& bundle, std::string_view piece) {
  const auto size = static_cast<uint32_t>(piece.size());
  bundle.append(reinterpret_cast<const char*>(&size), sizeof size);
  bundle += piece;
}

bool TakePiece(std::string_view& bundle, std::string_view& piece) {
  uint32_t size = 0;
  if (bundle.size() < sizeof size) return false;
  std::memcpy(&size, bundle.data(), sizeof size);
  if (bundle.size() - sizeof size < size) return false;
  piece = bundle.substr(sizeof size, size);
  bundle.remove_prefix(sizeof size + size);
  return true;
}

}  // namespace cq
