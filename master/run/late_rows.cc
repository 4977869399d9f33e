#include "master/run/late_rows.h"

#include <fmt/format.h>

#include <memory>

#include "cq/error.h"
#include "master/journal/pushed_table.h"

namespace cq {

RequestOfRow RequestOf(const RequestTexts& requests, const std::vector<std::string>& columns) {
  return [of = std::make_shared<RowRequests>(requests, columns)](
             const std::vector<std::string>& fields) { return of->Of(fields); };
}

void RequireHomes(Database& journal, const RequestOfRow& request_of,
                  const std::vector<PoolKind>& pools) {
  for (const AddedRow& row : ReadLiveRows(journal).to_run) {
    TaskRequest request;
    try {
      request = request_of(row.row.fields);
    } catch (const UsageError&) {
      continue;  // its own error
    }
    if (!HomesOf(request, pools).empty()) continue;
    throw UsageError(fmt::format("task {}, which was not in the input: {}", row.task,
                                 WhyHomeless(request, pools)));
  }
}

void RequireRowsTold(Database& journal, const std::vector<TaskId>& removed) {
  for (const TaskId task : removed) {
    auto row = journal.Prepare("SELECT 1 FROM results WHERE task = ?1 AND outcome = 0");
    row.Bind(1, static_cast<int64_t>(task));
    if (!row.Step()) continue;
    throw UsageError(fmt::format(
        "the input has lost rows that have a result (task {} for one), from which the proposer "
        "has named others: --rerun starts anew; rows may be added",
        task));
  }
}

}  // namespace cq
