#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/master_job.h"
#include "cli/progress.h"
#include "cli/run_lookup.h"
#include "cq/error.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/journal/tally.h"
#include "protocol/command.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kWaitHelp = {
    "cq wait [RUN]",
    "Waits until a run ends, wherever its master is. Exit status: 0 finished (or as far as --halt "
    "says), all ok;\n"
    "1 finished with failures; 3 it ended before it was finished. RUN is the run's directory; "
    "without it, the only *.cq "
    "here, or the newest.",
    "cq wait params.cq && ./analyse params.cq/results.csv"};

constexpr HelpPage kAttachHelp = {
    "cq attach [RUN]",
    "Shows what a detached run says, and how far it is, until it ends; Ctrl-C leaves it, and the "
    "run goes on.\n"
    "Exit status: as 'cq wait'. RUN is the run's directory; without it, the only *.cq here, or the "
    "newest.",
    "cq attach params.cq"};

/// What of its log is shown from before.
constexpr off_t kShownBytes = 4096;

po::options_description NoOptions() {
  po::options_description options("options", 100, 60);
  options.add_options()("help,h", "show this page");
  return options;
}

int HowItEnded(const std::string& run) {
  Database journal = OpenToRead(run);
  const Tally tally = TallyOf(journal, ReadDefinition(journal));
  const bool all = tally.done() == tally.tasks;
  fmt::print("{}: {}, {} of {} tasks ok\n", run,
             all             ? "finished"
             : tally.ended() ? "halted"
                             : "not finished",
             tally.outcomes[0], tally.tasks);
  if (!all) {
    fmt::print("what is done is kept; to go on: cq resume {}{}\n", ShellQuote(run),
               tally.ended() ? " --halt never" : "");
  }
  if (!tally.problem.empty()) fmt::print("{}\n", PrintableText(tally.problem));
  return !tally.ended() ? 3 : tally.ok() ? 0 : 1;
}

// What is new in its master's log, from where we are: only whole lines at the start.
class Log {
 public:
  explicit Log(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (!fd_) return;
    const off_t size = lseek(fd_.get(), 0, SEEK_END);
    lseek(fd_.get(), std::max<off_t>(size - kShownBytes, 0), SEEK_SET);
    if (size <= kShownBytes) return;
    char byte = 0;
    while (read(fd_.get(), &byte, 1) == 1 && byte != '\n') {
    }
  }
  bool there() const { return static_cast<bool>(fd_); }
  std::string Read() {
    std::string text(1 << 16, 0);
    const ssize_t got = fd_ ? read(fd_.get(), text.data(), text.size()) : 0;
    text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    return text;
  }

 private:
  Fd fd_;
};

RunProgress ProgressOf(const OrderedJson& live) {
  RunProgress progress;
  progress.phase = RunProgress::Phase::kRunning;
  progress.tasks = live.at("tasks").get<uint64_t>();
  progress.done = live.at("done").get<uint64_t>();
  progress.failed = live.at("failed").get<uint64_t>();
  progress.running = live.at("running").get<uint64_t>();
  progress.workers = live.at("workers_here").get<uint64_t>();
  progress.seconds = live.at("seconds").get<double>();
  if (live.contains("left")) {
    progress.left =
        std::pair(live.at("left").at(0).get<double>(), live.at("left").at(1).get<double>());
  }
  for (const OrderedJson& pool : live.at("pools")) {
    for (const auto& [reason, workers] : pool.at("pending").items()) {
      progress.pending_workers += workers.get<uint64_t>();
      progress.pending_reason = reason;
    }
  }
  return progress;
}

int WaitCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kWait, values)) return 0;
  const std::string run = FindRun(Positional(values));
  MasterWatch master(run);
  while (master.Lives()) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  return HowItEnded(run);
}

int AttachCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kAttach, values)) return 0;
  const std::string run = FindRun(Positional(values));
  MasterWatch master(run);
  ProgressPrinter printer(false);
  std::string told;
  while (master.Lives() && master.job()) {
    if (*master.job() != told) printer.Say("its master is a job: " + *master.job());
    told = *master.job();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  Log log(run + "/master.log");
  if (!log.there()) printer.Warning("it was not detached: what it says is where it was started");
  const auto show = [&] {
    for (std::string text = log.Read(); !text.empty(); text = log.Read()) printer.Raw(text);
  };
  const bool terminal = isatty(STDERR_FILENO) == 1;
  while (master.Lives()) {
    show();
    if (terminal) {
      try {
        printer.Progress(ProgressOf(
            ParseJson(AskMaster(run, RequestKind::kLook, R"({"rows": 0, "workers": 0})"))));
      } catch (const std::exception&) {
        // It is about to end, very busy, or of another cq.
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  show();
  return HowItEnded(run);
}

}  // namespace

const Subcommand kWait = {"wait", "wait for the end of a run", kWaitHelp, NoOptions,
                          WaitCommandLine};
const Subcommand kAttach = {"attach", "follow a detached run", kAttachHelp, NoOptions,
                            AttachCommandLine};

}  // namespace cq
