#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "worker/slots/command_task.h"
#include "worker/slots/printed_text.h"
#include "worker/slots/run_context.h"
#include "worker/slots/slot_messages.h"
#include "worker/slots/task_limits.h"

namespace cq {

/// The program of a slot, and the pipes to it.
class ProgramProcess {
 public:
  ProgramProcess(const RunContext& run, const CommandRunner::Slot& slot);
  ProgramProcess(const ProgramProcess&) = delete;
  ProgramProcess& operator=(const ProgramProcess&) = delete;
  /// Kills it.
  ~ProgramProcess();

  /// Why it could not be started: an errno; 0 if it was.
  int start_error() const { return start_error_; }
  const std::string& name() const { return name_; }
  pid_t pid() const { return pid_; }
  SlotFormat format() const { return reader_.format(); }
  uint64_t NextId() { return ++id_; }
  /// Whether there is something printed that was not taken yet.
  bool printed() const { return !out_text.empty() || !err_text.empty(); }

  void Write(const std::string& bytes);
  /// Writes what it asked for. Throws Error where it goes on asking and does not read.
  void Reply(const std::string& bytes);
  /// Whether it was started for this run as it is now: a resumed master may have another text.
  bool Serves(const RunText& text) const;
  /// Passes on as much as the pipe takes now. False if there is more.
  bool Send();
  /// Takes what it has written until now. False if that is nothing, and it lives.
  bool Look();
  /// Readable when Look may find something.
  std::array<int, 4> descriptors() const {
    return {out_.read.get(), stdout_.read.get(), stderr_.read.get(), pidfd_.get()};
  }
  /// Waits until something happens, at most for `wait`. False once the program has ended and all
  /// that it wrote was read. `killed` becomes true at a word from the slot's kill descriptor.
  bool Wait(std::chrono::milliseconds wait, bool& killed);
  std::optional<FromProgram> Next() { return reader_.Next(); }

  /// All that it has started and that lives.
  std::vector<pid_t> Family() const;
  /// What it prints from its last mark on is this task's, and is shown while it runs; no more.
  void ShowFrom(const AttemptRef& task);
  void ShowNoMore();

  void Signal(int number) const;
  /// Ends it with all that it started, and reaps it. The wait status.
  int End(int number);

 private:
  /// Whether there was anything.
  bool Read();
  void Spawn(const RunContext& run);

  const CommandRunner::Slot& slot_;
  const RunText text_;
  const std::string token_;
  Pipe in_, out_, stdout_, stderr_;
  std::unique_ptr<MemoryCgroup> cgroup_;
  ProgramReader reader_;
  std::string unsent_;
  // How many of these bytes may be replies.
  size_t replies_ = 0;
  std::string name_;
  int start_error_ = 0;
  int status_ = 0;
  pid_t pid_ = -1;
  Fd pidfd_;
  uint64_t id_ = 0;
  bool shown_ = false;

 public:
  PrintedText out_text;
  PrintedText err_text;
  /// Of the task that it works on.
  TaskLimits limits;
};

}  // namespace cq
