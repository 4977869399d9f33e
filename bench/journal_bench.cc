// journal_bench ROWS: what each way of keeping results would cost, on the SQLite that cq uses:
// insert, export (a scan in order), the comparison of a resume, size, memory. The chosen schema is
// the first (master/journal/JOURNAL.md).
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "cq/error.h"
#include "master/journal/journal.h"
#include "master/journal/recovery.h"

namespace cq {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kColumns =
    "task INTEGER PRIMARY KEY, attempt INTEGER, outcome INTEGER, exit INTEGER, attempts INTEGER,"
    "worker INTEGER, started_us INTEGER, wall_us INTEGER, user_us INTEGER, system_us INTEGER,"
    "max_rss_kb INTEGER, error TEXT";

struct Variant {
  const char* name;
  std::string create;
  std::function<void(Database&, uint64_t rows)> insert;
  const char* scan;
};

void BindCommon(Statement& s, uint64_t i) {
  for (int column = 1; column <= 11; ++column) s.Bind(column, static_cast<int64_t>(i) + column);
  s.BindNull(12);
}

void InGroups(Database& db, uint64_t rows, const std::function<void(uint64_t)>& insert) {
  for (uint64_t i = 1; i <= rows;) {
    db.Execute("BEGIN");
    for (int k = 0; k < 1000 && i <= rows; ++k, ++i) insert(i);
    db.Execute("COMMIT");
  }
}

std::string JsonOf(uint64_t i) {
  return fmt::format("{{\"segments\":{},\"loss\":{}}}", i % 100, static_cast<double>(i) / 7);
}

std::vector<Variant> Variants() {
  const std::string out(20, 'x');
  const auto one_table = [out](Database& db, uint64_t rows) {
    auto s = db.Prepare(
        "INSERT INTO results VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,NULL)");
    InGroups(db, rows, [&](uint64_t i) {
      const std::string json = JsonOf(i);
      BindCommon(s, i);
      s.BindText(13, json).BindBlob(14, out).Run();
    });
  };
  const std::string table =
      fmt::format("CREATE TABLE results({}, returned TEXT, stdout BLOB, stderr BLOB)", kColumns);
  const char* scan = "SELECT * FROM results ORDER BY task";
  return {
      {"one row, values as JSON, output in the row (chosen)", table, one_table, scan},
      {"the same, with an index on the attempt",
       table + "; CREATE INDEX by_attempt ON results(attempt)", one_table, scan},
      {"output in a table of its own",
       fmt::format("CREATE TABLE results({}, returned TEXT); CREATE TABLE output(task INTEGER "
                   "PRIMARY KEY, stdout BLOB, stderr BLOB)",
                   kColumns),
       [out](Database& db, uint64_t rows) {
         auto s =
             db.Prepare("INSERT INTO results VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)");
         auto o = db.Prepare("INSERT INTO output VALUES(?1,?2,NULL)");
         InGroups(db, rows, [&](uint64_t i) {
           const std::string json = JsonOf(i);
           BindCommon(s, i);
           s.BindText(13, json).Run();
           o.Bind(1, static_cast<int64_t>(i)).BindBlob(2, out).Run();
         });
       },
       "SELECT * FROM results LEFT JOIN output USING(task) ORDER BY task"},
      {"one row for each value",
       fmt::format("CREATE TABLE results({}, stdout BLOB, stderr BLOB); CREATE TABLE vals(task "
                   "INTEGER, name INTEGER, value, PRIMARY KEY(task, name)) WITHOUT ROWID",
                   kColumns),
       [out](Database& db, uint64_t rows) {
         auto s = db.Prepare(
             "INSERT INTO results VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,NULL)");
         auto v = db.Prepare("INSERT INTO vals VALUES(?1,?2,?3)");
         InGroups(db, rows, [&](uint64_t i) {
           BindCommon(s, i);
           s.BindBlob(13, out).Run();
           for (int name = 1; name <= 2; ++name) {
             v.Bind(1, static_cast<int64_t>(i))
                 .Bind(2, name)
                 .Bind(3, static_cast<int64_t>(i))
                 .Run();
           }
         });
       },
       "SELECT * FROM results JOIN vals USING(task) ORDER BY task"},
  };
}

double MicrosPerRow(Clock::time_point begin, uint64_t rows) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count() /
         static_cast<double>(rows);
}

uint64_t PeakMb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) / 1024;
}

