#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "cq/engine.h"
#include "master/input/task_source.h"

namespace cq {

/// The calls of a program that embeds a master, from their submission to their result. In memory
/// are those without a result, by pages of consecutive numbers. One thread.
class CallTable final : public TaskSource {
 public:
  /// What makes the seeds of the tasks. Before the first call.
  void set_seed(uint64_t seed) { seed_ = seed; }

  void Add(detail::Call call);
  const TaskRow& Get(TaskId task) override;
  /// Its arguments are not needed any more, but those of a bundle, which may have to be taken
  /// apart.
  /// Calls push no rows.
  void Add(AddedRow& row) override;
  std::vector<std::string> Fields(TaskId) override { return {}; }
  void Forget(const AttemptSpan& tasks) override;

  struct Owner {
    std::shared_ptr<detail::Receiver> receiver;
    uint64_t tag = 0;
    uint32_t count = 0;
    /// What its arguments took.
    size_t bytes = 0;
  };
  /// Whom the result of this task is for, once; an empty one if nobody waits for it.
  Owner Take(TaskId task);
  /// How many calls it is; 0: nobody waits for it.
  uint32_t CountOf(TaskId task) const;
  /// The calls of a bundle from the one at place `from` on, each for itself. Before Take.
  std::vector<detail::Call> Apart(TaskId task, size_t from) const;
  /// The tasks that this receiver waits for, or all.
  std::vector<TaskId> Of(const detail::Receiver* receiver) const;

  /// What the table holds for arguments of such a size.
  static size_t BytesOf(const detail::Call& call) { return call.arguments.size() + 256; }

 private:
  static constexpr uint64_t kPage = 1024;
  struct Entry {
    TaskRow row;
    Owner owner;
    const Function* function = nullptr;
    uint64_t number = 0;
    bool used = false;
  };
  struct Page {
    std::vector<Entry> entries = std::vector<Entry>(kPage);
    uint64_t used = 0;
  };
  Entry* Find(TaskId task) const;

  uint64_t seed_ = 0;
  /// Page n has the tasks n * kPage to (n + 1) * kPage - 1; null: none of them is open.
  std::deque<std::unique_ptr<Page>> pages_;
  uint64_t first_page_ = 0;
  /// The last page that was given up: to make one costs as much as a call, and one call at a time
  /// would need a new one each time.
  std::unique_ptr<Page> spare_;
};

}  // namespace cq
