#include "worker/output.h"

#include <fmt/format.h>

#include <algorithm>

#include "protocol/limits.h"

namespace cq {

void KeptOutput::Append(std::string_view bytes) {
  const size_t to_head = std::min(bytes.size(), kOutputHeadBytes - head_.size());
  head_.append(bytes.substr(0, to_head));
  bytes.remove_prefix(to_head);
  if (bytes.empty()) return;
  tail_bytes_ += bytes.size();
  tail_.append(bytes);
  // Cut back only once it has doubled, so that a task that prints for ever costs a copy now and
  // then.
  if (tail_.size() >= 2 * kOutputTailBytes) tail_.erase(0, tail_.size() - kOutputTailBytes);
}

std::string KeptOutput::Text() const {
  const size_t kept = std::min(tail_.size(), kOutputTailBytes);
  const size_t cut = tail_bytes_ - kept;
  std::string text = head_;
  if (cut > 0) text += fmt::format("\n[cq: {} bytes cut]\n", cut);
  return text.append(tail_, tail_.size() - kept);
}

std::string KeptOutput::LastLine() const {
  const std::string text = Text();
  const size_t end = text.find_last_not_of("\r\n");
  if (end == std::string::npos) return {};
  const size_t begin = text.find_last_of('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

}  // namespace cq
