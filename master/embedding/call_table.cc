#include "master/embedding/call_table.h"

#include <algorithm>

#include "master/input.h"

namespace cq {

CallTable::Entry* CallTable::Find(TaskId task) const {
  const uint64_t page = task / kPage;
  if (page < first_page_ || page - first_page_ >= pages_.size()) return nullptr;
  const auto& found = pages_[page - first_page_];
  if (found == nullptr) return nullptr;
  Entry& entry = found->entries[task % kPage];
  return entry.used ? &entry : nullptr;
}

void CallTable::Add(detail::Call call) {
  const uint64_t page = call.task / kPage;
  if (pages_.empty()) first_page_ = page;
  for (; page < first_page_; --first_page_) pages_.emplace_front();
  while (page - first_page_ >= pages_.size()) pages_.emplace_back();
  auto& slot = pages_[page - first_page_];
  if (slot == nullptr) slot = std::make_unique<Page>();
  Entry& entry = slot->entries[call.task % kPage];
  ++slot->used;
  entry.used = true;
  entry.owner = {std::move(call.receiver), call.tag, BytesOf(call)};
  entry.row.values.clear();
  entry.row.values.emplace_back(call.function->name);
  entry.row.values.push_back(std::move(call.arguments));
  entry.row.seed = SeedOfTask(seed_, call.task);
}

const TaskRow& CallTable::Get(TaskId task) {
  Entry* entry = Find(task);
  if (entry == nullptr) throw Error("task " + std::to_string(task) + " has no call");
  return entry->row;
}

void CallTable::Forget(TaskId task) {
  if (Entry* entry = Find(task)) entry->row.values.clear();
}

CallTable::Owner CallTable::Take(TaskId task) {
  Entry* entry = Find(task);
  if (entry == nullptr) return {};
  entry->used = false;
  Owner owner = std::move(entry->owner);
  entry->row = {};
  auto& page = pages_[task / kPage - first_page_];
  if (--page->used == 0) page.reset();
  for (; !pages_.empty() && pages_.front() == nullptr; ++first_page_) pages_.pop_front();
  return owner;
}

std::vector<TaskId> CallTable::Of(const detail::Receiver* receiver) const {
  std::vector<TaskId> tasks;
  for (size_t i = 0; i < pages_.size(); ++i) {
    if (pages_[i] == nullptr) continue;
    for (size_t at = 0; at < kPage; ++at) {
      const Entry& entry = pages_[i]->entries[at];
      const bool wanted = receiver == nullptr || entry.owner.receiver.get() == receiver;
      if (entry.used && wanted) tasks.push_back((first_page_ + i) * kPage + at);
    }
  }
  return tasks;
}

}  // namespace cq
