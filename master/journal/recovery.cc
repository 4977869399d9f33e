#include "master/journal/recovery.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "base/files.h"
#include "base/wall_clock.h"
#include "cq/error.h"
#include "generated/schema_sql.h"
#include "master/journal/pushed_table.h"

namespace cq {
namespace {

int64_t MetaNumber(Database& journal, const char* name) {
  const std::string text = MetaText(journal, name);
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// The tasks whose outcomes are taken back, as ranges in `resets`: attempts of earlier epochs at
// them no longer count.
void TakeBack(Database& journal, Epoch epoch, Restart::Rerun rerun) {
  const std::string condition = rerun == Restart::Rerun::kAll      ? "1"
                                : rerun == Restart::Rerun::kFailed ? "outcome <> 0"
                                                                   : "outcome = 5";
  auto tasks =
      journal.Prepare(fmt::format("SELECT task FROM results WHERE {} ORDER BY task", condition));
  auto insert = journal.Prepare("INSERT INTO resets VALUES(?1, ?2, ?3)");
  int64_t first = 0;
  int64_t last = -1;
  const auto flush = [&] {
    if (last < first || rerun == Restart::Rerun::kAll) return;
    insert.Bind(1, first).Bind(2, last).Bind(3, static_cast<int64_t>(epoch)).Run();
  };
  while (tasks.Step()) {
    const int64_t task = tasks.Int(0);
    if (task != last + 1 || last < first) {
      flush();
      first = task;
    }
    last = task;
  }
  flush();
  tasks.Reset();
  // What still runs is of the same.
  if (rerun == Restart::Rerun::kAll) {
    const TaskId all = LastTask(journal, ReadRanges(journal));
    insert.Bind(1, 1).Bind(2, static_cast<int64_t>(all)).Bind(3, static_cast<int64_t>(epoch)).Run();
  }
  journal.Execute(fmt::format("DELETE FROM results WHERE {}", condition).c_str());
  journal.Execute("DELETE FROM blobs WHERE task NOT IN (SELECT task FROM results)");
  if (rerun == Restart::Rerun::kAll) {
    // A proposer begins anew, too.
    journal.Execute(
        "DELETE FROM raised; DELETE FROM claims WHERE parent < 0; DELETE FROM endings;"
        "DELETE FROM meta WHERE name = 'answered'");
  }
  if (rerun != Restart::Rerun::kCancelled) {
    journal.Execute("DELETE FROM meta WHERE name = 'proposer_done'");
  }
  // Fresh counts: for these, and for what had not got so far where everything is tried anew. Calls
  // that were cancelled say nothing about others.
  journal.Execute(
      rerun == Restart::Rerun::kCancelled
          ? "DELETE FROM failures WHERE EXISTS(SELECT 1 FROM resets WHERE epoch ="
            " (SELECT max(epoch) FROM epochs) AND task BETWEEN first_task AND last_task)"
          : "DELETE FROM failures WHERE task NOT IN (SELECT task FROM results)");
}

// Only names that a result still has are columns.
void ForgetNames(Database& journal) {
  journal.Execute("DELETE FROM names");
  journal.Execute(
      "INSERT INTO names SELECT key, task, place FROM (SELECT e.key AS key, r.task AS task,"
      " row_number() OVER (PARTITION BY r.task ORDER BY e.id) - 1 AS place,"
      " row_number() OVER (PARTITION BY e.key ORDER BY r.task) AS nth"
      " FROM results r, json_each(r.returned) e WHERE r.returned IS NOT NULL) WHERE nth = 1");
}

}  // namespace

void RequireRun(Database& journal, const std::string& path) {
  auto row = journal.Prepare("SELECT 1 FROM sqlite_schema WHERE name = 'meta'");
  if (row.Step()) return;
  throw Error(fmt::format(
      "there is no run in the journal '{}': it was never finished, or its log '{}-wal' is missing; "
      "--fresh moves the run directory aside and starts anew",
      path, path));
}

Database OpenJournal(const std::string& path) {
  Database journal(path, Database::Mode::kWrite);
  RequireRun(journal, path);
  SetUpJournal(journal);
  if (MetaNumber(journal, "format") == 1) {
    journal.Execute(
        "BEGIN IMMEDIATE; ALTER TABLE workers ADD COLUMN waits_for TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE allocations ADD COLUMN pool INTEGER NOT NULL DEFAULT 0;"
        "UPDATE meta SET value = 2 WHERE name = 'format'; COMMIT");
  }
  if (MetaNumber(journal, "format") == 2) {
    journal.Execute(
        "BEGIN IMMEDIATE; ALTER TABLE ledgers ADD COLUMN vacant_us INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE ledgers ADD COLUMN cpu_us INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE ledgers ADD COLUMN lost_us INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE ledgers ADD COLUMN peak_kb INTEGER NOT NULL DEFAULT 0;"
        "CREATE TABLE raised(task INTEGER PRIMARY KEY, memory_bytes INTEGER NOT NULL,"
        " time_ms INTEGER NOT NULL, time_permille INTEGER NOT NULL);"
        "UPDATE meta SET value = 3 WHERE name = 'format'; COMMIT");
  }
  // Whoever changes these tables keeps them here as they were.
  if (MetaNumber(journal, "format") == 3) {
    const std::string schema = kSchemaSql;
    const size_t begin = schema.find("CREATE TABLE pushed(");
    const std::string pushed = schema.substr(begin, schema.find("CREATE TABLE calls(") - begin);
    journal.Execute(
        ("BEGIN IMMEDIATE; " + pushed + "UPDATE meta SET value = 4 WHERE name = 'format'; COMMIT")
            .c_str());
  }
  const int64_t format = MetaNumber(journal, "format");
  if (format != kJournalFormat) {
    throw Error(fmt::format(
        "the journal '{}' has format {}, this cq writes format {}: use the cq that made it", path,
        format, kJournalFormat));
  }
  return journal;
}

// A master that ends in order writes the log back and removes it, as does whoever closes the
// journal last; then the journal has what a master writes before its workers run anything.
std::string LossOfLog(const std::string& run_dir) {
  namespace fs = std::filesystem;
  const std::string path = run_dir + "/journal.db";
  std::error_code none;
  const bool killed = fs::exists(run_dir + "/owner.json", none) && fs::is_regular_file(path, none);
  // Whoever reads makes an empty one.
  const auto bytes = fs::file_size(path + "-wal", none);
  if (!killed || (!none && bytes > 0)) return {};
  const auto logs = fs::directory_iterator(run_dir + "/logs", none);
  if (none || logs == fs::directory_iterator()) return {};
  try {
    Database journal(path, Database::Mode::kImmutable);
    auto written = journal.Prepare(
        "SELECT 1 FROM workers UNION SELECT 1 FROM meta WHERE name = 'mark' LIMIT 1");
    if (written.Step()) return {};
  } catch (const Error&) {
    return {};  // whoever opens it says why
  }
  return fmt::format(
      "'{}-wal' is missing, and with it all that the run had written when its master was killed: "
      "results that it had are lost, and their tasks run again; put the file back first, if it is "
      "somewhere",
      path);
}

bool HasColumn(Database& journal, const std::string& table, const std::string& column) {
  return journal.Prepare("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2")
      .BindText(1, table)
      .BindText(2, column)
      .Step();
}

std::string MetaText(Database& journal, const char* name) {
  auto row = journal.Prepare("SELECT value FROM meta WHERE name = ?1");
  row.BindText(1, name);
  return row.Step() ? std::string(row.Text(0)) : std::string();
}

std::string RowsOf(Database& journal, const std::string& run_dir) {
  // A master may have died between the two.
  const std::string next = run_dir + "/params.csv.next";
  const bool pending =
      !MetaText(journal, "copy_pending").empty() && access(next.c_str(), F_OK) == 0;
  return pending ? next : run_dir + "/params.csv";
}

TaskId LastTask(Database& journal, const std::vector<RowRange>& ranges) {
  auto last = static_cast<TaskId>(MetaNumber(journal, "last_task"));
  for (const RowRange& range : ranges) last = std::max(last, range.task + range.rows - 1);
  if (!HasColumn(journal, "pushed", "task")) return last;
  auto pushed = journal.Prepare("SELECT max(task) FROM pushed");
  pushed.Step();
  return std::max(last, static_cast<TaskId>(pushed.Int(0)));
}

uint64_t CountResults(Database& journal) {
  auto row = journal.Prepare("SELECT count(*) FROM results");
  row.Step();
  return static_cast<uint64_t>(row.Int(0));
}

Epoch StartEpoch(Database& journal, const Restart& restart) {
  journal.Execute("BEGIN IMMEDIATE");
  Epoch epoch = 0;
  {
    auto row = journal.Prepare("SELECT max(epoch) + 1 FROM epochs");
    row.Step();
    epoch = static_cast<Epoch>(row.Int(0));
  }
  journal.Prepare("INSERT INTO epochs VALUES(?1, ?2, ?3, ?4)")
      .Bind(1, static_cast<int64_t>(epoch))
      .Bind(2, UnixMicroseconds())
      .BindText(3, HostName())
      .Bind(4, getpid())
      .Run();
  // Workers that come back say so again.
  journal.Execute("UPDATE workers SET waits_for = '' WHERE waits_for != ''");
  auto meta = journal.Prepare("INSERT OR REPLACE INTO meta VALUES(?1, ?2)");
  for (const auto& [name, value] : restart.meta) meta.BindText(1, name).BindText(2, value).Run();
  if (restart.ranges) {
    journal.Execute("DELETE FROM ranges; DELETE FROM meta WHERE name = 'proposer_done'");
    auto insert = journal.Prepare("INSERT INTO ranges VALUES(?1, ?2, ?3)");
    for (const RowRange& range : *restart.ranges) {
      insert.Bind(1, static_cast<int64_t>(range.position))
          .Bind(2, static_cast<int64_t>(range.task))
          .Bind(3, static_cast<int64_t>(range.rows))
          .Run();
    }
  }
  for (const TaskId task : restart.removed) {
    for (const char* table : {"results", "failures", "blobs", "raised"}) {
      journal.Prepare(fmt::format("DELETE FROM {} WHERE task = ?1", table))
          .Bind(1, static_cast<int64_t>(task))
          .Run();
    }
  }
  if (restart.rerun != Restart::Rerun::kNothing) TakeBack(journal, epoch, restart.rerun);
  // What they pushed they have not pushed any more.
  journal.Execute(
      "DELETE FROM claims WHERE parent > 0 AND parent NOT IN (SELECT task FROM results)");
  // What was printed by attempts of earlier masters: those that live on send it anew.
  journal.Execute("DELETE FROM output");
  if (!restart.removed.empty() || restart.rerun != Restart::Rerun::kNothing) ForgetNames(journal);
  journal
      .Prepare(
          "UPDATE workers SET ended_us = ?1, ended = 'its master was gone'"
          " WHERE ended_us IS NULL AND allocation LIKE 'local %'")
      .Bind(1, UnixMicroseconds())
      .Run();
  // What the scheduler did not explain in time cannot be explained any more.
  journal.Execute("UPDATE failures SET kind = 2 WHERE kind = 1");
  journal.Execute("COMMIT");
  return epoch;
}

std::vector<OpenAllocation> OpenAllocations(Database& journal) {
  std::vector<OpenAllocation> open;
  auto rows = journal.Prepare(
      "SELECT token, scheduler, workers, job, pool, intended_us FROM allocations WHERE ended_us IS "
      "NULL");
  while (rows.Step()) {
    open.push_back(
        {std::string(rows.Text(0)), std::string(rows.Text(1)), static_cast<uint64_t>(rows.Int(4)),
         static_cast<uint64_t>(rows.Int(2)), std::string(rows.Text(3)),
         // A wall clock that was set back says nothing.
         std::chrono::seconds(std::max<int64_t>(UnixMicroseconds() - rows.Int(5), 0) / 1'000'000)});
  }
  return open;
}

std::vector<std::string> AvoidedHosts(Database& journal) {
  std::vector<std::string> hosts;
  auto rows = journal.Prepare("SELECT host FROM avoided");
  while (rows.Step()) hosts.emplace_back(rows.Text(0));
  return hosts;
}

namespace {

// The numbers that do not run: rows beyond the limit, and rows that are no longer there.
void CloseOthers(Recovered& recovered, const std::vector<RowRange>& ranges, uint64_t limit,
                 TaskId last, const std::vector<TaskId>& pushed) {
  std::vector<std::pair<TaskId, TaskId>> wanted;  // first, one past the last
  wanted.reserve(pushed.size() + ranges.size());
  for (const TaskId task : pushed) wanted.emplace_back(task, task + 1);
  for (const RowRange& range : ranges) {
    if (limit != 0 && range.position > limit) break;
    const uint64_t rows =
        limit == 0 ? range.rows : std::min(range.rows, limit - range.position + 1);
    wanted.emplace_back(range.task, range.task + rows);
  }
  std::sort(wanted.begin(), wanted.end());
  TaskId next = 1;
  const auto close_up_to = [&](TaskId end) {
    for (; next < end; ++next) {
      recovered.closed.Insert(next);
      ++recovered.closed_count;
    }
  };
  for (const RowRange& range : ranges) {
    for (uint64_t i = limit > range.position - 1 ? limit - range.position + 1 : 0;
         limit != 0 && i < range.rows; ++i) {
      recovered.beyond.Insert(range.task + i);
    }
  }
  for (const auto& [first, end] : wanted) {
    close_up_to(first);
    next = end;
  }
  close_up_to(last + 1);
}

void AddResults(Recovered& recovered, Database& journal) {
  auto rows = journal.Prepare("SELECT task, outcome FROM results");
  while (rows.Step()) {
    const auto task = static_cast<TaskId>(rows.Int(0));
    recovered.beyond.Erase(task);
    if (recovered.closed.Contains(task)) continue;
    recovered.closed.Insert(task);
    ++recovered.closed_count;
    ++recovered.outcomes.at(static_cast<size_t>(rows.Int(1)));
  }
}

// Of the rows that were pushed and have no outcome those with the highest numbers.
void LeaveOutBeyond(Recovered& recovered, TaskId last, uint64_t max_tasks) {
  uint64_t tasks = last - recovered.closed_count;
  for (const uint64_t count : recovered.outcomes) tasks += count;
  for (; tasks > max_tasks && !recovered.pushed.empty(); --tasks) {
    const TaskId task = recovered.pushed.back().task;
    recovered.pushed.pop_back();
    recovered.closed.Insert(task);
    ++recovered.closed_count;
    recovered.beyond.Insert(task);
    ++recovered.pushed_beyond;
  }
}

void AddTried(Recovered& recovered, Database& journal) {
  auto rows = journal.Prepare(
      "SELECT task, attempt, kind IN (2, 4), kind = 3, kind IN (3, 4, 5),"
      " task IN (SELECT task FROM pushed) AND task NOT IN (SELECT task FROM results)"
      " FROM failures ORDER BY task, attempt");
  while (rows.Step()) {
    const auto task = static_cast<TaskId>(rows.Int(0));
    const bool closed = recovered.closed.Contains(task);
    if (closed && rows.Int(5) == 0) continue;
    auto& all = closed ? recovered.dormant : recovered.tried;
    if (all.empty() || all.back().task != task) {
      all.push_back(
          {.task = task, .attempts = 0, .failures = 0, .given_up = 0, .over = 0, .charged = {}});
    }
    TriedTask& tried = all.back();
    ++tried.attempts;
    tried.given_up = static_cast<AttemptId>(rows.Int(1));
    if (rows.Int(2) != 0) tried.charged.push_back(tried.given_up);
    if (rows.Int(3) != 0) ++tried.failures;
    if (rows.Int(4) != 0) tried.over = tried.given_up;
  }
}

void AddRaised(Recovered& recovered, Database& journal) {
  auto rows = journal.Prepare("SELECT task, memory_bytes, time_ms, time_permille FROM raised");
  const auto number = [&](int column) { return static_cast<uint64_t>(rows.Int(column)); };
  while (rows.Step()) {
    if (recovered.closed.Contains(number(0))) continue;
    recovered.raised.push_back({number(0), number(1), number(2), number(3)});
  }
}

void AddWorkers(Recovered& recovered, Database& journal) {
  auto rows = journal.Prepare("SELECT worker, id, host, allocation, ended_us FROM workers");
  while (rows.Step()) {
    KnownWorker worker;
    worker.number = static_cast<uint64_t>(rows.Int(0));
    recovered.last_worker = std::max(recovered.last_worker, worker.number);
    if (!rows.IsNull(4)) continue;
    const std::string_view id = rows.Text(1);
    if (id.size() == worker.id.size()) std::memcpy(worker.id.data(), id.data(), id.size());
    worker.host = rows.Text(2);
    worker.allocation = rows.Text(3);
    recovered.workers.push_back(std::move(worker));
  }
}

}  // namespace

Recovered Recover(Database& journal, const std::vector<RowRange>& ranges, uint64_t limit,
                  uint64_t max_tasks) {
  Recovered recovered;
  LiveRows live = ReadLiveRows(journal);
  const TaskId last = LastTask(journal, ranges);
  CloseOthers(recovered, ranges, limit, last, live.tasks);
  recovered.pushed = std::move(live.to_run);
  AddResults(recovered, journal);
  if (max_tasks != 0) LeaveOutBeyond(recovered, last, max_tasks);
  AddTried(recovered, journal);
  AddRaised(recovered, journal);
  AddWorkers(recovered, journal);
  // The newest reset of a task is the one that counts: it has the highest epoch.
  auto resets = journal.Prepare("SELECT first_task, last_task, epoch FROM resets ORDER BY epoch");
  std::map<TaskId, Reset> disjoint;
  while (resets.Step()) {
    const Reset reset{static_cast<TaskId>(resets.Int(0)), static_cast<TaskId>(resets.Int(1)),
                      static_cast<Epoch>(resets.Int(2))};
    // Parts of older ones that stick out stay.
    auto it = disjoint.upper_bound(reset.first);
    if (it != disjoint.begin()) --it;
    while (it != disjoint.end() && it->second.first <= reset.last) {
      const Reset old = it->second;
      if (old.last < reset.first) {
        ++it;
        continue;
      }
      it = disjoint.erase(it);
      if (old.first < reset.first) disjoint[old.first] = {old.first, reset.first - 1, old.epoch};
      if (old.last > reset.last) {
        it = disjoint.emplace(reset.last + 1, Reset{reset.last + 1, old.last, old.epoch}).first;
      }
    }
    disjoint[reset.first] = reset;
  }
  for (const auto& [first, reset] : disjoint) recovered.resets.push_back(reset);
  recovered.mark = static_cast<TaskId>(MetaNumber(journal, "mark"));
  return recovered;
}

}  // namespace cq
