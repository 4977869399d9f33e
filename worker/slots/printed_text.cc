#include "worker/slots/printed_text.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace cq {
namespace {
/// Of the number in a mark.
constexpr size_t kDigitsMax = 20;
/// More than a program is given at a time.
constexpr size_t kTasksMax = 8192;
}  // namespace

void PrintedText::Append(std::string_view bytes) {
  const std::string text = std::exchange(held_, {}) + std::string(bytes);
  std::string_view rest = text;
  for (;;) {
    const size_t mark = rest.find('\x1e');
    open_.Append(rest.substr(0, mark));
    if (mark == std::string_view::npos) return;
    rest.remove_prefix(mark);
    const size_t known = std::min(rest.size(), head_.size());
    if (rest.substr(0, known) == std::string_view(head_).substr(0, known)) {
      const size_t end = rest.substr(0, head_.size() + kDigitsMax + 1).find('\x1e', 1);
      if (end != std::string_view::npos) {
        Mark(std::strtoull(rest.data() + head_.size(), nullptr, 10));
        rest.remove_prefix(end + 1);
        continue;
      }
      if (rest.size() < head_.size() + kDigitsMax + 1) {
        held_ = rest;
        return;
      }
    }
    open_.Append(rest.substr(0, 1));
    rest.remove_prefix(1);
  }
}

// A program that makes up tasks costs nothing but what it prints of its own.
void PrintedText::Mark(TaskId task) {
  if (of_task_.size() >= kTasksMax) of_task_.clear();
  of_task_[task] = std::exchange(open_, {});
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
