// hand_loop IN.csv OUT.csv: what a user would write instead of `cq run --function`: one thread that
// reads the rows (one column x), calls f(x) = 2x, inserts each result into SQLite
// (synchronous=FULL, a transaction for every 10,000 rows), and then writes the same table as cq.
#include <sqlite3.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace {

double Twice(double x) { return 2 * x; }

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void Check(int code, sqlite3* database) {
  if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return;
  std::fprintf(stderr, "hand_loop: %s\n", sqlite3_errmsg(database));
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string path = std::string(argv[2]) + ".db";
  std::remove(path.c_str());
  sqlite3* database = nullptr;
  Check(sqlite3_open(path.c_str(), &database), database);
  const auto execute = [&](const char* sql) {
    Check(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), database);
  };
  execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
      "CREATE TABLE results(task INTEGER PRIMARY KEY, outcome INTEGER, exit INTEGER, attempts "
      "INTEGER,"
      " worker INTEGER, started_us INTEGER, wall_us INTEGER, result REAL)");
  sqlite3_stmt* insert = nullptr;
  Check(sqlite3_prepare_v2(database, "INSERT INTO results VALUES(?, 0, 0, 1, 1, ?, ?, ?)", -1,
                           &insert, nullptr),
        database);
  {
    std::ifstream in(argv[1]);
    std::string line;
    std::getline(in, line);
    execute("BEGIN");
    for (int64_t task = 1; std::getline(in, line); ++task) {
      const int64_t begin = Now();
      const double result = Twice(std::strtod(line.c_str(), nullptr));
      sqlite3_bind_int64(insert, 1, task);
      sqlite3_bind_int64(insert, 2, begin);
      sqlite3_bind_int64(insert, 3, Now() - begin);
      sqlite3_bind_double(insert, 4, result);
      Check(sqlite3_step(insert), database);
      sqlite3_reset(insert);
      if (task % 10'000 == 0) execute("COMMIT; BEGIN");
    }
    execute("COMMIT");
  }
  sqlite3_stmt* select = nullptr;
  Check(sqlite3_prepare_v2(
            database, "SELECT task, attempts, worker, wall_us, result FROM results ORDER BY task",
            -1, &select, nullptr),
        database);
  std::ifstream in(argv[1]);
  std::string line;
  std::getline(in, line);
  std::FILE* out = std::fopen(argv[2], "w");
  if (out == nullptr) return 1;
  std::fprintf(out,
               "x,cq_task,cq_status,cq_exit,cq_error,cq_seconds,cq_attempts,cq_worker,result\n");
  while (std::getline(in, line) && sqlite3_step(select) == SQLITE_ROW) {
    std::fprintf(out, "%s,%lld,ok,0,,%.6f,%d,%d,%.17g\n", line.c_str(),
                 static_cast<long long>(sqlite3_column_int64(select, 0)),
                 static_cast<double>(sqlite3_column_int64(select, 3)) / 1e6,
                 sqlite3_column_int(select, 1), sqlite3_column_int(select, 2),
                 sqlite3_column_double(select, 4));
  }
  std::fclose(out);
  sqlite3_finalize(insert);
  sqlite3_finalize(select);
  sqlite3_close(database);
}
