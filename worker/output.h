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

/// The line of what a failed program said on standard error that tells why: the last one that is
/// not blank, the rest of a progress bar, a frame of a Java stack trace (its head then), or R's
/// "Execution halted"; R's message where R breaks the line before it. Empty if there is none.
std::string ReasonIn(std::string_view text);

}  // namespace cq
