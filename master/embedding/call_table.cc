#include "master/embedding/call_table.h"

#include <algorithm>

#include "base/assert.h"
#include "protocol/bundle.h"
#include "protocol/pieces.h"
#include "protocol/seeds.h"

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
  if (slot == nullptr) slot = spare_ ? std::move(spare_) : std::make_unique<Page>();
  Entry& entry = slot->entries[call.task % kPage];
  ++slot->used;
  entry.used = true;
  entry.owner = {std::move(call.receiver), call.tag, call.count, BytesOf(call)};
  entry.function = call.function;
  entry.number = call.number;
  auto& values = entry.row.values;
  values.clear();
  values.emplace_back(call.function->name);
  entry.row.problem = std::move(call.problem);
  values.push_back(std::move(call.arguments));
  if (call.number != call.task || call.count > 1) values.push_back(std::to_string(call.number));
  if (call.count > 1) {
    values.push_back(std::to_string(call.count));
    values.push_back(std::to_string(seed_));
  }
  entry.row.seed = SeedOfTask(seed_, call.number);
}

const TaskRow& CallTable::Get(TaskId task) {
  Entry* entry = Find(task);
  if (entry == nullptr) throw Error("task " + std::to_string(task) + " has no call");
  return entry->row;
}

void CallTable::Add(AddedRow& row) {
  CQ_ASSERT(false, "task {} is a row, and these are calls", row.task);
}

// Those of spans are forgotten with their calls.
void CallTable::Forget(const AttemptSpan& tasks) {
  Entry* entry = tasks.count == 1 ? Find(tasks.task) : nullptr;
  if (entry != nullptr && entry->owner.count == 1) entry->row.values.clear();
}

uint32_t CallTable::CountOf(TaskId task) const {
  const Entry* entry = Find(task);
  return entry == nullptr ? 0 : entry->owner.count;
}

std::vector<detail::Call> CallTable::Apart(TaskId task, size_t from) const {
  std::vector<detail::Call> calls;
  const Entry* entry = Find(task);
  if (entry == nullptr || from == entry->owner.count) return calls;
  std::string_view bundle = entry->row.values.at(1);
  std::string_view arguments;
  for (uint32_t i = 0; TakePiece(bundle, arguments); ++i) {
    if (i < from) continue;
    detail::Call& call = calls.emplace_back();
    call.function = entry->function;
    call.arguments = arguments;
    call.receiver = entry->owner.receiver;
    call.tag = entry->owner.tag + i;
    call.number = entry->number + i;
  }
  return calls;
}

CallTable::Owner CallTable::Take(TaskId task) {
  Entry* entry = Find(task);
  if (entry == nullptr) return {};
  entry->used = false;
  Owner owner = std::move(entry->owner);
  entry->row = {};
  auto& page = pages_[task / kPage - first_page_];
  if (--page->used == 0) spare_ = std::move(page);
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
