#include "master/core/grower.h"

#include <fmt/format.h>

#include <utility>

#include "base/assert.h"

namespace cq {

std::vector<PushedRow> Grower::TakePushed(TaskResult& result) const {
  std::vector<PushedRow> rows;
  // Calls of a program have none.
  if (result.values.empty() || run_.options_.form.columns.empty()) return rows;
  const NamedValues all = run_.options_.keeps_pushed ? result.values : NamedValues();
  const std::string problem = cq::TakePushed(result, run_.options_.form, rows);
  if (run_.options_.keeps_pushed) {
    result.values = all;
    rows.clear();
  }
  if (result.outcome != Outcome::kOk) rows.clear();
  if (result.outcome != Outcome::kOk || problem.empty()) return rows;
  result.outcome = Outcome::kError;
  result.values.clear();
  result.blob = {};
  ResultDetails& details = result.details.Edit();
  details.exit = 1;
  details.error = problem;
  return rows;
}

void Grower::OnAdded(std::vector<AddedRow>& rows) {
  if (rows.empty() || run_.finished_) return;
  run_.grows_ = true;
  run_.asker_.OnRows();
  for (AddedRow& row : rows) {
    CQ_ASSERT(row.back() || row.task == run_.tasks_.last() + 1, "task {} is added after task {}",
              row.task, run_.tasks_.last());
    if (row.ended() == nullptr && full()) {
      LeaveOut(row);
      continue;
    }
    ++run_.counts_.tasks;
    if (!row.back()) {
      run_.tasks_.Add(1);
      if (run_.tasks_.ordered()) Place(row);
      continue;
    }
    // It was one of those that do not run.
    --run_.left_out_;
    if (const auto* ended = row.ended()) {
      ++run_.counts_.outcomes[static_cast<size_t>(ended->outcome)];
      if (run_.asker_.Hears(ended->outcome)) run_.asker_.OnEndings(1);
      continue;
    }
    run_.tasks_.Reopen(row.task);
    const auto tried = run_.dormant_.find(row.task);
    if (tried != run_.dormant_.end()) run_.Recover(tried->second);
    Place(row);
    Work* open = run_.tasks_.Find(row.task);
    if (open != nullptr) run_.SetAsideIfDue(*open);
  }
  run_.all_dirty_ = true;
}

void Grower::Recover(std::vector<AddedRow>& rows) {
  run_.grows_ = run_.grows_ || !rows.empty();
  if (!run_.tasks_.ordered()) return;
  for (const AddedRow& row : rows) {
    const bool asks = row.request && run_.tasks_.several();
    const auto of = asks ? run_.classes_.Find(*row.request, 1000) : std::nullopt;
    if (of) run_.SetClass(row.task, *of);
    // Whoever admits them puts them into a queue.
    run_.tasks_.OpenUp(row.task);
  }
}

bool Grower::full() const {
  return run_.options_.max_tasks != 0 && run_.counts_.tasks >= run_.options_.max_tasks;
}

// As a row beyond a limit.
void Grower::LeaveOut(const AddedRow& row) {
  if (!row.back()) {
    run_.tasks_.Add(1);
    run_.tasks_.Finish(row.task);
    ++run_.left_out_;
  }
  run_.beyond_.Insert(row.task);
  if (++run_.counts_.beyond > 1) return;
  run_.out_.Tell(Note::Kind::kWarning,
                 fmt::format("there are {} tasks (--max-tasks): rows that are pushed from now on "
                             "are kept, and not run",
                             run_.counts_.tasks));
}

// Where it has no place in the order of the others.
void Grower::Place(AddedRow& row) {
  if (row.request && run_.tasks_.several()) {
    const auto of = run_.classes_.Find(*row.request, 1000);
    if (!of) return Refuse(row);
    run_.SetClass(row.task, *of);
  }
  run_.tasks_.PutApart(row.task);
}

void Grower::Refuse(const AddedRow& row) {
  TaskResult result;
  result.task = row.task;
  result.attempt = MakeSerial(run_.options_.epoch, run_.next_attempt_++);
  result.outcome = Outcome::kError;
  ResultDetails& details = result.details.Edit();
  details.exit = 1;
  details.error = run_.classes_.full() ? "rows ask for too many different things"
                                       : WhyHomeless(*row.request, run_.options_.pools);
  run_.Finish(std::move(result), std::nullopt, 0);
}

}  // namespace cq