void Measure(const Variant& variant, uint64_t rows, const std::string& directory) {
  const std::string path = directory + "/bench.db";
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path + suffix);
  Database db(path, Database::Mode::kCreate);
  db.Execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8000; PRAGMA "
      "wal_autocheckpoint=4000;");
  db.Execute(variant.create.c_str());
  auto begin = Clock::now();
  variant.insert(db, rows);
  const double insert = MicrosPerRow(begin, rows);
  db.Execute("PRAGMA wal_checkpoint(TRUNCATE)");
  begin = Clock::now();
  auto scan = db.Prepare(variant.scan);
  uint64_t bytes = 0;
  while (scan.Step()) bytes += scan.Text(12).size() + static_cast<uint64_t>(scan.Int(0) != 0);
  const double exported = MicrosPerRow(begin, rows);
  fmt::print("{:<52} {:>8.2f} {:>8.2f} {:>8} {:>8}\n", variant.name, insert, exported,
             std::filesystem::file_size(path) / rows, PeakMb());
}

// The comparison of a resume: the CSV against the run directory's copy, byte by byte as long as
// they agree.
void MeasureComparison(uint64_t rows, const std::string& directory) {
  const std::string a = directory + "/a.csv";
  const std::string b = directory + "/b.csv";
  {
    std::ofstream file(a);
    for (uint64_t i = 0; i < rows; ++i) file << i << ",0.12345,some text\n";
  }
  std::filesystem::copy_file(a, b, std::filesystem::copy_options::overwrite_existing);
  const auto begin = Clock::now();
  std::ifstream x(a, std::ios::binary);
  std::ifstream y(b, std::ios::binary);
  std::vector<char> p(1 << 20);
  std::vector<char> q(1 << 20);
  bool same = true;
  while (same && x.read(p.data(), 1 << 20).gcount() > 0) {
    y.read(q.data(), 1 << 20);
    same = x.gcount() == y.gcount() &&
           std::memcmp(p.data(), q.data(), static_cast<size_t>(x.gcount())) == 0;
  }
  fmt::print("comparison of {} rows with their copy: {:.3f} µs a row, {}\n", rows,
             MicrosPerRow(begin, rows), same ? "equal" : "different");
}

// Small results through the master's own writer: its queue, its group commits, its thread.
void MeasureWriter(uint64_t rows, const std::string& directory) {
  const std::string path = directory + "/writer.db";
  std::atomic<uint64_t> committed{0};
  JournalWriter::Callbacks callbacks;
  callbacks.committed = [&](Committed done) { committed += done.attempts.size(); };
  callbacks.failed = [](std::string reason) { throw Error(reason); };
  CreateJournal(path, {}, {{1, 1, rows}});
  JournalWriter writer(OpenJournal(path), std::move(callbacks));
  std::vector<JournalRecord> records;
  const auto begin = Clock::now();
  for (uint64_t i = 1; i <= rows; ++i) {
    ResultRecord record;
    record.result.task = i;
    record.result.attempt = (1ull << 40) + i;
    record.result.wall_us = 2;
    record.result.started_us = 1'700'000'000'000'000 + i;
    record.result.values = {{"result", static_cast<double>(i) / 7}};
    record.attempts = 1;
    record.worker = 1;
    records.push_back(std::move(record));
    // About what a turn of the master's loop brings.
    if (records.size() == 256) writer.Push(std::exchange(records, {}));
    // As far ahead as workers hold results.
    while (i % 1024 == 0 && i - committed > 65'536) usleep(100);
  }
  writer.Push(std::move(records));
  writer.Flush();
  const double each = MicrosPerRow(begin, rows);
  fmt::print("the master's writer: {:.2f} µs a result of one number, {:.0f} results/s\n", each,
             1e6 / each);
}

}  // namespace
}  // namespace cq

int main(int argc, char** argv) {
  const uint64_t rows = argc > 1 ? std::stoull(argv[1]) : 10'000'000;
  std::string directory =
      (std::filesystem::temp_directory_path() / "journal-bench-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) return 1;
  fmt::print("{} rows\n{:<52} {:>8} {:>8} {:>8} {:>8}\n", rows, "schema", "µs/ins.", "µs/exp.",
             "bytes", "peak MB");
  // With another word, the writer alone.
  if (argc <= 2)
    for (const auto& variant : cq::Variants()) cq::Measure(variant, rows, directory);
  cq::MeasureComparison(rows, directory);
  cq::MeasureWriter(rows, directory);
  std::filesystem::remove_all(directory);
}
