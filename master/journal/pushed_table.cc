#include "master/journal/pushed_table.h"

#include <cstring>
#include <string>

#include "base/json.h"
#include "base/json_text.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"

namespace cq {
namespace {

/// Who claims the rows that the run's proposer names.
constexpr int64_t kProposer = -1;

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
      row(db.Prepare("SELECT p.key, p.fields, r.outcome, r.returned FROM pushed p"
                     " LEFT JOIN results r USING(task) WHERE p.task = ?1")),
      claimed(db.Prepare("SELECT task FROM claims WHERE parent = ?1")) {}

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
  for (const PushedRow& row : rows) AddOne(static_cast<int64_t>(parent), parent, row, added);
}

void PushedTable::Add(const AddRecord& record, std::vector<AddedRow>& added) {
  for (size_t i = 0; i < record.rows.size(); ++i) {
    const TaskId parent = record.proposed ? record.proposed->parents.at(i) : 0;
    AddOne(record.proposed ? kProposer : 0, parent, record.rows[i], added);
  }
}

void PushedTable::AddOne(int64_t claimant, TaskId parent, const PushedRow& row,
                         std::vector<AddedRow>& added) {
  if (!statements_) Read();
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
  statements_->claim.Bind(1, claimant).Bind(2, static_cast<int64_t>(task)).Run();
  if (dormant_.contains(task)) BringBack(parent, task, added);
}

// With what those who are ok had pushed in their time.
void PushedTable::BringBack(TaskId parent, TaskId first, std::vector<AddedRow>& added) {
  auto& [insert, claim, adopt, row, claimed] = *statements_;
  adopt.Bind(1, static_cast<int64_t>(first)).Bind(2, static_cast<int64_t>(parent));
  adopt.Run();
  std::vector<TaskId> next{first};
  while (!next.empty()) {
    const TaskId task = next.back();
    next.pop_back();
    if (dormant_.erase(task) == 0) continue;
    row.Bind(1, static_cast<int64_t>(task));
    row.Step();
    AddedRow back{.task = task, .row = RowOf(row, 0, 1), .before = AddedRow::Before()};
    const auto outcome = static_cast<Outcome>(row.Int(2));
    if (!row.IsNull(2)) back.before->ended = AddedRow::Ended{outcome, std::string(row.Text(3))};
    row.Reset();
    const bool ok = back.ended() != nullptr && outcome == Outcome::kOk;
    added.push_back(std::move(back));
    if (!ok) continue;
    claimed.Bind(1, static_cast<int64_t>(task));
    while (claimed.Step()) next.push_back(static_cast<TaskId>(claimed.Int(0)));
    claimed.Reset();
  }
}

bool HasPushed(Database& journal) {
  return HasColumn(journal, "pushed", "task") &&
         journal.Prepare("SELECT 1 FROM pushed LIMIT 1").Step();
}

LiveRows ReadLiveRows(Database& journal) {
  LiveRows live;
  if (!HasPushed(journal)) return live;
  auto rows = journal.Prepare(
      "SELECT p.task, iif(r.task IS NULL, p.key, NULL), iif(r.task IS NULL, p.fields, NULL)"
      " FROM live_pushed p LEFT JOIN results r USING(task) ORDER BY p.task");
  while (rows.Step()) {
    const auto task = static_cast<TaskId>(rows.Int(0));
    live.tasks.push_back(task);
    if (!rows.IsNull(1)) live.to_run.push_back({.task = task, .row = RowOf(rows, 1, 2)});
  }
  return live;
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
