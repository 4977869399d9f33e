#pragma once

#include "cli/options.h"

// The subcommands of `cq`: each returns the exit status of the process.
namespace cq {

int RunCommandLine(const CommandLine& line);
int ResumeCommandLine(const CommandLine& line);
int WorkerCommandLine(const CommandLine& line);
int SlotCommandLine(const CommandLine& line);
int CancelCommandLine(const CommandLine& line);
int QueryCommandLine(const CommandLine& line);
int ExportCommandLine(const CommandLine& line);
int StatusCommandLine(const CommandLine& line);
int LogCommandLine(const CommandLine& line);

}  // namespace cq
