#include "master/journal/journal_tables.h"

#include "base/wall_clock.h"
#include "master/journal/tally.h"

namespace cq {
namespace {

/// Of the output of a task that runs on, so many parts are kept, the newest.
constexpr int64_t kOutputParts = 16;

std::string_view BytesOf(const WorkerId& id) {
  return {reinterpret_cast<const char*>(id.data()), id.size()};
}

}  // namespace

JournalTables::JournalTables(Database& db)
    : database_(db),
      results_(db),
      pushed_(db),
      endings_(db),
      blob_(db.Prepare("INSERT OR IGNORE INTO blobs VALUES(?1, ?2, ?3)")),
      failure_(db.Prepare("INSERT OR REPLACE INTO failures VALUES(?1, ?2, ?3, ?4, ?5, ?6)")),
      worker_(db.Prepare("INSERT OR REPLACE INTO workers(worker, id, host, pid, slots,"
                         " allocation, joined_us) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")),
      worker_end_(db.Prepare("UPDATE workers SET ended_us = ?2, ended = ?3, waits_for = ''"
                             " WHERE worker = ?1")),
      worker_waits_(db.Prepare("UPDATE workers SET waits_for = ?2 WHERE worker = ?1")),
      intent_(db.Prepare("INSERT INTO allocations(token, scheduler, workers,"
                         " intended_us, pool) VALUES(?1, ?2, ?3, ?4, ?5)")),
      submitted_(db.Prepare("UPDATE allocations SET job = ?2 WHERE token = ?1")),
      allocation_end_(db.Prepare("UPDATE allocations SET ended_us = ?2 WHERE token = ?1")),
      meta_(db.Prepare("INSERT OR REPLACE INTO meta VALUES(?1, ?2)")),
      output_(db.Prepare("INSERT OR REPLACE INTO output VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")),
      output_end_(db.Prepare("DELETE FROM output WHERE task = ?1")),
      avoid_(db.Prepare("INSERT OR IGNORE INTO avoided VALUES(?1)")),
      ledger_(db.Prepare("INSERT OR REPLACE INTO ledgers VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"
                         " ?9, ?10, ?11, ?12)")),
      raised_(db.Prepare("INSERT OR REPLACE INTO raised VALUES(?1, ?2, ?3, ?4)")),
      call_(db.Prepare("INSERT OR IGNORE INTO calls VALUES(?1, ?2, ?3)")) {}

Committed JournalTables::Commit(const std::vector<JournalRecord>& records) {
  Committed committed;
  database_.Execute("BEGIN IMMEDIATE");
  for (const JournalRecord& record : records) {
    std::visit([this](const auto& r) { Put(r); }, record);
    committed.Add(record);
  }
  results_.Write();
  for (const JournalRecord& record : records) {
    if (const auto* result = std::get_if<ResultRecord>(&record)) {
      if (result->pushed.empty()) continue;
      pushed_.Add(result->result.task, result->pushed, committed.added);
    } else if (const auto* add = std::get_if<AddRecord>(&record)) {
      const size_t before = committed.added.size();
      pushed_.Add(*add, committed.added);
      committed.requests.emplace_back(add->request, committed.added.size() - before);
      add->proposed ? endings_.OnAnswer(*add->proposed) : endings_.OnOthersAdd();
    }
  }
  endings_.OnBack(committed.added);
  database_.Execute("COMMIT");
  return committed;
}

void JournalTables::Put(const ResultRecord& record) {
  const TaskResult& r = record.result;
  results_.Add(record);
  if (record.told) endings_.Add(r.task, r.count);
  if (!r.blob->format.empty()) {
    blob_.Bind(1, static_cast<int64_t>(r.task))
        .BindText(2, r.blob->format)
        .BindBlob(3, r.blob->bytes)
        .Run();
  }
  if (r.outcome == Outcome::kCancelled) meta_.BindText(1, "cancelled").BindText(2, "true").Run();
  // The result has the whole of it.
  if (parts_.erase(r.task) > 0) output_end_.Bind(1, static_cast<int64_t>(r.task)).Run();
}

void JournalTables::Put(const FailureRecord& record) {
  failure_.Bind(1, static_cast<int64_t>(record.attempt.attempt))
      .Bind(2, static_cast<int64_t>(record.attempt.task))
      .Bind(3, static_cast<int64_t>(record.worker))
      .Bind(4, static_cast<int64_t>(record.kind))
      .Bind(5, UnixMicroseconds())
      .BindText(6, record.reason)
      .Run();
}

void JournalTables::Put(const WorkerRecord& record) {
  worker_.Bind(1, static_cast<int64_t>(record.worker))
      .BindBlob(2, BytesOf(record.id))
      .BindText(3, record.host)
      .Bind(4, static_cast<int64_t>(record.pid))
      .Bind(5, static_cast<int64_t>(record.slots))
      .BindText(6, record.allocation)
      .Bind(7, UnixMicroseconds())
      .Run();
}

void JournalTables::Put(const WorkerEndRecord& record) {
  worker_end_.Bind(1, static_cast<int64_t>(record.worker))
      .Bind(2, UnixMicroseconds())
      .BindText(3, record.reason)
      .Run();
}

void JournalTables::Put(const WorkerWaitsRecord& record) {
  worker_waits_.Bind(1, static_cast<int64_t>(record.worker)).BindText(2, record.text).Run();
}

void JournalTables::Put(const AllocationIntent& record) {
  intent_.BindText(1, record.token)
      .BindText(2, record.scheduler)
      .Bind(3, static_cast<int64_t>(record.workers))
      .Bind(4, UnixMicroseconds())
      .Bind(5, static_cast<int64_t>(record.pool))
      .Run();
}

void JournalTables::Put(const AllocationSubmitted& record) {
  submitted_.BindText(1, record.token).BindText(2, record.job).Run();
}

void JournalTables::Put(const AllocationEnded& record) {
  allocation_end_.BindText(1, record.token).Bind(2, UnixMicroseconds()).Run();
}

void JournalTables::Put(const MarkRecord& record) {
  meta_.BindText(1, "mark").BindText(2, std::to_string(record.mark)).Run();
}

void JournalTables::Put(const OutputRecord& record) {
  const auto task = static_cast<int64_t>(record.part.task);
  auto& [attempt, parts] = parts_[record.part.task];
  // Of an earlier attempt nobody wants to read on.
  if (std::exchange(attempt, record.part.attempt) != record.part.attempt) {
    output_end_.Bind(1, task).Run();
    parts = 0;
  }
  const int64_t part = parts++;
  output_.Bind(1, task)
      .Bind(2, part % kOutputParts)
      .Bind(3, part)
      .Bind(4, static_cast<int64_t>(record.part.attempt))
      .Bind(5, UnixMicroseconds())
      .BindBlob(6, record.part.out)
      .BindBlob(7, record.part.err)
      .Run();
}

void JournalTables::Put(const AvoidRecord& record) { avoid_.BindText(1, record.host).Run(); }

void JournalTables::Put(const LedgerRecord& record) {
  const Ledger& l = record.ledger;
  int index = 1;
  for (const uint64_t value :
       {uint64_t{record.epoch}, l.tasks, l.idle_us, l.queue_us, l.spawn_us, l.run_us, l.wire_us,
        l.record_us, l.vacant_us, l.cpu_us, l.lost_us, l.peak_kb}) {
    ledger_.Bind(index++, static_cast<int64_t>(value));
  }
  ledger_.Run();
}

void JournalTables::Put(const RaisedRecord& record) {
  raised_.Bind(1, static_cast<int64_t>(record.task))
      .Bind(2, static_cast<int64_t>(record.memory_bytes))
      .Bind(3, static_cast<int64_t>(record.time_ms))
      .Bind(4, static_cast<int64_t>(record.time_permille))
      .Run();
}

void JournalTables::Put(const HaltedRecord& record) {
  const std::string of = std::to_string(static_cast<int>(record.of));
  meta_.BindText(1, kHalted).BindText(2, of).Run();
}

void JournalTables::Put(const CallRecord& record) {
  call_.Bind(1, static_cast<int64_t>(record.task))
      .BindText(2, record.function)
      .BindBlob(3, record.arguments)
      .Run();
}

}  // namespace cq
