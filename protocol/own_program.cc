#include "protocol/own_program.h"

#include "base/files.h"
#include "cq/error.h"

namespace cq {
namespace {
// Written before `main` does anything else, and only read after.
OwnProgram own_program = OwnProgram::kOther;
}  // namespace

void DeclareOwnProgram(OwnProgram what) { own_program = what; }

std::vector<std::string> OwnCommand() {
  switch (own_program) {
    case OwnProgram::kCq:
      return {OwnExecutable()};
    case OwnProgram::kEmbedding:
      return {OwnExecutable(), kEmbeddedWord};
    case OwnProgram::kOther:
      break;
  }
  throw UsageError(
      "this program cannot be its own worker: 'cq::Runtime runtime(argc, argv);' must be the first "
      "line of main (or name the program cq: RunOptions::worker_program)");
}

}  // namespace cq
