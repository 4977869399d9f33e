#include "cq/runtime.h"

#include <fmt/format.h>
#include <signal.h>

#include <cstdlib>

#include "base/files.h"
#include "base/spawn.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cq/error.h"
#include "protocol/function_libraries.h"
#include "protocol/own_program.h"
#include "worker/processes/guardian.h"
#include "worker/slots/slot_host.h"

namespace cq {
namespace {

int Serve(const std::vector<std::string>& words) {
  try {
    if (words == std::vector<std::string>{"slot"}) return ServeOwnFunctions();
    if (words.size() == 2 && words[0] == "slot") return ServeLibrary(words[1]);
    if (words.size() > 2 && words[0] == "slot" && words[1] == kGuardWord) {
      return GuardProgram({words.begin() + 2, words.end()});
    }
    if (words.empty() || words[0] != "worker") {
      throw UsageError(fmt::format("{} is for the workers of this program", kEmbeddedWord));
    }
    CommandLine line;
    line.before = {kEmbeddedWord};
    line.words.assign(words.begin() + 1, words.end());
    return kWorker.run(line);
  } catch (const std::exception& error) {
    SayError(error.what());
    return dynamic_cast<const UsageError*>(&error) != nullptr ? 2 : 3;
  }
}

}  // namespace

Runtime::Runtime(int argc, char** argv) {
  const std::vector<std::string> words(argv, argv + argc);
  FillStandardStreams();
  DeclareOwnProgram(OwnProgram::kEmbedding);
  FunctionsFromTheStart();
  if (words.size() > 1 && words[1] == kEmbeddedWord) {
    ForgetInheritedSignals();
    // What the program's own code registered for its end is not for this process.
    const int status = Serve({words.begin() + 2, words.end()});
    std::fflush(nullptr);
    std::_Exit(status);
  }
  // Whoever started this program may ignore the end of its children. We have to wait for ours.
  struct sigaction inherited {};
  if (sigaction(SIGCHLD, nullptr, &inherited) == 0 && inherited.sa_handler == SIG_IGN) {
    signal(SIGCHLD, SIG_DFL);
  }
}

}  // namespace cq
