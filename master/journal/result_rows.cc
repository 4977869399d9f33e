#include "master/journal/result_rows.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "master/journal/value_text.h"
#include "protocol/spans.h"

namespace cq {
namespace {

constexpr std::string_view kAllColumns = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
/// Of a function that returned: nothing but its values, and when it ran.
constexpr std::string_view kPlainColumns = "(?,?,0,0,?,?,?,?,0,0,0,NULL,?,NULL,NULL)";

std::string Insert(std::string_view columns, size_t rows) {
  std::string sql = "INSERT OR IGNORE INTO results VALUES";
  for (size_t row = 0; row < rows; ++row) {
    if (row > 0) sql += ',';
    sql += columns;
  }
  return sql;
}

}  // namespace

ResultRows::ResultRows(Database& database)
    : result_(database.Prepare(Insert(kAllColumns, 1))),
      results_(database.Prepare(Insert(kAllColumns, kGroup))),
      plain_(database.Prepare(Insert(kPlainColumns, kGroup))),
      name_(database.Prepare("INSERT OR REPLACE INTO names VALUES(?1, ?2, ?3)")) {
  auto known = database.Prepare("SELECT name, task, place FROM names");
  while (known.Step()) {
    names_[std::string(known.Text(0))] = {static_cast<TaskId>(known.Int(1)),
                                          static_cast<size_t>(known.Int(2))};
  }
}

void ResultRows::Write() {
  // At its end a table grows faster than in its middle.
  std::stable_sort(waiting_.begin(), waiting_.end(),
                   [](const auto* a, const auto* b) { return a->result.task < b->result.task; });
  for (const ResultRecord* record : waiting_) {
    record->result.answers.empty() ? Put(*record) : PutAnswers(*record);
  }
  waiting_.clear();
  for (size_t i = 0; i < filled_; ++i) {
    int parameter = 0;
    Bind(result_, parameter, group_[i], false);
    result_.Run();
  }
  filled_ = 0;
}

void ResultRows::Put(const ResultRecord& record) {
  const TaskResult& r = record.result;
  Row& row = Next();
  row.task = r.task;
  row.attempt = r.attempt;
  row.attempts = record.attempts;
  row.worker = record.worker;
  row.started_us = r.started_us;
  row.wall_us = r.wall_us;
  row.details = r.outcome == Outcome::kOk && r.details.fresh() ? nullptr : &r;
  if (!r.values.empty()) {
    AppendJson(row.json, r.values);
    for (size_t i = 0; i < r.values.size(); ++i) NoteName(r.values[i].first, r.task, i);
  }
  Filled();
}

void ResultRows::PutAnswers(const ResultRecord& record) {
  const TaskResult& r = record.result;
  std::string_view answers = r.answers;
  Answer answer;
  uint64_t begun_us = r.started_us;
  for (uint64_t i = 0; TakeAnswer(answers, answer); ++i) {
    Row& row = Next();
    row.task = r.task + i;
    row.attempt = r.attempt + i;
    row.attempts = record.attempts;
    row.worker = record.worker;
    row.started_us = begun_us;
    row.wall_us = answer.wall_us;
    row.details = nullptr;
    AppendPackedJson(row.json, answer.value, returned_);
    for (size_t at = 0; at < returned_.size(); ++at) NoteName(returned_[at], row.task, at);
    begun_us += answer.wall_us;
    Filled();
  }
}

ResultRows::Row& ResultRows::Next() {
  Row& row = group_[filled_];
  row.json.clear();
  return row;
}

void ResultRows::Filled() {
  if (++filled_ < kGroup) return;
  filled_ = 0;
  const bool plain = std::all_of(group_.begin(), group_.end(),
                                 [](const Row& row) { return row.details == nullptr; });
  Statement& statement = plain ? plain_ : results_;
  int parameter = 0;
  for (const Row& row : group_) Bind(statement, parameter, row, plain);
  statement.Run();
}

// The parameters of one row, which begin after `at`.
void ResultRows::Bind(Statement& statement, int& at, const Row& row, bool plain) {
  static const TaskResult kNothing;
  const TaskResult& r = row.details == nullptr ? kNothing : *row.details;
  const auto number = [&](auto value) { statement.Bind(++at, static_cast<int64_t>(value)); };
  const auto null = [&] { statement.BindNull(++at); };
  const auto text = [&](std::string_view value) {
    value.empty() ? statement.BindNull(++at) : statement.BindText(++at, value);
  };
  const auto bytes = [&](std::string_view value) {
    value.empty() ? statement.BindNull(++at) : statement.BindBlob(++at, value);
  };
  number(row.task);
  number(row.attempt);
  if (!plain) {
    number(r.outcome);
    number(r.details->exit);
  }
  number(row.attempts);
  number(row.worker);
  number(row.started_us);
  number(row.wall_us);
  if (!plain) {
    // What was not measured is missing.
    const bool measured = r.details->max_rss_kb > 0;
    measured ? number(r.details->user_us) : null();
    measured ? number(r.details->system_us) : null();
    measured ? number(r.details->max_rss_kb) : null();
    text(r.details->error);
  }
  text(row.json);
  if (!plain) {
    bytes(r.details->out);
    bytes(r.details->err);
  }
}

// The order of the exported columns must not depend on which task ended first, so each name goes by
// the lowest number of a task that returned it.
void ResultRows::NoteName(std::string_view name, TaskId task, size_t place) {
  if (!IsUtf8(name)) return NoteName(ValidText(name), task, place);
  auto known = names_.find(name);
  if (known == names_.end()) known = names_.try_emplace(std::string(name), UINT64_MAX, 0).first;
  if (task >= known->second.first) return;
  known->second = {task, place};
  name_.BindText(1, known->first)
      .Bind(2, static_cast<int64_t>(task))
      .Bind(3, static_cast<int64_t>(place))
      .Run();
}

}  // namespace cq
