#pragma once

#include <array>
#include <charconv>
#include <string>
#include <string_view>

namespace cq {

/// The deepest nesting of a value that is read.
inline constexpr size_t kJsonLevelsMax = 100;

/// The shortest text that reads back as this number.
template <class Number>
std::string_view Digits(Number number, std::array<char, 32>& buffer) {
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  return {buffer.data(), static_cast<size_t>(end - buffer.data())};
}

/// Appends `text`, which is UTF-8, as JSON does.
void AppendJsonText(std::string& out, std::string_view text);

/// Appends a finite number so that it reads back as a double: a whole one keeps a point.
void AppendJsonNumber(std::string& out, double number);

/// "NaN", "Inf" or "-Inf".
const char* NonFiniteName(double value);

}  // namespace cq
