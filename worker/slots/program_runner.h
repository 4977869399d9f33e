#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "worker/slots/command_task.h"
#include "worker/slots/program_process.h"
#include "worker/slots/run_context.h"

namespace cq {

/// Runs tasks in one slot through a program that is started once and answers many
/// (SLOT_PROTOCOL.md). A program that ends, hangs or takes too much memory costs one attempt: what
/// it had not answered yet is given to a fresh one, a task at a time, until the guilty one falls.
class ProgramRunner {
 public:
  /// What happens to the tasks of a batch; called from the slot's thread.
  struct Listener {
    /// This one is what the program works on now.
    std::function<void(const AttemptRef&)> begins;
    /// Of a span that returned values the first ones.
    std::function<void(std::vector<CommandEnd>)> ended;
    /// Whether this one is to be killed.
    std::function<bool(const AttemptRef&)> unwanted;
  };

  explicit ProgramRunner(CommandRunner::Slot slot);
  /// Ends the program.
  ~ProgramRunner();

  /// Starts the program and waits until it is ready. Empty, or why it cannot run tasks of this run.
  /// Blocks.
  std::string Prepare(const RunContext& run);

  bool ready() const { return process_ != nullptr; }

  /// Runs these, in order: tasks, or a span, which stays together as long as its tasks return
  /// values and nothing else. Blocks until each has ended. Throws nothing for what a program does.
  void Run(const RunContext& run, std::vector<Task> batch, const Listener& listener);

  /// The other way, for one task that nobody waits behind: to begin it, look for its answer
  /// whenever one of `descriptors` is readable, and go on as Run does at anything but that. Only
  /// GoOn blocks. Each may be called from another thread than the one before.
  bool MayBegin(const RunContext& run, const Task& task) const;
  /// False if the program does not take all of it now.
  bool Begin(std::shared_ptr<const RunContext> run, Task task, const Listener& listener);
  enum class Seen { kNothing, kAnswer, kElse };
  Seen Look();
  std::array<int, 4> descriptors() const { return process_->descriptors(); }
  /// What ended by an answer, after Look.
  std::vector<CommandEnd> TakeAnswered();
  void GoOn();

  /// How many tasks to give at a time: a batch takes some milliseconds, and what stands in it
  /// behind a task that takes long cannot be given to another slot, so few where durations differ.
  size_t BatchSize();

 private:
  class Batch;
  /// The parts of Prepare.
  std::string StartProblem();
  std::string Greet(const RunContext& run);
  void LogStart();
  std::string EndedEarly(bool killed);

  CommandRunner::Slot slot_;
  std::unique_ptr<ProgramProcess> process_;
  /// It printed what its helper did not mark as a task's.
  bool prints_ = false;
  /// The last start failed for want of room on this machine.
  bool no_room_ = false;
  /// What Begin began, and of which run it is.
  std::shared_ptr<const RunContext> begun_run_;
  std::unique_ptr<Batch> begun_;
  // Of the tasks' durations, in ns: mean, mean deviation, and the longest, slowly forgotten.
  void Learn(uint64_t wall_us);
  // So many tasks of a batch were answered in that time, with what their program does around them.
  void LearnPace(std::chrono::nanoseconds took, size_t tasks);
  /// How long a program that is at work takes for so many.
  std::chrono::nanoseconds Expected(size_t tasks) const;
  /// The batches grow to what fits, doubling: the first tasks may be unlike the others.
  size_t grown_ = 1;
  double mean_ = 0;
  double deviation_ = 0;
  double longest_ = 0;
  double pace_ = 0;
};

}  // namespace cq
