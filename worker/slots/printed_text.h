#pragma once

#include <map>
#include <string>
#include <string_view>

#include "protocol/ids.h"
#include "worker/slots/output.h"

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
  /// What came behind the last mark.
  std::string Unmarked() const { return open_.Text(); }
  /// Why its program ended, as its last words tell (ReasonIn).
  std::string Reason() const { return ReasonIn(open_.Text()); }
  /// Its last words, for somebody who has nothing else to go by.
  std::string LastLines() const { return open_.LastLines(20); }

 private:
  void Mark(TaskId task);

  std::string head_;
  std::string held_;
  KeptOutput open_;
  std::map<TaskId, KeptOutput> of_task_;
};

}  // namespace cq
