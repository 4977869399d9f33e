#include "protocol/json_bytes.h"

#include "protocol/text.h"

namespace cq {

std::string LatinOf(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) text += static_cast<char>(0xC0 | byte >> 6);
    text += static_cast<char>(byte >= 0x80 ? 0x80 | (byte & 0x3F) : byte);
  }
  return text;
}

std::string BytesOfLatin(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const bool two = lead >= 0x80 && i + 1 < text.size();
    bytes += two ? static_cast<char>((lead & 0x03) << 6 | (text[i + 1] & 0x3F)) : text[i];
    i += two ? 1 : 0;
  }
  return bytes;
}

nlohmann::ordered_json JsonOfBytes(const std::string& bytes) {
  if (IsUtf8(bytes)) return bytes;
  return nlohmann::ordered_json{{"bytes", LatinOf(bytes)}};
}

std::string BytesOfJson(const nlohmann::ordered_json& json) {
  if (json.is_string()) return json.get<std::string>();
  return BytesOfLatin(json.at("bytes").get<std::string>());
}

}  // namespace cq
