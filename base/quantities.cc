#include "base/quantities.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "cq/error.h"

namespace cq {
namespace {

/// A hundred years: longer is a mistake, and sums of such times do not overflow.
constexpr uint64_t kLongestMs = 100ull * 366 * 24 * 3'600'000;

// The number at the front, and what follows it.
std::optional<uint64_t> Leading(const std::string& text, std::string& rest) {
  uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  rest.assign(parsed.ptr, static_cast<size_t>(text.data() + text.size() - parsed.ptr));
  if (parsed.ec != std::errc()) return std::nullopt;
  return number;
}

// What stands behind a point at the front, which is taken away.
double TakeFraction(std::string& rest) {
  double fraction = 0;
  if (!rest.starts_with('.')) return fraction;
  const char* const end = rest.data() + rest.size();
  const auto parsed = std::from_chars(rest.data(), end, fraction, std::chars_format::fixed);
  if (parsed.ec == std::errc()) rest.assign(parsed.ptr, end);
  return fraction;
}

// H:MM:SS
std::optional<uint64_t> ClockMs(uint64_t hours, const std::string& rest) {
  if (rest.size() != 6 || rest[0] != ':' || rest[3] != ':' || hours > kLongestMs / 3'600'000) {
    return std::nullopt;
  }
  std::string after;
  const auto minutes = Leading(rest.substr(1, 2), after);
  if (!minutes || !after.empty() || *minutes > 59) return std::nullopt;
  const auto seconds = Leading(rest.substr(4, 2), after);
  if (!seconds || !after.empty() || *seconds > 59) return std::nullopt;
  return ((hours * 60 + *minutes) * 60 + *seconds) * 1000;
}

}  // namespace

uint64_t ParseCount(const std::string& text, const std::string& option, uint64_t least) {
  std::string rest;
  const auto number = Leading(text, rest);
  if (!number || !rest.empty() || *number < least) {
    throw UsageError(
        fmt::format("{} '{}': it must be a whole number of at least {}", option, text, least));
  }
  return *number;
}

uint64_t ParseSize(const std::string& text, const std::string& option) {
  static const std::map<std::string, int> kShifts = {{"", 0},   {"B", 0},  {"K", 10}, {"k", 10},
                                                     {"M", 20}, {"G", 30}, {"T", 40}};
  std::string unit;
  const auto number = Leading(text, unit);
  const double fraction = TakeFraction(unit);
  const auto shift = kShifts.find(unit);
  if (!number || shift == kShifts.end() || *number > UINT64_MAX >> shift->second ||
      (fraction != 0 && shift->second == 0)) {
    throw UsageError(
        fmt::format("{} '{}': it must be a size such as 512, 4K, 300M or 1.5G", option, text));
  }
  const double part = fraction * static_cast<double>(uint64_t{1} << shift->second);
  return (*number << shift->second) + static_cast<uint64_t>(std::llround(part));
}

uint64_t ParseMemory(const std::string& text, const std::string& option) {
  const uint64_t bytes = ParseSize(text, option);
  const bool bare = std::isdigit(static_cast<unsigned char>(text.back())) != 0;
  if (bare && bytes > 0 && bytes < uint64_t{1} << 20) {
    throw UsageError(
        fmt::format("{} '{}': that is {} bytes: {}M, or {}G?", option, text, bytes, text, text));
  }
  return bytes;
}

std::string SizeText(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"", "K", "M", "G", "T"};
  auto size = static_cast<double>(bytes);
  size_t unit = 0;
  while (size >= 1024 && unit + 1 < kUnits.size()) {
    size /= 1024;
    ++unit;
  }
  return fmt::format("{:g}{}", std::round(size * 10) / 10, kUnits[unit]);
}

std::chrono::milliseconds ParseDuration(const std::string& text, const std::string& option) {
  static const std::map<std::string, uint64_t> kUnitsMs = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
  std::string rest;
  const auto number = Leading(text, rest);
  const double fraction = TakeFraction(rest);
  std::optional<uint64_t> ms;
  if (number) {
    const auto unit = kUnitsMs.find(rest);
    if (unit != kUnitsMs.end() && *number <= kLongestMs / unit->second) {
      const auto part = std::llround(fraction * static_cast<double>(unit->second));
      ms = *number * unit->second + static_cast<uint64_t>(part);
    } else if (fraction == 0) {
      ms = ClockMs(*number, rest);
    }
  }
  if (!ms) {
    throw UsageError(fmt::format(
        "{} '{}': it must be a duration such as 500ms, 3s, 5m, 1.5h, 2d or 1:30:00", option, text));
  }
  return std::chrono::milliseconds(*ms);
}

std::string DurationText(std::chrono::milliseconds time) {
  const auto ms = static_cast<double>(time.count());
  const auto text = [ms](double unit, const char* name) {
    return fmt::format("{:g}{}", std::round(ms / unit * 10) / 10, name);
  };
  if (ms < 1e3) return text(1, "ms");
  if (ms < 120e3) return text(1e3, "s");
  if (ms < 7200e3) return text(60e3, "m");
  return ms < 3.6e9 ? text(3600e3, "h") : text(86'400e3, "d");
}

}  // namespace cq
