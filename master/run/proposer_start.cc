#include "master/run/proposer_start.h"

#include <utility>

#include "master/proposer/proposer_process.h"

namespace cq {

Asker::Kind ProposerOf(const RunOptions& options) {
  // Whoever tries some rows alone wants no others.
  if (!options.numbers.empty()) return Asker::Kind::kNone;
  if (options.propose) return Asker::Kind::kIsTold;
  return options.ask.empty() ? Asker::Kind::kNone : Asker::Kind::kIsAsked;
}

std::unique_ptr<Proposer> StartProposer(ProposerProgram program, const RowForm& form,
                                        RunObserver& observer) {
  ProposerProcess::Options options;
  if (!program.function.empty()) {
    program.words = program.cq;
    program.words.insert(program.words.end(), {"slot", program.function});
  }
  options.words = program.words;
  options.environment = EnvironmentOf(program);
  options.cq = program.cq;
  options.directory = program.cwd;
  options.file = FileOf(program, options.environment, "the proposer");
  options.standard_streams = program.start.kind == Asker::Kind::kIsAsked;
  options.log = program.log;
  options.form = form;
  options.start = program.start;
  options.hurry_fd = program.interrupt_fd;
  options.note = [&observer](const std::string& text) { observer.Note(text); };
  return std::make_unique<ProposerProcess>(std::move(options));
}

}  // namespace cq
