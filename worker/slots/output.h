#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cq {

/// What is kept of one output stream of a task: its first kOutputHeadBytes and its last
/// kOutputTailBytes.
class KeptOutput {
 public:
  void Append(std::string_view bytes);
  bool empty() const { return head_.empty(); }
  /// Head, a line that says how much was cut (if any was), tail.
  std::string Text() const;
  /// The last line that is not blank, without its newline.
  std::string LastLine() const { return LastLines(1); }
  /// The last lines, at most so many, without blank ones at the end.
  std::string LastLines(size_t most) const;

 private:
  std::string head_;
  std::string tail_;
  size_t tail_bytes_ = 0;  // that ever went to the tail
};

/// The last line of a stream that is not blank, also if it is longer than what is kept of the
/// stream: up to kResultBytesMax.
class LastLineKept {
 public:
  void Append(std::string_view bytes);
  /// Without its newline. Cut off at the limit, where it is longer.
  const std::string& line() const { return IsBlank(current_) ? last_ : current_; }
  bool cut() const { return IsBlank(current_) ? last_cut_ : cut_; }

 private:
  static bool IsBlank(std::string_view line) {
    return line.find_first_not_of(" \t\r") == std::string_view::npos;
  }
  void AppendToCurrent(std::string_view bytes);

  std::string current_;
  std::string last_;
  bool cut_ = false;
  bool last_cut_ = false;
};

/// The line of what a failed program said on standard error that tells why: the last one that is
/// not blank, the rest of a progress bar, a frame of a Java stack trace (its head then), or R's
/// "Execution halted"; R's message where R breaks the line before it. Empty if there is none.
std::string ReasonIn(std::string_view text);

}  // namespace cq
