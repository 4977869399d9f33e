#include "base/json.h"

#include "base/text.h"

namespace cq {

OrderedJson ParseJson(std::string_view text) { return OrderedJson::parse(text); }

OrderedJson TryParseJson(std::string_view text) { return OrderedJson::parse(text, nullptr, false); }

std::string JsonText(const OrderedJson& json, int indent) { return json.dump(indent); }

std::string ShownJson(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

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

OrderedJson JsonOfBytes(const std::string& bytes) {
  if (IsUtf8(bytes)) return bytes;
  return OrderedJson{{"bytes", LatinOf(bytes)}};
}

std::string BytesOfJson(const OrderedJson& json) {
  if (json.is_string()) return json.get<std::string>();
  return BytesOfLatin(json.at("bytes").get<std::string>());
}

OrderedJson JsonOfList(const std::vector<std::string>& list) {
  OrderedJson json = OrderedJson::array();
  for (const std::string& bytes : list) json.push_back(JsonOfBytes(bytes));
  return json;
}

std::vector<std::string> ListOfJson(const OrderedJson& json) {
  std::vector<std::string> list;
  for (const OrderedJson& bytes : json) list.push_back(BytesOfJson(bytes));
  return list;
}

}  // namespace cq
