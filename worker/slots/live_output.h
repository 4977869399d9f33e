#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "base/mutex.h"
#include "protocol/messages.h"
#include "worker/slots/output.h"

namespace cq {

/// What a task that runs for long has printed since it was last asked. Bounded as a task's output
/// is. Thread-safe: the slot writes, the worker's loop takes.
class LiveOutput {
 public:
  /// A task has run for so long that its output is wanted while it runs.
  void Begin(const AttemptRef& task, std::string_view out, std::string_view err) {
    const Lock lock(mutex_);
    task_ = task;
    out_ = {};
    err_ = {};
    out_.Append(out);
    err_.Append(err);
    fresh_ = !out.empty() || !err.empty();
  }
  void Append(bool to_err, std::string_view bytes) {
    const Lock lock(mutex_);
    if (!task_ || bytes.empty()) return;
    (to_err ? err_ : out_).Append(bytes);
    fresh_ = true;
  }
  void End() {
    const Lock lock(mutex_);
    task_.reset();
  }
  std::optional<OutputPart> Take() {
    const Lock lock(mutex_);
    if (!task_ || !std::exchange(fresh_, false)) return std::nullopt;
    OutputPart part{task_->task, task_->attempt, out_.Text(), err_.Text()};
    out_ = {};
    err_ = {};
    return part;
  }

 private:
  Mutex mutex_;
  std::optional<AttemptRef> task_ CQ_GUARDED_BY(mutex_);
  KeptOutput out_ CQ_GUARDED_BY(mutex_);
  KeptOutput err_ CQ_GUARDED_BY(mutex_);
  bool fresh_ CQ_GUARDED_BY(mutex_) = false;
};

}  // namespace cq
