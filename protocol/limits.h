#pragma once

#include <cstddef>
#include <cstdint>

// The numbers of PROTOCOL.md, "Frames".
namespace cq {

inline constexpr uint64_t kProtocolVersion = 1;

inline constexpr size_t kFrameBytesMax = 64u << 20;
inline constexpr size_t kFrameBytesSoft = 1u << 20;
inline constexpr size_t kBatchMax = 4096;
inline constexpr size_t kHeldMax = 65536;
/// Tasks that a slot has at hand beyond the one that it runs, if they are short.
inline constexpr uint64_t kPrefetchMax = 4096;
inline constexpr size_t kTaskBytesMax = 8u << 20;
/// What may be said of one task in a span of results.
inline constexpr size_t kAnswerBytesMax = 16u << 20;
/// How many names the values of one result may have.
inline constexpr size_t kNamesMax = 65536;
/// The bytes of the values, and of the object, that one task returns; and of a message of a slot.
inline constexpr size_t kResultBytesMax = 16u << 20;
/// What is kept of the text of an error and of its traceback.
inline constexpr size_t kErrorTextMax = 64u << 10;
inline constexpr uint64_t kSlotsMax = 10000;
inline constexpr size_t kNestingMax = 8;
/// Linux's MAX_ARG_STRLEN less the final NUL: the longest single argument of a command.
inline constexpr size_t kFieldBytesMax = 131071;
inline constexpr size_t kOutputHeadBytes = 16u << 10;
inline constexpr size_t kOutputTailBytes = 48u << 10;
/// The longest line that `cq_error` may hold.
inline constexpr size_t kErrorBytesMax = 500;

}  // namespace cq
