#include "base/json_text.h"

#include <fmt/format.h>

#include <cmath>

namespace cq {

void AppendJsonText(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void AppendJsonNumber(std::string& out, double number) {
  std::array<char, 32> buffer;
  const std::string_view digits = Digits(number, buffer);
  out += digits;
  if (digits.find_first_of(".e") == digits.npos) out += ".0";
}

const char* NonFiniteName(double value) {
  return std::isnan(value) ? "NaN" : value > 0 ? "Inf" : "-Inf";
}

}  // namespace cq
