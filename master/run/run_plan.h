#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cq/run.h"
#include "master/input/input.h"
#include "master/pools/pool.h"
#include "protocol/run_text.h"

// What the options of `cq run` say, as far as it can be known before anything starts. All throw
// UsageError for what cannot be.
namespace cq {

/// Whether the tasks are those of a program or a function.
bool IsServed(const RunOptions& options);
/// What is wrong with the options alone.
void CheckOptions(const RunOptions& options);
/// The part of it that is about workers.
void RequireWorkers(const RunOptions& options);
/// Whether the results may go where they are to go.
void CheckOutputOf(const RunOptions& options);
/// Where the run directory is, absolute.
std::string RunDirectoryPath(const RunOptions& options);
/// Looks at what each row asks for, so that what nobody has is told before anything starts.
/// `tell` hears of each.
decltype(InputOptions::look) LookOf(const RequestTexts& texts, std::vector<PoolKind> pools,
                                    const std::function<void(const TaskRequest&)>& tell = {});
/// The directory of the tasks, absolute.
std::string TasksDirectory(const RunOptions& options);
/// What each value of a column must be.
std::vector<RowCheck> ChecksOf(const RunOptions& options);
std::vector<ColumnType> ColumnTypes(const RunOptions& options, const InputSummary& input);

}  // namespace cq
