#include "master/run/final_export.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "cq/error.h"
#include "master/journal/database.h"
#include "master/run/export.h"

namespace cq {
namespace {

// The signals of the run itself are over; another one ends the export, and not the master, whose
// jobs may still be leaving their scheduler's queue.
void ForgetSignals(int signal_fd) {
  signalfd_siginfo info{};
  while (signal_fd >= 0 && read(signal_fd, &info, sizeof info) == sizeof info) {
  }
}

void StopIfSignalled(int signal_fd) {
  pollfd signalled{signal_fd, POLLIN, 0};
  if (signal_fd < 0 || poll(&signalled, 1, 0) != 1) return;
  throw Error("interrupted while the results were written: 'cq export' writes them");
}

// What waits for a reader (a pipe, a terminal) may wait for ever: there a signal ends all.
class AllowedSignals {
 public:
  explicit AllowedSignals(const FinalExport& what) {
    pthread_sigmask(SIG_SETMASK, nullptr, &before_);
    struct stat status {};
    const bool file =
        what.output != "-" && (stat(what.output.c_str(), &status) != 0 || S_ISREG(status.st_mode));
    if (file || what.signal_fd < 0) return;
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGXCPU}) sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  }
  AllowedSignals(const AllowedSignals&) = delete;
  AllowedSignals& operator=(const AllowedSignals&) = delete;
  ~AllowedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

std::string ExportAtEnd(const FinalExport& what, RunObserver& observer) {
  RunProgress progress;
  progress.phase = RunProgress::Phase::kExporting;
  progress.tasks = what.rows;
  ForgetSignals(what.signal_fd);
  const AllowedSignals allowed(what);
  try {
    Database journal(what.run_dir + "/journal.db", Database::Mode::kRead);
    ExportResults(std::move(journal), what.run_dir, what.output, [&](uint64_t rows) {
      StopIfSignalled(what.signal_fd);
      progress.done = rows;
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - what.begun;
      progress.seconds = seconds.count();
      observer.Progress(progress);
    });
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace cq
