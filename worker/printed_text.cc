#include "worker/printed_text.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace cq {

void PrintedText::Append(std::string_view bytes) {
  held_ += bytes;
  for (;;) {
    const size_t mark = held_.find('\x1e');
    if (mark == std::string::npos) break;
    open_.Append(std::string_view(held_).substr(0, mark));
    held_.erase(0, mark);
    const size_t known = std::min(held_.size(), head_.size());
    const bool ours = held_.compare(0, known, head_, 0, known) == 0;
    if (ours) {
      const size_t end = held_.find('\x1e', 1);
      if (end == std::string::npos && held_.size() < head_.size() + 24) return;
      if (end != std::string::npos) {
        of_task_[std::strtoull(held_.c_str() + head_.size(), nullptr, 10)] =
            std::exchange(open_, {});
        held_.erase(0, end + 1);
        continue;
      }
    }
    open_.Append(held_.substr(0, 1));
    held_.erase(0, 1);
  }
  open_.Append(std::exchange(held_, {}));
}

std::string PrintedText::Take(TaskId task) {
  const auto found = of_task_.find(task);
  if (found == of_task_.end()) return {};
  std::string text = found->second.Text();
  of_task_.erase(found);
  return text;
}

std::string PrintedText::TakeRest() {
  open_.Append(std::exchange(held_, {}));
  return std::exchange(open_, {}).Text();
}

}  // namespace cq
