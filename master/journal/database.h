#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "cq/error.h"

namespace cq {

/// Another process keeps the database to itself.
class DatabaseBusy : public Error {
 public:
  using Error::Error;
};

/// A prepared statement. Columns and parameters are counted from 0 and 1, as SQLite does.
class Statement {
 public:
  Statement(sqlite3* db, std::string_view sql);

  Statement& Bind(int index, int64_t value);
  /// The bytes must live until Step or Run.
  Statement& BindText(int index, std::string_view value);
  Statement& BindBlob(int index, std::string_view value);
  Statement& BindNull(int index);

  /// True while there is a row. Throws Error.
  bool Step();
  /// Runs a statement that returns no row and makes it ready for the next. Throws Error.
  void Run();
  void Reset();

  int columns() const { return sqlite3_column_count(statement_.get()); }
  std::string_view Name(int column) const { return sqlite3_column_name(statement_.get(), column); }
  int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  bool IsNull(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
  }
  /// Valid until the next Step.
  std::string_view Text(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  sqlite3* db_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// One connection to one SQLite database in WAL mode. One thread at a time.
class Database {
 public:
  /// `kImmutable`: nobody writes to it any more.
  enum class Mode { kCreate, kWrite, kRead, kImmutable };
  /// Where shared memory is refused, as on network file systems, the connection keeps the database
  /// to itself. Throws DatabaseBusy when another one does, else Error.
  Database(const std::string& path, Mode mode);

  /// Nobody else can open the database while this connection lives.
  bool exclusive() const { return exclusive_; }

  /// Throws Error that names the file and SQLite's reason.
  void Execute(const char* sql);
  Statement Prepare(std::string_view sql) { return {db_.get(), sql}; }

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  friend class DatabaseCopy;
  Database() = default;
  void Connect(const std::string& path, Mode mode);

  std::unique_ptr<sqlite3, Close> db_;
  bool exclusive_ = false;
};

/// Copies a database a slice at a time. What its own connection writes meanwhile is in the copy,
/// too.
class DatabaseCopy {
 public:
  DatabaseCopy(Database& from, const std::string& to);
  /// Copies for about that long. True once all is copied and on the disk. Throws Error.
  bool Step(std::chrono::milliseconds slice);

 private:
  struct Finish {
    void operator()(sqlite3_backup* backup) const { sqlite3_backup_finish(backup); }
  };
  Database to_;
  std::unique_ptr<sqlite3_backup, Finish> backup_;
};

}  // namespace cq
