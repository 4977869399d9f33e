#include "master/journal/database.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cq {
namespace {

[[noreturn]] void Fail(sqlite3* db) {
  const char* file = sqlite3_db_filename(db, "main");
  const int code = sqlite3_errcode(db);
  if (code == SQLITE_BUSY) {
    throw DatabaseBusy(fmt::format("the journal '{}' is in use", file != nullptr ? file : "?"));
  }
  const char* remedy = "";
  if (code == SQLITE_FULL) remedy = "; free space on that file system";
  if (sqlite3_extended_errcode(db) == SQLITE_IOERR_WRITE) {
    remedy = " while writing: is a quota or a limit of file sizes (ulimit -f) reached?";
  }
  throw Error(
      fmt::format("journal '{}': {}{}", file != nullptr ? file : "?", sqlite3_errmsg(db), remedy));
}

constexpr int kBusyMs = 10'000;

bool NoSharedMemory(sqlite3* db) {
  switch (sqlite3_extended_errcode(db)) {
    case SQLITE_IOERR_SHMOPEN:
    case SQLITE_IOERR_SHMSIZE:
    case SQLITE_IOERR_SHMLOCK:
    case SQLITE_IOERR_SHMMAP:
    case SQLITE_READONLY_CANTINIT:
    case SQLITE_READONLY_CANTLOCK:
    case SQLITE_PROTOCOL:
      return true;
    default:
      return (sqlite3_errcode(db) & 0xff) == SQLITE_CANTOPEN;
  }
}

// Whether the database stands without its log: all was written back when it was closed.
bool Settled(const std::string& path) {
  struct stat log {};
  return stat((path + "-wal").c_str(), &log) != 0 || log.st_size == 0;
}

std::string UriPath(const std::string& path) {
  std::string uri;
  for (const char c : path) {
    const bool special = c == '%' || c == '?' || c == '#';
    special ? void(uri += fmt::format("%{:02x}", static_cast<unsigned char>(c))) : void(uri += c);
  }
  return uri;
}

}  // namespace

Statement::Statement(sqlite3* db, std::string_view sql) : db_(db) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                         &statement, nullptr) != SQLITE_OK) {
    Fail(db);
  }
  statement_.reset(statement);
}

Statement& Statement::Bind(int index, int64_t value) {
  sqlite3_bind_int64(statement_.get(), index, value);
  return *this;
}

Statement& Statement::BindText(int index, std::string_view value) {
  sqlite3_bind_text64(statement_.get(), index, value.data(), value.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
  return *this;
}

Statement& Statement::BindBlob(int index, std::string_view value) {
  sqlite3_bind_blob64(statement_.get(), index, value.data(), value.size(), SQLITE_STATIC);
  return *this;
}

Statement& Statement::BindNull(int index) {
  sqlite3_bind_null(statement_.get(), index);
  return *this;
}

bool Statement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) Fail(db_);
  return false;
}

void Statement::Run() {
  Step();
  Reset();
}

void Statement::Reset() { sqlite3_reset(statement_.get()); }

std::string_view Statement::Text(int column) const {
  const int type = sqlite3_column_type(statement_.get(), column);
  if (type == SQLITE_NULL) return {};
  // As text first: a number has no bytes of its own.
  if (type == SQLITE_INTEGER || type == SQLITE_FLOAT) {
    sqlite3_column_text(statement_.get(), column);
  }
  const auto* text = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column));
  return text == nullptr ? std::string_view() : std::string_view(text, size);
}

Database::Database(const std::string& path, Mode mode) {
  struct stat file {};
  // SQLite would wait for whoever writes to a FIFO.
  if (stat(path.c_str(), &file) == 0 && !S_ISREG(file.st_mode)) {
    throw Error(fmt::format("journal '{}': it is no regular file", path));
  }
  Connect(path, mode);
  if (mode == Mode::kImmutable) return;
  // One who reads asks the one who keeps the database, rather than wait.
  const int patience = mode == Mode::kRead ? 100 : kBusyMs;
  sqlite3_busy_timeout(db_.get(), patience);
  // Reaches for the shared memory, if there is any to be had.
  const char* probe = mode == Mode::kCreate ? "PRAGMA journal_mode=WAL; BEGIN IMMEDIATE; COMMIT"
                                            : "SELECT count(*) FROM sqlite_schema";
  if (sqlite3_exec(db_.get(), probe, nullptr, nullptr, nullptr) == SQLITE_OK) {
    sqlite3_busy_timeout(db_.get(), kBusyMs);
    return;
  }
  // Who may not write here cannot make the shared memory either.
  const bool forbidden = mode == Mode::kRead && sqlite3_errcode(db_.get()) == SQLITE_READONLY;
  if (!forbidden && !NoSharedMemory(db_.get())) Fail(db_.get());
  if (mode == Mode::kRead && Settled(path)) {
    Connect(path, Mode::kImmutable);
    return;
  }
  Connect(path, mode == Mode::kRead ? Mode::kWrite : mode);
  exclusive_ = true;
  sqlite3_busy_timeout(db_.get(), patience);
  Execute("PRAGMA locking_mode=EXCLUSIVE");
  Execute(probe);
  if (mode == Mode::kRead) Execute("PRAGMA query_only=1");
}

void Database::Connect(const std::string& path, Mode mode) {
  const int flags = mode == Mode::kCreate  ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                    : mode == Mode::kWrite ? SQLITE_OPEN_READWRITE
                                           : SQLITE_OPEN_READONLY;
  const std::string name =
      mode == Mode::kImmutable ? "file:" + UriPath(path) + "?immutable=1" : path;
  const int uri = mode == Mode::kImmutable ? SQLITE_OPEN_URI : 0;
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &db, flags | uri | SQLITE_OPEN_NOMUTEX, nullptr);
  db_.reset(db);
  if (code != SQLITE_OK) {
    throw Error(fmt::format("cannot open the journal '{}': {}", path, sqlite3_errmsg(db)));
  }
  sqlite3_busy_timeout(db, kBusyMs);
}

void Database::Execute(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) Fail(db_.get());
}

DatabaseCopy::DatabaseCopy(Database& from, const std::string& to) {
  unlink(to.c_str());
  to_.Connect(to, Database::Mode::kCreate);
  backup_.reset(sqlite3_backup_init(to_.db_.get(), "main", from.db_.get(), "main"));
  if (!backup_) Fail(to_.db_.get());
}

bool DatabaseCopy::Step(std::chrono::milliseconds slice) {
  constexpr int kPages = 64;
  const auto end = std::chrono::steady_clock::now() + slice;
  do {
    const int code = sqlite3_backup_step(backup_.get(), kPages);
    if (code == SQLITE_DONE) return true;
    if (code != SQLITE_OK)
      throw Error(fmt::format("cannot copy the journal: {}", sqlite3_errstr(code)));
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace cq
