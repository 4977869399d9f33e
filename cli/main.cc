#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <set>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/nearest.h"
#include "base/spawn.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cq/error.h"
#include "cq/version.h"
#include "protocol/own_program.h"

namespace cq {
namespace {

void PrintOverview() {
  fmt::print("cq {}: many small tasks on persistent workers\n\nusage:\n", kVersion);
  for (const Subcommand* subcommand : Subcommands()) {
    fmt::print("  cq {:<10} {}\n", subcommand->name, subcommand->summary);
  }
  fmt::print(
      "\n'cq SUBCOMMAND --help' explains each.\n\nexample:\n"
      "  cq run params.csv -- ./simulate --alpha {{alpha}}\n");
}

[[noreturn]] void UnknownSubcommand(const std::string& name) {
  std::set<std::string> names;
  for (const Subcommand* subcommand : Subcommands()) names.insert(subcommand->name);
  const std::string near = Nearest(name, names);
  throw UsageError(fmt::format("unknown subcommand '{}'{}; 'cq --help' lists them", name,
                               near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

int Main(const std::vector<std::string>& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    PrintOverview();
    return words.empty() ? 2 : 0;
  }
  if (words[0] == "--version") {
    fmt::print("cq {}\n", kVersion);
    return 0;
  }
  const auto& all = Subcommands();
  const auto subcommand = std::find_if(all.begin(), all.end(),
                                       [&](const Subcommand* s) { return s->name == words[0]; });
  if (subcommand == all.end()) UnknownSubcommand(words[0]);
  CommandLine line;
  const auto dashes = std::find(words.begin() + 1, words.end(), "--");
  line.words.assign(words.begin() + 1, dashes);
  line.has_command = dashes != words.end();
  if (line.has_command) line.command.assign(dashes + 1, words.end());
  return (*subcommand)->run(line);
}

}  // namespace

const std::vector<const Subcommand*>& Subcommands() {
  static const std::vector<const Subcommand*> kAll = {
      &kRun,   &kResume, &kStatus, &kExplain, &kTest,       &kAttach, &kWait,
      &kScale, &kAdd,    &kLog,    &kExport,  &kQuery,      &kCancel, &kPool,
      &kGrid,  &kPlan,   &kWorker, &kSlot,    &kCompletion, &kMan};
  return kAll;
}

}  // namespace cq

int main(int argc, char** argv) {
  cq::DeclareOwnProgram(cq::OwnProgram::kCq);
  cq::ForgetInheritedSignals();
  cq::FillStandardStreams();
  try {
    // Its own and those of its threads, which have as much.
    cq::RequireStack(256u << 10);
    const int status = cq::Main({argv + 1, argv + argc});
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      throw cq::Error("cannot write to standard output");
    }
    return status;
  } catch (const cq::UsageError& error) {
    cq::SayError(error.what());
    return 2;
  } catch (const cq::Interrupted& error) {
    cq::Say(stderr, cq::PrintableText(fmt::format("cq: {}; nothing was started\n", error.what())));
    return 130;
  } catch (const std::exception& error) {
    cq::SayError(error.what());
    return 3;
  }
}
