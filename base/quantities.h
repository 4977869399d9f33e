#pragma once

#include <chrono>
#include <cstdint>
#include <string>

// Numbers with units, as users write them. `option` names what is wrong in messages. All throw
// UsageError.
namespace cq {

/// A whole number from `least` on.
uint64_t ParseCount(const std::string& text, const std::string& option, uint64_t least);

/// "300M", "16G", "1.5G", "4096": powers of 1024, in bytes.
uint64_t ParseSize(const std::string& text, const std::string& option);
/// Of a program's memory: a small number without a unit is a slip, and is refused.
uint64_t ParseMemory(const std::string& text, const std::string& option);
/// The same the other way, to a tenth: "300M", "1.5G".
std::string SizeText(uint64_t bytes);

/// "500ms", "3s", "5m", "1.5h", "2d", "H:MM:SS"; a bare number is refused.
std::chrono::milliseconds ParseDuration(const std::string& text, const std::string& option);
/// The same the other way, to a tenth: "500ms", "1.5h".
std::string DurationText(std::chrono::milliseconds time);

}  // namespace cq
