#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "master/journal/database.h"

namespace cq {

/// Writes the results of a run, joined to its rows in input order, as CSV. Rows without an outcome
/// are `pending`. `output` is replaced atomically if it is a regular file or missing; "-" is
/// standard output; anything else is written straight. `progress` is called now and then with the
/// rows so far. Throws Error.
void ExportResults(Database journal, const std::string& run_dir, const std::string& output,
                   const std::function<void(uint64_t)>& progress);

/// What became of an attempt that another followed (`failures.kind`), for people.
const char* FailureName(int kind);

}  // namespace cq
