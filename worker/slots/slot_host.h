#pragma once

#include <string>

namespace cq {

/// Answers the tasks of a worker's slot with a function of a shared library (LIBRARY:NAME) until
/// the worker closes the pipe. Returns the exit status of the process: 0, or 2 outside a slot.
int ServeLibrary(const std::string& function);

/// The same for a slot of a program that embeds a master: with the functions that this program
/// registered.
int ServeOwnFunctions();

}  // namespace cq
