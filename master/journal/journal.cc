#include "master/journal/journal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <iterator>

#include "base/files.h"
#include "base/wall_clock.h"
#include "cq/error.h"
#include "cq/version.h"
#include "generated/schema_sql.h"

namespace cq {
namespace {

/// How long a copy of the journal may keep a commit waiting.
constexpr std::chrono::milliseconds kCopySlice{8};

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
  FillNewJournal(database, meta, ranges);
}

void FillNewJournal(Database& database, const std::map<std::string, std::string>& meta,
                    const std::vector<RowRange>& ranges) {
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

JournalWriter::JournalWriter(Database database, Callbacks callbacks)
    : callbacks_(std::move(callbacks)),
      database_(std::move(database)),
      exclusive_(database_.exclusive()),
      tables_(database_),
      thread_([this] { Work(); }) {}

JournalWriter::~JournalWriter() {
  {
    const Lock lock(mutex_);
    closing_ = true;
  }
  wake_.NotifyOne();
  thread_.join();
}

void JournalWriter::Push(std::vector<JournalRecord> records) {
  bool first = false;
  {
    const Lock lock(mutex_);
    first = queue_.empty();
    if (first) {
      queue_.swap(records);
    } else {
      std::move(records.begin(), records.end(), std::back_inserter(queue_));
    }
  }
  if (first) wake_.NotifyOne();
}

void JournalWriter::Copy(std::string path) {
  {
    const Lock lock(mutex_);
    copies_.push_back(std::move(path));
  }
  wake_.NotifyOne();
}

bool JournalWriter::Flush() {
  const Lock lock(mutex_);
  while (!failed_ && (!queue_.empty() || busy_)) idle_.Wait(mutex_);
  return !failed_;
}

void JournalWriter::Work() {
  std::vector<JournalRecord> batch;
  for (;;) {
    {
      const Lock lock(mutex_);
      while (!closing_ && queue_.empty() && copies_.empty()) wake_.Wait(mutex_);
      if (closing_ && queue_.empty()) return;
      batch.swap(queue_);
      busy_ = true;
    }
    bool ok = true;
    try {
      if (!batch.empty()) callbacks_.committed(tables_.Commit(batch));
      CopySlice();
    } catch (const Error& error) {
      ok = false;
      callbacks_.failed(error.what());
    }
    batch.clear();
    {
      const Lock lock(mutex_);
      busy_ = false;
      failed_ = !ok;
    }
    idle_.NotifyAll();
    if (!ok) return;
  }
}

void JournalWriter::CopySlice() {
  std::string path;
  {
    const Lock lock(mutex_);
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
    const Lock lock(mutex_);
    copies_.pop_front();
  }
  callbacks_.copied(path, problem);
}

}  // namespace cq
