#include "master/run/run_ending.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <numeric>

#include "cq/error.h"
#include "master/journal/database.h"
#include "master/journal/tally.h"
#include "master/run/final_export.h"

namespace cq {
namespace {

void AddProblem(RunSummary& summary, const std::string& problem, int status) {
  summary.reason =
      summary.reason.empty() ? problem : fmt::format("{}; {}", summary.reason, problem);
  summary.status = std::max(summary.status, status);
}

}  // namespace

std::vector<Halt> HaltsOf(const RunOptions& options) {
  std::vector<Halt> halts;
  if (options.halt) halts.push_back(*options.halt);
  if (options.max_failures) {
    const auto most = static_cast<double>(*options.max_failures);
    const std::string text = fmt::format("--max-failures {}", *options.max_failures);
    halts.push_back({Halt::Of::kFailed, most, false, false, text});
  }
  return halts;
}

void Judge(RunSummary& summary, const std::optional<Halt>& halted) {
  Tally tally{summary.tasks, {}, {}};
  std::copy(summary.outcomes.begin(), summary.outcomes.end(), tally.outcomes.begin());
  if (halted && halted->of != Halt::Of::kFailed) tally.halted = halted->of;
  summary.halted = tally.halted.has_value();
  summary.status = tally.ok() ? 0 : 1;
}

SlotTime SlotTimeOf(const Ledger& ledger) {
  const auto in_seconds = [](uint64_t us) { return static_cast<double>(us) / 1e6; };
  SlotTime time;
  time.run = in_seconds(ledger.run_us);
  time.cpu = in_seconds(ledger.cpu_us);
  time.overhead = in_seconds(ledger.spawn_us);
  time.idle = in_seconds(std::max(ledger.idle_us, ledger.vacant_us));
  time.lost = in_seconds(ledger.lost_us);
  time.peak_memory_kb = ledger.peak_kb;
  return time;
}

void Export(const RunEnding& run, uint64_t rows, RunSummary& summary) {
  const std::string problem =
      ExportAtEnd({run.directory.path(), summary.output, std::max(rows, summary.tasks), run.begun,
                   run.options.signal_fd},
                  run.observer);
  if (!problem.empty()) AddProblem(summary, problem, 3);
}

// What they say comes last: the run itself has ended.
void FinishReaders(Readers& readers, const RunEnding& run, RunSummary& summary) {
  const auto& outcomes = summary.outcomes;
  const uint64_t done = std::accumulate(outcomes.begin(), outcomes.end(), uint64_t{0});
  const bool whole = summary.status <= 1 && (done == summary.tasks || summary.halted);
  Readers::Ending ending;
  ending.whole = whole;
  ending.hurry = summary.status > 1;
  ending.hurry_fd = run.options.signal_fd;
  ending.keep_alive = [&run] { run.directory.RenewOwner(); };
  std::string problem = readers.Finish(ending);
  pollfd signal{run.options.signal_fd, POLLIN, 0};
  const bool interrupted = signal.fd >= 0 && poll(&signal, 1, 0) > 0;
  if (interrupted && problem.empty()) problem = "interrupted while its results were read";
  if (problem.empty() && !run.options.reduce.empty())
    summary.reduced = run.directory.File("reduced");
  if (problem.empty()) return;
  AddProblem(summary, problem, interrupted ? 130 : 1);
  if (!whole) return;
  // For whoever asks later.
  try {
    Database journal(run.directory.File("journal.db"), Database::Mode::kWrite);
    SetProblem(journal, problem);
  } catch (const Error& error) {
    run.observer.Warning(error.what());
  }
}

}  // namespace cq
