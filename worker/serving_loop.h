#pragma once

#include <signal.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/files.h"
#include "protocol/connection_file.h"
#include "worker/core/worker_core.h"
#include "worker/link.h"
#include "worker/machine.h"
#include "worker/worker.h"

namespace cq {

/// The signals that tell a worker to go.
sigset_t GoSignals();

/// The loop around a worker's core: hears its master, and does what the core has decided. What the
/// worker does with tasks is its derived class's.
class ServingLoop {
 public:
  ServingLoop(const WorkerOptions& options, ConnectionFile file);
  virtual ~ServingLoop() = default;
  ServingLoop(const ServingLoop&) = delete;
  ServingLoop& operator=(const ServingLoop&) = delete;

  /// Returns the exit status of the process.
  int Run();

 protected:
  std::chrono::nanoseconds Now() const { return std::chrono::steady_clock::now() - origin_; }
  void Act();
  WorkerCore& core() { return core_; }
  const WorkerOptions& options() const { return options_; }
  const Machine& machine() const { return machine_; }
  /// Tells the core of the signals that have come.
  void HearSignals();

  // ---- between two sleeps ----
  /// What wakes the loop beside its master, its guardian and signals.
  virtual std::vector<int> WatchedFds() = 0;
  /// How long to sleep when the core is due in `due`.
  virtual std::chrono::milliseconds Nap(std::chrono::milliseconds due) = 0;
  /// Which of the watched are readable.
  virtual void OnReadable(const std::vector<bool>& readable) = 0;
  /// Tells the core what has become of tasks.
  virtual void Collect() = 0;
  /// The worker was told to go.
  virtual void OnToldToGo() {}
  /// The guardian is gone: ends everything, within 10 s.
  virtual void EndAll() = 0;

  // ---- what the core decides ----
  virtual void Do(Prepare& prepare) = 0;
  virtual void Do(Enqueue& enqueue) = 0;
  virtual void Do(TakeBack& take) = 0;
  virtual void Do(cq::Kill& kill) = 0;
  virtual void Do(StartUntil& start) = 0;
  virtual void Do(Spool& spool) = 0;
  /// What runs, runs no more.
  virtual void DoExit() = 0;

 private:
  void Do(SendUp& send);
  void Do(Reconnect& reconnect);
  void Do(Exit& exit);
  [[noreturn]] void GuardianGone();
  void ReadAll();

  const WorkerOptions& options_;
  const std::chrono::steady_clock::time_point origin_ = std::chrono::steady_clock::now();
  ConnectionFile file_;
  const Machine machine_;
  WorkerCore core_;
  Link link_;
  const Fd signals_;
  int exit_status_ = -1;
};

}  // namespace cq
