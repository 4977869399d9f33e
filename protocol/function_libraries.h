#pragma once

#include <string>
#include <vector>

#include "cq/function.h"

// Where the functions are that CQ_FUNCTION registers: in this program and in libraries of it.
namespace cq {

/// Of this program and of each library that is loaded now, if it includes <cq/function.h>.
std::vector<detail::Library*> LoadedLibraries();

/// Of what was loaded when this was called first: what a worker, which is this program started
/// anew, has as well. The first line of `main` does.
const std::vector<const Function*>& FunctionsFromTheStart();

/// Throws UsageError for a name that is registered twice: a worker could not tell which is meant.
void RequireOneOfEachName(const std::vector<const Function*>& functions);

/// The registered function at this address. Throws Error if there is none, or if it came too late.
const Function& FunctionAt(void (*address)());

/// The libraries that these functions are in, but for the program itself: paths, each once.
std::vector<std::string> FilesOf(const std::vector<const Function*>& functions);

}  // namespace cq
