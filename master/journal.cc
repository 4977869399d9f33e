#include "master/journal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <iterator>

#include "cq/error.h"
#include "cq/version.h"
#include "generated/schema_sql.h"
#include "master/result_rows.h"
#include "protocol/files.h"
#include "protocol/wall_clock.h"

namespace cq {
namespace {

/// Of the output of a task that runs on, so many parts are kept, the newest.
constexpr int64_t kOutputParts = 16;
/// How long a copy of the journal may keep a commit waiting.
constexpr std::chrono::milliseconds kCopySlice{8};

std::string_view BytesOf(const WorkerId& id) {
  return {reinterpret_cast<const char*>(id.data()), id.size()};
}

}  // namespace

void SetUpJournal(Database& database) {
  database.Execute(
      "PRAGMA journal_mode=WAL; PRAGMA cache_size=-8000;"
#ifdef CQ_BENCH_WITHOUT_SYNC
      "PRAGMA synchronous=OFF;"
#else
      "PRAGMA synchronous=FULL;"
#endif
      "PRAGMA wal_autocheckpoint=4000;");
}

void CreateJournal(const std::string& path, const std::map<std::string, std::string>& meta,
                   const std::vector<RowRange>& ranges) {
  Database database(path, Database::Mode::kCreate);
  SetUpJournal(database);
  database.Execute("BEGIN");
  database.Execute(kSchemaSql);
  auto insert_meta = database.Prepare("INSERT INTO meta VALUES(?1, ?2)");
  insert_meta.BindText(1, "format").BindText(2, std::to_string(kJournalFormat)).Run();
  insert_meta.BindText(1, "cq_version").BindText(2, fmt::format("\"{}\"", kVersion)).Run();
  for (const auto& [name, value] : meta) insert_meta.BindText(1, name).BindText(2, value).Run();
  auto insert_range = database.Prepare("INSERT INTO ranges VALUES(?1, ?2, ?3)");
  for (const RowRange& range : ranges) {
    insert_range.Bind(1, static_cast<int64_t>(range.position))
        .Bind(2, static_cast<int64_t>(range.task))
        .Bind(3, static_cast<int64_t>(range.rows))
        .Run();
  }
  const std::string host = HostName();
  database.Prepare("INSERT INTO epochs VALUES(1, ?1, ?2, ?3)")
      .Bind(1, UnixMicroseconds())
      .BindText(2, host)
      .Bind(3, getpid())
      .Run();
  database.Execute("COMMIT");
}

// The statements.
class JournalWriter::Tables {
 public:
  explicit Tables(Database& db)
      : results_(db),
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
        ledger_(
            db.Prepare("INSERT OR REPLACE INTO ledgers VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")),
        call_(db.Prepare("INSERT OR IGNORE INTO calls VALUES(?1, ?2, ?3)")) {}

