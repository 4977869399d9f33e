#include "tests/simulation/sim_journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "master/journal/endings_table.h"
#include "master/journal/journal.h"
#include "protocol/spans.h"
#include "tests/simulation/sim_proposer.h"
#include "tests/simulation/truth.h"

namespace cq::sim {

SimJournal::SimJournal(uint64_t tasks)
    : database_(":memory:", Database::Mode::kCreate), last_(tasks) {
  if (tasks > 0) ranges_ = {{1, 1, tasks}};
  FillNewJournal(database_, {}, ranges_);
}

Recovered SimJournal::Open(const Restart& restart, uint64_t limit, uint64_t max_tasks) {
  tables_.reset();
  if (restart.ranges) ranges_ = *restart.ranges;
  for (const RowRange& range : ranges_) last_ = std::max(last_, range.task + range.rows - 1);
  // The first epoch is there from the journal's birth.
  epoch_ = epoch_ == 0 ? 1 : StartEpoch(database_, restart);
  Forget(restart);
  Recovered recovered = Recover(database_, ranges_, limit, max_tasks);
  uint64_t found = 0;
  for (const uint64_t count : recovered.outcomes) found += count;
  const std::set<TaskId> live = Live();
  const auto within = static_cast<uint64_t>(
      std::count_if(outcomes_.begin(), outcomes_.end(), [&](const auto& entry) {
        return IsPushed(entry.first) ? live.contains(entry.first)
                                     : limit == 0 || !recovered.beyond.Contains(entry.first);
      }));
  if (limit == 0 && found != within)
    throw Broken{fmt::format("{} outcomes are found again of {}", found, within)};
  if (recovered.mark < mark_) throw Broken{"the mark has gone back"};
  mark_ = recovered.mark;
  tables_ = std::make_unique<JournalTables>(database_);
  return recovered;
}

void SimJournal::SetMark(TaskId mark) {
  mark_ = mark;
  database_.Prepare("INSERT OR REPLACE INTO meta VALUES('mark', ?1)")
      .BindText(1, std::to_string(mark))
      .Run();
}

// What a resume takes back.
void SimJournal::Forget(const Restart& restart) {
  for (const TaskId task : restart.removed) {
    outcomes_.erase(task);
    claims_.erase(task);
    removed_.insert(task);
  }
  if (restart.rerun == Restart::Rerun::kNothing) return;
  for (auto it = outcomes_.begin(); it != outcomes_.end();) {
    const bool again =
        restart.rerun == Restart::Rerun::kAll ||
        (restart.rerun == Restart::Rerun::kFailed ? it->second != Outcome::kOk
                                                  : it->second == Outcome::kCancelled);
    if (again) reset_[it->first] = epoch_;
    if (again) claims_.erase(it->first);
    it = again ? outcomes_.erase(it) : std::next(it);
  }
  if (restart.rerun == Restart::Rerun::kAll) {
    all_reset_ = {last_, epoch_};
    proposed_.clear();
  }
}

Committed SimJournal::Commit(const std::vector<JournalRecord>& records) {
  for (const JournalRecord& record : records) {
    if (const auto* written = std::get_if<ResultRecord>(&record)) {
      for (const TaskResult& result : Apart(written->result)) Check(result);
    } else if (const auto* call = std::get_if<CallRecord>(&record)) {
      calls_[std::stoull(call->arguments)] = call->task;
    }
  }
  Committed committed = tables_->Commit(records);
  mark_ = std::max(mark_, committed.mark);
  Note(records, committed);
  return committed;
}

void SimJournal::Note(const std::vector<JournalRecord>& records, const Committed& committed) {
  for (const AddedRow& added : committed.added) {
    const std::string& row = added.row.fields.at(0);
    if (added.back() != IsPushed(added.task))
      throw Broken{fmt::format("row {} is task {}, which is {}", row, added.task,
                               added.back() ? "new" : "another")};
    if (!added.back() && added.task != last_ + 1)
      throw Broken{fmt::format("row {} is task {} after {}", row, added.task, last_)};
    last_ = std::max(last_, added.task);
    pushed_[added.task] = row;
    if (task_of_.try_emplace(row, added.task).first->second != added.task)
      throw Broken{fmt::format("row {} has two tasks", row)};
  }
  for (const JournalRecord& record : records) {
    if (const auto* added = std::get_if<AddRecord>(&record)) {
      for (const PushedRow& row : added->rows) proposed_.insert(row.fields.at(0));
    }
    const auto* written = std::get_if<ResultRecord>(&record);
    if (written == nullptr || written->pushed.empty()) continue;
    if (written->result.outcome != Outcome::kOk)
      throw Broken{fmt::format("task {} pushes, and is not ok", written->result.task)};
    auto& rows = claims_[written->result.task];
    for (const PushedRow& row : written->pushed) rows.push_back(row.fields.at(0));
  }
}

std::set<TaskId> SimJournal::Live() const {
  std::set<TaskId> live;
  std::vector<TaskId> next;
  for (const auto& [task, rows] : claims_) {
    if (!IsPushed(task)) next.push_back(task);
  }
  for (const std::string& row : proposed_) {
    const TaskId task = task_of_.at(row);
    if (live.insert(task).second) next.push_back(task);
  }
  while (!next.empty()) {
    const auto claimed = claims_.find(next.back());
    next.pop_back();
    if (claimed == claims_.end()) continue;
    for (const std::string& row : claimed->second) {
      const TaskId task = task_of_.at(row);
      if (live.insert(task).second) next.push_back(task);
    }
  }
  return live;
}

std::string SimJournal::RowOf(TaskId task) const {
  const auto pushed = pushed_.find(task);
  return pushed == pushed_.end() ? std::to_string(task) : pushed->second;
}

void SimJournal::CheckClaims(const World& world) const {
  for (const auto& [task, outcome] : outcomes_) {
    const auto claimed = claims_.find(task);
    const auto rows = claimed == claims_.end() ? std::vector<std::string>() : claimed->second;
    if (outcome == Outcome::kOk ? rows != ChildrenOf(world, RowOf(task)) : !rows.empty())
      throw Broken{
          fmt::format("task {} has pushed {} rows, which are not its own", task, rows.size())};
  }
}

void SimJournal::CheckProposed(const World& world) {
  OrderEndings(database_, ranges_, 0);
  ProposerMind mind(world);
  std::set<std::string> rows;
  EndingsCursor cursor(database_, false);
  EndingsCursor::Ending ending;
  while (cursor.Next(ending)) {
    if (!ending.answered)
      throw Broken{fmt::format("the proposer has not answered to task {}", ending.task)};
    for (const std::string& row : mind.OnEnding(RowOf(ending.task))) rows.insert(row);
  }
  if (rows != proposed_)
    throw Broken{fmt::format("the proposer has named {} rows; in order they would be {}",
                             proposed_.size(), rows.size())};
}

bool SimJournal::Void(TaskId task, AttemptId attempt) const {
  if (task <= all_reset_.first && EpochOf(attempt) < all_reset_.second) return true;
  const auto reset = reset_.find(task);
  return removed_.contains(task) || (reset != reset_.end() && EpochOf(attempt) < reset->second);
}

void SimJournal::Check(const TaskResult& result) {
  if (!outcomes_.emplace(result.task, result.outcome).second)
    throw Broken{fmt::format("task {} has a second outcome", result.task)};
  if (result.attempt != 0 && Void(result.task, result.attempt)) {
    throw Broken{fmt::format("task {} has the outcome of attempt {:x}, which counts no more",
                             result.task, result.attempt)};
  }
}

std::map<TaskId, SimJournal::Row> SimJournal::Results() {
  std::map<TaskId, Row> all;
  auto rows = database_.Prepare(
      "SELECT task, outcome, exit, returned, (SELECT count(*) FROM failures f WHERE f.task ="
      " results.task AND kind IN (1, 2, 4)) FROM results");
  while (rows.Step()) {
    all[static_cast<TaskId>(rows.Int(0))] = {static_cast<Outcome>(rows.Int(1)), rows.Int(2),
                                             std::string(rows.Text(3)),
                                             static_cast<uint64_t>(rows.Int(4))};
  }
  return all;
}

}  // namespace cq::sim
