#pragma once

#include <vector>

#include "cli/options.h"

namespace cq {

extern const Subcommand kRun;
extern const Subcommand kResume;
extern const Subcommand kStatus;
extern const Subcommand kExplain;
extern const Subcommand kScale;
extern const Subcommand kAdd;
extern const Subcommand kAttach;
extern const Subcommand kWait;
extern const Subcommand kLog;
extern const Subcommand kQuery;
extern const Subcommand kExport;
extern const Subcommand kCancel;
extern const Subcommand kPool;
extern const Subcommand kGrid;
extern const Subcommand kPlan;
extern const Subcommand kTest;
extern const Subcommand kWorker;
extern const Subcommand kSlot;
extern const Subcommand kCompletion;
extern const Subcommand kMan;

/// All of them, in the order in which they are shown.
const std::vector<const Subcommand*>& Subcommands();

}  // namespace cq
