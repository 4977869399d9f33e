#include "master/journal/pushed_table.h"

#include <cstring>
#include <string>

#include "base/json.h"
#include "base/json_text.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"

namespace cq {
namespace {

std::string_view BytesOf(const RowHash& key) {
  return {reinterpret_cast<const char*>(&key), sizeof key};
}

RowHash KeyOf(std::string_view bytes) {
  RowHash key;
  if (bytes.size() == sizeof key) std::memcpy(&key, bytes.data(), sizeof key);
  return key;
}

std::string FieldsText(const std::vector<std::string>& fields) {
  std::string text = "[";
  for (const std::string& field : fields) {
    if (text.size() > 1) text += ',';
    AppendJsonText(text, field);
  }
  return text + "]";
}

PushedRow RowOf(const Statement& row, int key, int fields) {
  return {KeyOf(row.Text(key)), ListOfJson(ParseJson(row.Text(fields)))};
}

}  // namespace

PushedTable::Statements::Statements(Database& db)
    : insert(db.Prepare("INSERT INTO pushed VALUES(?1, ?2, ?3, ?4)")),
      claim(db.Prepare("INSERT OR IGNORE INTO claims VALUES(?1, ?2)")),
      adopt(db.Prepare("UPDATE pushed SET parent = ?2 WHERE task = ?1")),
      back(db.Prepare("WITH RECURSIVE back(task) AS (VALUES(?1) UNION"
                      " SELECT c.task FROM back JOIN results r ON r.task = back.task AND"
                      " r.outcome = 0 JOIN claims c ON c.parent = back.task)"
                      " SELECT p.task, p.key, p.fields, r.outcome FROM back"
                      " JOIN pushed p USING(task) LEFT JOIN results r USING(task)")) {}

void PushedTable::Read() {
  statements_.emplace(database_);
  last_ = LastTask(database_, ReadRanges(database_));
  auto rows = database_.Prepare("SELECT task, key FROM pushed");
  while (rows.Step()) {
    const auto task = static_cast<TaskId>(rows.Int(0));
    tasks_.emplace(KeyOf(rows.Text(1)), task);
    dormant_.insert(task);
  }
  for (const TaskId task : LivePushed(database_)) dormant_.erase(task);
}

void PushedTable::Add(TaskId parent, const std::vector<PushedRow>& rows,
                      std::vector<AddedRow>& added) {
  if (!statements_) Read();
  for (const PushedRow& row : rows) {
    const auto [known, is_new] = tasks_.try_emplace(row.key, last_ + 1);
    const TaskId task = known->second;
    if (is_new) {
      ++last_;
      statements_->insert.Bind(1, static_cast<int64_t>(task))
          .BindBlob(2, BytesOf(row.key))
          .Bind(3, static_cast<int64_t>(parent))
          .BindText(4, FieldsText(row.fields))
          .Run();
      added.push_back({.task = task, .row = row});
    }
    statements_->claim.Bind(1, static_cast<int64_t>(parent)).Bind(2, static_cast<int64_t>(task));
    statements_->claim.Run();
    if (dormant_.contains(task)) BringBack(parent, task, added);
  }
}

// With what it had pushed in its time, and they.
void PushedTable::BringBack(TaskId parent, TaskId task, std::vector<AddedRow>& added) {
  statements_->adopt.Bind(1, static_cast<int64_t>(task)).Bind(2, static_cast<int64_t>(parent));
  statements_->adopt.Run();
  Statement& back = statements_->back;
  back.Bind(1, static_cast<int64_t>(task));
  while (back.Step()) {
    AddedRow row{.task = static_cast<TaskId>(back.Int(0)), .row = RowOf(back, 1, 2), .back = true};
    if (dormant_.erase(row.task) == 0) continue;
    if (!back.IsNull(3)) row.outcome = static_cast<Outcome>(back.Int(3));
    added.push_back(std::move(row));
  }
  back.Reset();
}

bool HasPushed(Database& journal) {
  return HasColumn(journal, "pushed", "task") &&
         journal.Prepare("SELECT 1 FROM pushed LIMIT 1").Step();
}

std::vector<AddedRow> PushedToRun(Database& journal) {
  std::vector<AddedRow> pushed;
  auto rows = journal.Prepare(
      "SELECT task, key, fields FROM live_pushed WHERE task NOT IN (SELECT task FROM results)"
      " ORDER BY task");
  while (rows.Step()) {
    pushed.push_back({.task = static_cast<TaskId>(rows.Int(0)), .row = RowOf(rows, 1, 2)});
  }
  return pushed;
}

std::vector<TaskId> LivePushed(Database& journal) {
  std::vector<TaskId> tasks;
  if (!HasPushed(journal)) return tasks;
  auto rows = journal.Prepare("SELECT task FROM live_pushed ORDER BY task");
  while (rows.Step()) tasks.push_back(static_cast<TaskId>(rows.Int(0)));
  return tasks;
}

std::optional<std::vector<std::string>> PushedFields(Database& journal, TaskId task) {
  if (!HasPushed(journal)) return std::nullopt;
  auto row = journal.Prepare("SELECT fields FROM pushed WHERE task = ?1");
  row.Bind(1, static_cast<int64_t>(task));
  if (!row.Step()) return std::nullopt;
  return ListOfJson(ParseJson(row.Text(0)));
}

}  // namespace cq
