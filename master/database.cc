#include "master/database.h"

#include <fmt/format.h>

#include "cq/error.h"

namespace cq {
namespace {

[[noreturn]] void Fail(sqlite3* db) {
  const char* file = sqlite3_db_filename(db, "main");
  const int code = sqlite3_errcode(db);
  const char* remedy = code == SQLITE_FULL ? "; free space on that file system" : "";
  throw Error(
      fmt::format("journal '{}': {}{}", file != nullptr ? file : "?", sqlite3_errmsg(db), remedy));
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
  // As text first: a number has no bytes of its own.
  if (sqlite3_column_type(statement_.get(), column) != SQLITE_BLOB) {
    sqlite3_column_text(statement_.get(), column);
  }
  const auto* text = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column));
  return text == nullptr ? std::string_view() : std::string_view(text, size);
}

Database::Database(const std::string& path, Mode mode) {
  const int flags = mode == Mode::kCreate  ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                    : mode == Mode::kWrite ? SQLITE_OPEN_READWRITE
                                           : SQLITE_OPEN_READONLY;
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  db_.reset(db);
  if (code != SQLITE_OK) {
    throw Error(fmt::format("cannot open the journal '{}': {}", path, sqlite3_errmsg(db)));
  }
  sqlite3_busy_timeout(db, 10'000);
}

void Database::Execute(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) Fail(db_.get());
}

}  // namespace cq
