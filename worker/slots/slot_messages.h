#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "protocol/messages.h"

// What a worker and a program in one of its slots say to each other (SLOT_PROTOCOL.md), in both of
// its forms.
namespace cq {

enum class SlotFormat : uint8_t { kMessagePack, kJson };

// ---- from the program ----

struct SlotHello {
  std::string helper;
};
struct SlotReady {};
/// It cannot run tasks of this run: wrong columns, a function that is not there.
struct SlotRefuse {
  std::string message;
};
/// A type that is reserved, or unknown: answered with `unsupported`.
struct SlotOther {
  uint64_t id = 0;
  std::string type;
};
/// An answer is a result as far as the program knows it; a traceback is what it wrote to stderr.
/// It says nothing of attempts, slot and times.
using FromProgram = std::variant<SlotHello, SlotReady, SlotRefuse, TaskResult, SlotOther>;

/// Takes the bytes of a program as they come. The first one tells the form that it speaks.
class ProgramReader {
 public:
  void Append(std::string_view bytes) { buffer_ += bytes; }
  /// The next message, if it is complete. Throws Error for what is none.
  std::optional<FromProgram> Next();
  SlotFormat format() const { return format_; }

 private:
  std::optional<FromProgram> NextLine();
  std::optional<FromProgram> NextFrame();
  void Drop(size_t bytes);

  std::string buffer_;
  size_t begin_ = 0;
  bool known_ = false;
  SlotFormat format_ = SlotFormat::kMessagePack;
  std::deque<FromProgram> ready_;
};

// ---- to the program ----

/// `wide`: see WideColumns; told in JSON alone, since MessagePack has 64-bit integers.
std::string EncodeStart(SlotFormat format, uint64_t id, const Program& program,
                        const std::vector<std::string>& wide);
std::string EncodeTasks(SlotFormat format, uint64_t id, const Program& program,
                        const std::vector<const Task*>& tasks, bool mark = false);
/// Appends a JSON object of these.
void AppendJsonRow(std::string& out, const NamedValues& row);
std::string EncodeUnsupported(SlotFormat format, const SlotOther& what);

// ---- the numbers of types in MessagePack frames ----

enum class SlotType : uint64_t {
  kHello = 1,
  kStart = 2,
  kReady = 3,
  kRefuse = 4,
  kTasks = 5,
  kResults = 6,
  kAnswers = 7,
  kResultsSince = 8,
  kPush = 9,
  kProgress = 10,
  kLog = 11,
  kUnsupported = 15,
};

inline constexpr uint64_t kSlotProtocolVersion = 1;
/// The format of a blob that is the packed result of a call.
inline constexpr const char* kPackedFormat = "cq";
/// A frame, or a line.
inline constexpr size_t kSlotFrameMax = (size_t{1} << 24) - 1;

}  // namespace cq
