#pragma once

#include <map>
#include <string>
#include <string_view>

#include "protocol/ids.h"
#include "worker/output.h"

namespace cq {

/// Splits what a program prints at the marks that its helper leaves after a task that printed:
/// 0x1e, the token, a space, the task's number, 0x1e.
class PrintedText {
 public:
  explicit PrintedText(const std::string& token) : head_('\x1e' + token + ' ') {}

  void Append(std::string_view bytes);
  /// What this task printed, as far as it was marked.
  std::string Take(TaskId task);
  /// What was printed without a mark.
  std::string TakeRest();
  bool empty() const { return held_.empty() && open_.empty() && of_task_.empty(); }
  std::string LastLine() const { return open_.LastLine(); }

 private:
  std::string head_;
  std::string held_;
  KeptOutput open_;
  std::map<TaskId, KeptOutput> of_task_;
};

}  // namespace cq
