#pragma once

#include <functional>
#include <string>
#include <vector>

#include "master/input/row_requests.h"
#include "master/journal/database.h"

// Rows that are not in the input: tasks pushed them, or a proposer named them.
namespace cq {

/// What a row asks for, by its fields. Throws UsageError.
using RequestOfRow = std::function<TaskRequest(const std::vector<std::string>& fields)>;
RequestOfRow RequestOf(const RequestTexts& requests, const std::vector<std::string>& columns);

/// As of rows of the input, before anything starts: throws UsageError for one that is to run and
/// asks for what no pool has.
void RequireHomes(Database& journal, const RequestOfRow& request_of,
                  const std::vector<PoolKind>& pools);

/// From what has ended ok a proposer has named others: throws UsageError if one of these tasks has.
void RequireRowsTold(Database& journal, const std::vector<TaskId>& removed);

}  // namespace cq
