#include "master/core/records.h"

namespace cq {

void Committed::Add(const JournalRecord& record) {
  if (const auto* result = std::get_if<ResultRecord>(&record)) {
    attempts.push_back(result->result);
  } else if (const auto* failure = std::get_if<FailureRecord>(&record)) {
    const bool reported = failure->kind == FailureKind::kRetried ||
                          failure->kind == FailureKind::kSlotCrashed ||
                          failure->kind == FailureKind::kRaised;
    if (reported) attempts.push_back({failure->attempt.task, failure->attempt.attempt});
  } else if (const auto* worker = std::get_if<WorkerRecord>(&record)) {
    workers.push_back(worker->worker);
  } else if (const auto* durable = std::get_if<MarkRecord>(&record)) {
    mark = durable->mark;
  } else if (const auto* taken = std::get_if<SpoolTaken>(&record)) {
    spool.push_back(taken->path);
  }
}

}  // namespace cq
