#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "protocol/messages.h"
#include "protocol/task_request.h"

namespace cq {

/// What the tasks of one run have in common, made ready for spawning. Immutable: the slots share
/// it.
class RunContext {
 public:
  explicit RunContext(RunText text);
  /// The same run for tasks that take this share of the worker, with this memory limit (0: the
  /// run's), and with these GPUs.
  std::shared_ptr<const RunContext> For(const TaskRequest& share, uint64_t memory_limit,
                                        const std::vector<std::string>& gpus) const;
  /// Tasks ask for something; not all for the same.
  bool asks() const;
  bool rows_differ() const;
  /// What this task asks for.
  TaskRequest RequestOf(const Task& task) const;

  const RunText& text() const { return text_; }

  /// How long this task may run; 0: no limit.
  std::chrono::milliseconds LimitOf(const Task& task) const {
    const uint64_t own = task.details->timeout_ms;
    return std::chrono::milliseconds(own != 0 ? own : text_.timeout_ms);
  }

  /// Why no task of this run can run here; empty if they can.
  std::string Problem() const;

  /// NAME=VALUE of everything but what differs from task to task.
  const std::vector<std::string>& environment() const { return environment_; }

  /// The file to execute for a program's name: looked up in the tasks' PATH, relative to their
  /// directory.
  std::string ResolveProgram(const std::string& name) const;

 private:
  void Set(const std::string& name, const std::string& value, bool replace);

  RunText text_;
  /// What tasks ask for that do not say so themselves.
  TaskRequest request_;
  std::vector<std::string> environment_;
  std::string path_;
  // Of the command's own program, if it is the same for all tasks.
  std::string constant_program_;
  std::string constant_file_;
};

}  // namespace cq
