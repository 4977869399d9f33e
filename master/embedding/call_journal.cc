#include "master/embedding/call_journal.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cq/error.h"

namespace cq {
namespace {

uint64_t HashOf(std::string_view function, std::string_view arguments) {
  return XXH64(arguments.data(), arguments.size(), XXH64(function.data(), function.size(), 0));
}

}  // namespace

void MemoryWriter::Push(std::vector<JournalRecord> records) {
  Committed committed;
  std::vector<TaskResult> results;
  for (JournalRecord& record : records) {
    committed.Add(record);
    if (auto* result = std::get_if<ResultRecord>(&record)) {
      results.push_back(std::move(result->result));
    }
  }
  if (!results.empty()) deliver_(std::move(results));
  callbacks_.committed(std::move(committed));
}

void MemoryWriter::Copy(std::string path) {
  callbacks_.copied(std::move(path), "this run has no journal: its results are in memory alone");
}

DurableWriter::DurableWriter(Database journal, Callbacks callbacks, DeliverResults deliver)
    : deliver_(std::move(deliver)) {
  callbacks.committed = [this, forward = std::move(callbacks.committed)](Committed committed) {
    OnCommitted(committed);
    forward(std::move(committed));
  };
  journal_ = std::make_unique<JournalWriter>(std::move(journal), std::move(callbacks));
}

void DurableWriter::Push(std::vector<JournalRecord> records) {
  {
    const Lock lock(mutex_);
    for (const JournalRecord& record : records) {
      const auto* result = std::get_if<ResultRecord>(&record);
      if (result != nullptr) waiting_[result->result.attempt] = result->result;
    }
  }
  journal_->Push(std::move(records));
}

void DurableWriter::OnCommitted(const Committed& committed) {
  std::vector<TaskResult> results;
  {
    const Lock lock(mutex_);
    for (const AttemptSpan& attempts : committed.attempts) {
      if (auto node = waiting_.extract(attempts.attempt))
        results.push_back(std::move(node.mapped()));
    }
  }
  if (!results.empty()) deliver_(std::move(results));
}

KnownCalls::KnownCalls(Database journal) : journal_(std::move(journal)) {
  auto rows = journal_.Prepare(
      "SELECT c.task, c.function, c.arguments, r.task IS NULL FROM calls c LEFT JOIN results r"
      " ON r.task = c.task ORDER BY c.task");
  while (rows.Step()) {
    const auto task = static_cast<TaskId>(rows.Int(0));
    known_.push_back({HashOf(rows.Text(1), rows.Text(2)), task});
    if (rows.Int(3) != 0) open_.push_back(task);
    last_ = task;
  }
  std::sort(known_.begin(), known_.end());
  claimed_.resize(known_.size());
}

std::vector<TaskId> KnownCalls::tasks() const {
  std::vector<TaskId> tasks;
  for (const Known& known : known_) tasks.push_back(known.task);
  return tasks;
}

TaskId KnownCalls::Claim(const std::string& function, const std::string& arguments) {
  const uint64_t hash = HashOf(function, arguments);
  const auto begin = std::lower_bound(known_.begin(), known_.end(), Known{hash, 0});
  size_t& first =
      first_.try_emplace(hash, static_cast<size_t>(begin - known_.begin())).first->second;
  for (size_t at = first; at < known_.size() && known_[at].hash == hash; ++at) {
    if (claimed_[at]) {
      if (at == first) ++first;
      continue;
    }
    auto same = journal_.Prepare(
        "SELECT 1 FROM calls WHERE task = ?1 AND function = ?2 AND arguments = ?3");
    same.Bind(1, static_cast<int64_t>(known_[at].task))
        .BindText(2, function)
        .BindBlob(3, arguments);
    if (!same.Step()) continue;
    claimed_[at] = true;
    return known_[at].task;
  }
  return 0;
}

std::optional<TaskResult> KnownCalls::Result(TaskId task) {
  auto row = journal_.Prepare(
      "SELECT r.outcome, r.exit, r.error, r.stdout, r.stderr, b.bytes FROM results r"
      " LEFT JOIN blobs b ON b.task = r.task WHERE r.task = ?1");
  row.Bind(1, static_cast<int64_t>(task));
  if (!row.Step()) return std::nullopt;
  TaskResult result;
  result.task = task;
  result.outcome = static_cast<Outcome>(row.Int(0));
  ResultDetails& details = result.details.Edit();
  details.exit = row.Int(1);
  details.error = row.Text(2);
  details.out = row.Text(3);
  details.err = row.Text(4);
  result.blob.Edit().bytes = row.Text(5);
  return result;
}

}  // namespace cq
