#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cq {

/// What every run takes, wherever its tasks come from. Each field is described as the option of its
/// name by `cq run --help`; the defaults are those of the command line.
struct CommonOptions {
  // ---- of the run directory ----
  /// Move an existing run directory aside.
  bool fresh = false;
  /// Of a run that exists: run again what did not end ok; or everything.
  bool failed = false;
  bool rerun = false;
  /// Of a run that exists: results that are older than a changed program or input file stay.
  bool keep = false;
  /// Of a run that exists: the directory may belong to the user of this name, whose words are
  /// trusted.
  std::string trust_owner;
  /// Of a run that exists: though a master on another host may hold the directory.
  bool take_over = false;
  /// From which each task's seed is made; none: drawn, and recorded.
  std::optional<uint64_t> seed;

  // ---- of the tasks ----
  std::vector<std::pair<std::string, std::string>> env;
  /// How long a task may run; zero: no limit.
  std::chrono::milliseconds task_timeout{};
  /// Memory of a task's processes in sum; 0: no limit.
  uint64_t task_memory_bytes = 0;
  /// How often a task that ended as `error` or `timeout` is tried again.
  uint32_t retries = 0;
  /// A task that took its worker with it so often is set aside as `crashed`.
  uint32_t crash_limit = 3;
  /// For tasks with side effects: never two attempts at one task at a time.
  bool fence = false;
  /// Tasks that a slot is given at a time; 0: as many as their measured durations say.
  uint64_t chunk = 0;

  // ---- of the workers ----
  /// Where they reach the master: "FIRST-LAST", and a network interface or an address of this
  /// machine; empty: 20000-29999, and all.
  std::string ports;
  std::string interface;
  /// Those who ask how it goes are on other machines, wherever its workers are.
  bool asked_from_elsewhere = false;
  /// Shell text that must succeed on a worker before its first task.
  std::string worker_check;
  /// A worker that is silent for so long is lost.
  std::chrono::milliseconds lease{30'000};
  /// How long a scheduler's idle worker waits for a silent master; none: 30 min, or 1 min where
  /// there is no run directory by which another master could come for it.
  std::optional<std::chrono::milliseconds> on_master_loss;
};

}  // namespace cq