  /// The record must live until the next WriteResults, which inserts what is not inserted by then.
  void operator()(const ResultRecord& record) {
    const TaskResult& r = record.result;
    results_.Add(record);
    if (!r.blob->format.empty()) {
      blob_.Bind(1, static_cast<int64_t>(r.task))
          .BindText(2, r.blob->format)
          .BindBlob(3, r.blob->bytes)
          .Run();
    }
    // The result has the whole of it.
    if (parts_.erase(r.task) > 0) output_end_.Bind(1, static_cast<int64_t>(r.task)).Run();
  }
  void operator()(const SpanRecord& record) { results_.Add(record); }
  void operator()(const FailureRecord& record) {
    failure_.Bind(1, static_cast<int64_t>(record.attempt.attempt))
        .Bind(2, static_cast<int64_t>(record.attempt.task))
        .Bind(3, static_cast<int64_t>(record.worker))
        .Bind(4, static_cast<int64_t>(record.kind))
        .Bind(5, UnixMicroseconds())
        .BindText(6, record.reason)
        .Run();
  }
  void operator()(const WorkerRecord& record) {
    worker_.Bind(1, static_cast<int64_t>(record.worker))
        .BindBlob(2, BytesOf(record.id))
        .BindText(3, record.host)
        .Bind(4, static_cast<int64_t>(record.pid))
        .Bind(5, static_cast<int64_t>(record.slots))
        .BindText(6, record.allocation)
        .Bind(7, UnixMicroseconds())
        .Run();
  }
  void operator()(const WorkerEndRecord& record) {
    worker_end_.Bind(1, static_cast<int64_t>(record.worker))
        .Bind(2, UnixMicroseconds())
        .BindText(3, record.reason)
        .Run();
  }
  void operator()(const WorkerWaitsRecord& record) {
    worker_waits_.Bind(1, static_cast<int64_t>(record.worker)).BindText(2, record.text).Run();
  }
  void operator()(const AllocationIntent& record) {
    intent_.BindText(1, record.token)
        .BindText(2, record.scheduler)
        .Bind(3, static_cast<int64_t>(record.workers))
        .Bind(4, UnixMicroseconds())
        .Bind(5, static_cast<int64_t>(record.pool))
        .Run();
  }
  void operator()(const AllocationSubmitted& record) {
    submitted_.BindText(1, record.token).BindText(2, record.job).Run();
  }
  void operator()(const AllocationEnded& record) {
    allocation_end_.BindText(1, record.token).Bind(2, UnixMicroseconds()).Run();
  }
  void operator()(const MarkRecord& record) {
    meta_.BindText(1, "mark").BindText(2, std::to_string(record.mark)).Run();
  }
  void operator()(const OutputRecord& record) {
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
  void operator()(const AvoidRecord& record) { avoid_.BindText(1, record.host).Run(); }
  void operator()(const LedgerRecord& record) {
    const Ledger& l = record.ledger;
    int index = 1;
    for (const uint64_t value : {uint64_t{record.epoch}, l.tasks, l.idle_us, l.queue_us, l.spawn_us,
                                 l.run_us, l.wire_us, l.record_us}) {
      ledger_.Bind(index++, static_cast<int64_t>(value));
    }
    ledger_.Run();
  }
  void operator()(const CallRecord& record) {
    call_.Bind(1, static_cast<int64_t>(record.task))
        .BindText(2, record.function)
        .BindBlob(3, record.arguments)
        .Run();
  }
  // Says that what stands before it is durable.
  void operator()(const SpoolTaken&) {}

  void WriteResults() { results_.Write(); }

 private:
  ResultRows results_;
  Statement blob_;
  Statement failure_;
  Statement worker_;
  Statement worker_end_;
  Statement worker_waits_;
  Statement intent_;
  Statement submitted_;
  Statement allocation_end_;
  Statement meta_;
  Statement output_;
  Statement output_end_;
  Statement avoid_;
  Statement ledger_;
  Statement call_;
  /// Of tasks that run for long: their attempt, and how many parts of its output have come.
  std::map<TaskId, std::pair<AttemptId, int64_t>> parts_;
};

JournalWriter::JournalWriter(Database database, Callbacks callbacks)
    : callbacks_(std::move(callbacks)),
      database_(std::move(database)),
      exclusive_(database_.exclusive()),
      tables_(std::make_unique<Tables>(database_)),
      thread_([this] { Work(); }) {}

JournalWriter::~JournalWriter() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void JournalWriter::Push(std::vector<JournalRecord> records) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = queue_.empty();
    if (first) {
      queue_.swap(records);
    } else {
      std::move(records.begin(), records.end(), std::back_inserter(queue_));
    }
  }
  if (first) wake_.notify_one();
}

void JournalWriter::Copy(std::string path) {
  {
    const std::lock_guard lock(mutex_);
    copies_.push_back(std::move(path));
  }
  wake_.notify_one();
}

bool JournalWriter::Flush() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return failed_ || (queue_.empty() && !busy_); });
  return !failed_;
}

void JournalWriter::Work() {
  std::vector<JournalRecord> batch;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !queue_.empty() || !copies_.empty(); });
      if (closing_ && queue_.empty()) return;
      batch.swap(queue_);
      busy_ = true;
    }
    bool ok = true;
    try {
      if (!batch.empty()) CommitBatch(batch);
      CopySlice();
    } catch (const Error& error) {
      ok = false;
      callbacks_.failed(error.what());
    }
    batch.clear();
    {
      const std::lock_guard lock(mutex_);
      busy_ = false;
      failed_ = !ok;
    }
    idle_.notify_all();
    if (!ok) return;
  }
}

void JournalWriter::CopySlice() {
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    if (copies_.empty()) return;
    path = copies_.front();
  }
  std::string problem;
  try {
    if (!copy_) copy_ = std::make_unique<DatabaseCopy>(database_, path);
    if (!copy_->Step(kCopySlice)) return;
  } catch (const Error& error) {
    problem = error.what();
  }
  copy_.reset();
  {
    const std::lock_guard lock(mutex_);
    copies_.pop_front();
  }
  callbacks_.copied(path, problem);
}

void JournalWriter::CommitBatch(std::vector<JournalRecord>& batch) {
  Committed committed;
  database_.Execute("BEGIN IMMEDIATE");
  for (const JournalRecord& record : batch) {
    std::visit(*tables_, record);
    committed.Add(record);
  }
  tables_->WriteResults();
  database_.Execute("COMMIT");
  callbacks_.committed(std::move(committed));
}

}  // namespace cq
