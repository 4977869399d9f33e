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
  /// The last line that is not empty, without its newline.
  std::string LastLine() const;

 private:
  std::string head_;
  std::string tail_;
  size_t tail_bytes_ = 0;  // that ever went to the tail
};

}  // namespace cq
