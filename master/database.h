#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace cq {

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

/// One connection to one SQLite database. One thread at a time.
class Database {
 public:
  enum class Mode { kCreate, kWrite, kRead };
  Database(const std::string& path, Mode mode);

  /// Throws Error that names the file and SQLite's reason.
  void Execute(const char* sql);
  Statement Prepare(std::string_view sql) { return {db_.get(), sql}; }

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace cq
