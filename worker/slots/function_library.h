#pragma once

#include <string>
#include <utility>

#include "cq/function.h"

// What a process that serves a C++ function finds: the function, and the pipes.
namespace cq {

enum class FunctionRole {
  /// CQ_FUNCTION.
  kTasks,
  /// CQ_PROPOSE: the one that names rows by what that function returned.
  kProposer,
};

/// The function LIBRARY:NAME, or what is registered beside it. Throws Error.
const Function& LoadFunction(const std::string& name, FunctionRole role);

/// Whether there is one of that role.
bool HasProposer(const std::string& name);

/// The descriptors that these variables name, to read from and to write to, which are taken out of
/// the reach of what this process starts. Throws UsageError where there are none.
std::pair<int, int> TakePipes(const char* in, const char* out);

}  // namespace cq
