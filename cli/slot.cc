#include <fmt/format.h>

#include "cli/commands.h"
#include "cq/error.h"
#include "protocol/own_program.h"
#include "worker/processes/guardian.h"
#include "worker/slots/slot_host.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kSlotHelp = {
    "cq slot LIBRARY:NAME",
    "Serves a worker's slot with a C++ function of a shared library (CQ_FUNCTION), over the pipes "
    "that "
    "the worker gives\n"
    "it (SLOT_PROTOCOL.md). Workers start it for 'cq run --function'; by hand it is of no use.",
    "cq run params.csv --function libmodel.so:simulate"};

po::options_description SlotDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("help,h", "show this page");
  return options;
}

int SlotCommandLine(const CommandLine& line) {
  // A run's proposer.
  if (!line.words.empty() && line.words[0] == kGuardWord) {
    return GuardProgram({line.words.begin() + 1, line.words.end()});
  }
  po::variables_map values;
  if (!ParseOptions(line, kSlot, values)) return 0;
  const auto words = Positional(values);
  if (words.size() != 1) throw UsageError("one LIBRARY:NAME is required");
  return ServeLibrary(words[0]);
}

}  // namespace

const Subcommand kSlot = {"slot",
                          "answer the rows of a run with a C++ function (started by workers)",
                          kSlotHelp, SlotDescription, SlotCommandLine};

}  // namespace cq
